"""`solve_auto`: the solver that a few measured sweeps of this very model recommend."""

from __future__ import annotations

from dataclasses import replace

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certify import run_of
from logpi.worlds.mdp.planning.elimination import try_flow
from logpi.worlds.mdp.planning.modified import Forecast, try_modified
from logpi.worlds.mdp.solution import Solution

__all__ = ["LIMIT", "solve_auto"]

LIMIT = 300
"""More sweeps of a policy than these, and following its flow is faster."""


def solve_auto(m: FiniteMDP, *, tolerance: float = 1e-6, relative: bool = False) -> Solution:
    """The optimal value within `tolerance`, by the method that the first sweeps recommend.

    Modified policy iteration begins. It foretells from the spans of its sweeps how many more it
    needs; where these are more than `LIMIT`, policy iteration along the flow takes over from there.
    `relative=True` multiplies the tolerance by max(1, |v*|). `Solution.method` says what was
    chosen and why; docs/benchmarks-mdp.md has the measurements.

    Raises `ConfigError` where rounding hides the tolerance, or for discount 1.

    >>> from logpi.worlds.mdp.zoo import make
    >>> solve_auto(make("two_state", discount=0.9)).value
    array([10., 10.])
    >>> solve_auto(make("slip_grid", rows=30, cols=30, discount=0.999)).method
    'auto: policy iteration along the flow, because sweeps alone would have needed about ... more'
    """
    run = run_of(m, tolerance=tolerance, relative=relative)
    found = try_modified(run, limit=LIMIT)
    if not isinstance(found, Forecast):
        return replace(
            found,
            method=f"auto: {found.method}, because its sweeps never foretold more than {LIMIT}",
        )
    needed = f"about {found:.0f} more" if found < float("inf") else "more than can be foretold"
    found = try_flow(run)
    return replace(
        found, method=f"auto: {found.method}, because sweeps alone would have needed {needed}"
    )
