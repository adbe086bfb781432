"""A process that is killed, wherever it is, loses one iteration at most."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed.py")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_killed_at_files_of_every_kind_it_goes_on_alike(tmp_path):
    found = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "11"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert int(found.stdout) > 100, "it was killed at few places"
