"""Where following the flow overtakes sweeping: the data behind `auto.LIMIT`."""

from __future__ import annotations

import time
from collections.abc import Callable

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certify import run_of
from logpi.worlds.mdp.planning.elimination import flow_policy_iteration
from logpi.worlds.mdp.planning.modified import Forecast, modified_policy_iteration, try_modified

__all__ = ["main"]


def models() -> dict[str, Callable[[float], FiniteMDP]]:
    """Families by discount: what sweeps cost depends on it, what the flow costs hardly does."""
    return {
        "grid 1e4": lambda g: zoo.slip_grid(100, 100, discount=g),
        "grid 1e5": lambda g: zoo.slip_grid(316, 316, discount=g),
        "random 1e5": lambda g: zoo.slip_grid(316, 316, rewards="random", discount=g),
        "no goal 1e5": lambda g: zoo.slip_grid(316, 316, rewards="random", goal=None, discount=g),
        "machine 1e5": lambda g: zoo.machine_replacement(100_000, discount=g),
        "garnet 1e5": lambda g: zoo.garnet(100_000, discount=g),
    }


def seconds(solve: Callable[..., object], m: FiniteMDP) -> float:
    """The fewest CPU seconds of three solutions; of one where it takes above 0.5 s."""
    least = float("inf")
    for _ in range(3):
        began = time.process_time()
        solve(m, tolerance=1e-6, relative=True)
        least = min(least, time.process_time() - began)
        if least > 0.5:
            break
    return least


def main() -> None:
    """Print, for each family and discount, both times and the sweeps that were foretold."""
    for solve in (modified_policy_iteration, flow_policy_iteration):
        seconds(solve, zoo.slip_grid(9, 9))  # compiles
    for name, make in models().items():
        for discount in (0.9, 0.95, 0.98, 0.99, 0.995, 0.999):
            m = make(discount)
            run = run_of(m, tolerance=1e-6, relative=True)
            forecast = try_modified(run, limit=0)
            told = f"{forecast:6.0f}" if isinstance(forecast, Forecast) else "  none"
            swept = seconds(modified_policy_iteration, m)
            followed = seconds(flow_policy_iteration, m)
            print(
                f"  {name:12} γ {discount:<6} foretold {told}   sweeps {swept:7.3f} s   "
                f"flow {followed:7.3f} s   flow/sweeps {followed / swept:6.2f}",
                flush=True,
            )
