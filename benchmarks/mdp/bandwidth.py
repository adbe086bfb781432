"""How fast a fused Jacobi sweep reads its model, against a loop that does nothing but read."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import njit

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.kernels import rows_of, sweep

__all__ = ["main"]

MODELS = {
    "grid 1e5": lambda: zoo.slip_grid(316, 316),
    "grid 1e6": lambda: zoo.slip_grid(1000, 1000),
    "machine 1e6": lambda: zoo.machine_replacement(1_000_000),
    "garnet 1e5": lambda: zoo.garnet(100_000),
    "garnet 1e6": lambda: zoo.garnet(1_000_000),
}


@njit(cache=True, fastmath=True)  # reassociation, or the sums' latency would be measured
def read(data: np.ndarray, indices: np.ndarray) -> float:
    """The sums of both: what reading costs at least."""
    total = 0.0
    for x in data:
        total += x
    number = 0
    for i in indices:
        number += i
    return total + number


def least(run: Callable[[], object], times: int = 15) -> float:
    """The fewest CPU seconds of several runs."""
    run()
    seconds = []
    for _ in range(times):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds)


def main() -> None:
    """Print the rates, in the order of the models."""
    random = np.random.default_rng(0)
    for name, make in MODELS.items():
        m = make()
        t, rows = m.transitions, rows_of(m)
        v, out = random.random(m.states), np.empty(m.states)
        stored = t.data.nbytes + t.indices.nbytes
        swept = stored + t.indptr.nbytes + rows.reward.nbytes + 2 * v.nbytes
        plain = stored / least(lambda t=t: read(t.data, t.indices))
        fused = swept / least(lambda a=(rows, v, out): sweep(*a))
        print(
            f"  {name:12} {swept / 1e6:6.1f} MB a sweep   reading {plain / 1e9:5.1f} GB/s   "
            f"sweep {fused / 1e9:5.1f} GB/s = {100 * fused / plain:3.0f} %",
            flush=True,
        )
