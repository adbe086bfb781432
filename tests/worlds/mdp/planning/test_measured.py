"""How the planner's memory is measured for the documentation."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[4]
MEGABYTE = 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts it")
def test_memory_is_that_of_the_first_solve(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    measure = importlib.import_module("benchmarks.mdp.measure")
    held = []

    def solve(error):
        held.append(np.ones(16 * MEGABYTE // 8))  # and never gives it back
        return held[-1][:1]

    _, seconds, peak = measure.repeated(solve, 1e-6, 4)
    assert len(seconds) == 4
    assert 8 * MEGABYTE < peak < 32 * MEGABYTE
