"""Modified policy iteration, measured as it goes: spans say when to stop, and when to give up."""

from __future__ import annotations

import math

import numpy as np

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certify import Run, run_of
from logpi.worlds.mdp.planning.kernels import Chosen, chosen_of, improve, policy_sweep
from logpi.worlds.mdp.solution import Solution

__all__ = ["Forecast", "modified_policy_iteration", "sweeps_needed", "try_modified"]

SHRINK = 0.2
"""A policy is swept until its span is this part of the span when it was chosen."""

LOOK = 8
"""Sweeps of the first policy after which the number still needed is foretold."""

MOST = 50
"""Sweeps of one policy at most: then it is time for a better one."""


def modified_policy_iteration(
    m: FiniteMDP, *, tolerance: float = 1e-6, relative: bool = False
) -> Solution:
    """The optimal value, by a few sweeps of each greedy policy between two sweeps of all actions.

    v ← T_π^n T v, π greedy for v             Puterman & Shin 1978; Puterman 1994, sec. 6.5

    n is not fixed: a policy is swept until the span of its changes is a fifth of what it was. An
    action that leads the others by more than the values have moved since is not compared again.

    Raises `ConfigError` where rounding hides the tolerance, or for discount 1.

    >>> from logpi.worlds.mdp.zoo import make
    >>> modified_policy_iteration(make("two_state", discount=0.9)).value
    array([10., 10.])
    """
    found = try_modified(run_of(m, tolerance=tolerance, relative=relative), limit=math.inf)
    assert isinstance(found, Solution)
    return found


class Forecast(float):
    """How many more sweeps modified policy iteration would need, where that is too many."""


def try_modified(run: Run, *, limit: float, method: str = "") -> Solution | Forecast:
    """The solution; or the forecast, as soon as more than `limit` further sweeps are foretold.

    >>> from logpi.worlds.mdp.zoo import make
    >>> run = run_of(make("slip_grid", rows=30, cols=30, discount=0.999), tolerance=1e-6)
    >>> try_modified(run, limit=300) > 300
    True
    """
    method = method or "modified policy iteration"
    while True:
        forecast = _until_near(run, limit)
        if forecast is not None:
            return forecast
        if (found := run.conclude(method)) is not None:
            return found


def _until_near(run: Run, limit: float) -> Forecast | None:
    """Iterates until v seems near enough for a proof, which needs the room that is used here."""
    chosen = chosen_of(run.rows)
    lead = np.full(len(run.v), -1, dtype=np.float32)  # rounding here costs nothing but a look
    drift = 0.0
    run.policy[:] = -1  # whatever it was: `chosen` holds no rows yet
    while True:
        low, high, _, whole = improve(run.rows, chosen, run.v, run.out, (run.policy, lead, drift))
        run.swap()
        part = whole / len(run.v)
        run.sweeps += part + (1 - part) / run.rows.reward.shape[1]
        if run.near(low, high):
            return None
        aim = run.aim(run.size(low, high))
        moved, needed = _sweep_policy(run, chosen, high - low, aim)
        drift = run.rows.discount * (high - low + moved)
        if needed > limit:
            return Forecast(needed)


def _sweep_policy(run: Run, chosen: Chosen, span: float, aim: float) -> tuple[float, float]:
    """Sweeps the policy; how far values moved against each other, and the sweeps still needed."""
    enough = aim * (1 - run.rows.discount) / run.rows.discount * (1 if run.pinned else 2)
    moved, spans = 0.0, [span]
    for _ in range(MOST):
        low, high = policy_sweep(chosen, run.v, run.out)
        run.swap()
        run.sweeps += 1 / run.rows.reward.shape[1]
        moved += high - low
        spans.append(high - low)
        if high - low <= max(SHRINK * span, enough / 2):
            return moved, 0.0
        if len(spans) == LOOK + 1 and (needed := sweeps_needed(spans, enough)) > MOST:
            return moved, needed
    return moved, sweeps_needed(spans, enough)


def sweeps_needed(spans: list[float], enough: float) -> float:
    """How many more sweeps bring the last span down to `enough`, at the rate of the last few.

    >>> sweeps_needed([1.0, 0.5, 0.25, 0.125], 0.125 / 8)
    3.0
    """
    if spans[-1] <= enough:
        return 0.0
    back = max(1, len(spans) // 2)
    if not spans[-1] < spans[-1 - back]:
        return math.inf
    return math.log(enough / spans[-1]) / math.log(spans[-1] / spans[-1 - back]) * back
