"""How the planner's memory is measured for the documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
MEGABYTE = 2**20
MEASURED = """
import json, sys
import numpy as np
from benchmarks.mdp.measure import repeated

held = []

def solve(error):
    held.append(np.ones(16 * 2**20 // 8))  # and never gives it back
    return held[-1][:1]

_, seconds, peak = repeated(solve, 1e-6, 4)
json.dump([len(seconds), peak], sys.stdout)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts it")
def test_memory_is_that_of_the_first_solve():
    """In a process of its own: in one that has freed much, nothing has to be asked for."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    solves, peak = json.loads(ended.stdout)
    assert solves == 4
    assert 8 * MEGABYTE < peak < 32 * MEGABYTE
