"""How fast a fused Jacobi sweep reads its model, against a loop that does nothing but read."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import njit

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.kernels import greedy_sweep, rows_of

__all__ = ["main"]

MODELS = {
    "grid 1e4": lambda: zoo.slip_grid(100, 100),
    "grid 1e5": lambda: zoo.slip_grid(316, 316),
    "grid 1e6": lambda: zoo.slip_grid(1000, 1000),
    "machine 1e6": lambda: zoo.machine_replacement(1_000_000),
    "garnet 1e5": lambda: zoo.garnet(100_000),
    "garnet 1e6": lambda: zoo.garnet(1_000_000),
}


@njit(cache=True)
def read(data: np.ndarray, indices: np.ndarray) -> int:
    """The exclusive or of all words: vectorised, so that reading is all it costs."""
    found = np.uint64(0)
    for i in range(len(data)):
        found ^= data[i]
    for i in range(len(indices)):
        found ^= indices[i]
    return found


def words(x: np.ndarray) -> np.ndarray:
    """The array's memory as words of 64 bits, without a last half one."""
    return x.view(np.uint8)[: x.nbytes // 8 * 8].view(np.uint64)


def least(run: Callable[[], object], times: int = 15) -> float:
    """The fewest CPU seconds of several runs, each long enough to be measured."""
    run()
    began = time.process_time()
    run()
    often = max(1, int(0.005 / (time.process_time() - began + 1e-6)))
    seconds = []
    for _ in range(times):
        began = time.process_time()
        for _ in range(often):
            run()
        seconds.append((time.process_time() - began) / often)
    return min(seconds)


def main() -> None:
    """Print the rates, in the order of the models."""
    random = np.random.default_rng(0)
    for name, make in MODELS.items():
        m = make()
        t, rows = m.transitions, rows_of(m)
        v, out = random.random(m.states), np.empty(m.states)
        policy = np.full(m.states, -1, dtype=np.int32)
        stored = t.data.nbytes + t.indices.nbytes
        swept = stored + t.indptr.nbytes + rows.reward.nbytes + 2 * v.nbytes + policy.nbytes
        parts = words(t.data), words(t.indices)
        plain = stored / least(lambda parts=parts: read(*parts))
        fused = swept / least(lambda a=(rows, v, out, policy): greedy_sweep(*a))
        print(
            f"  {name:12} {swept / 1e6:6.1f} MB a sweep   reading {plain / 1e9:5.1f} GB/s   "
            f"sweep {fused / 1e9:5.1f} GB/s = {100 * fused / plain:3.0f} %",
            flush=True,
        )
