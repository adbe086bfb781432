"""`solve`: an optimal policy of a finite MDP and its value, by any method of the table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.model import FiniteMDP, check_model
from logpi.worlds.mdp.planning.auto import solve_auto
from logpi.worlds.mdp.planning.average import average_reward
from logpi.worlds.mdp.planning.finite_horizon import finite_horizon
from logpi.worlds.mdp.planning.linear_program import linear_program
from logpi.worlds.mdp.planning.modified import modified_policy_iteration
from logpi.worlds.mdp.planning.policy_iteration import (
    inexact_policy_iteration,
    policy_iteration,
    truncated_policy_iteration,
)
from logpi.worlds.mdp.planning.soft import soft_policy_iteration
from logpi.worlds.mdp.planning.value_iteration import gauss_seidel, value_iteration
from logpi.worlds.mdp.solution import Solution

__all__ = ["METHODS", "auto", "average", "solve"]


def auto(m: FiniteMDP, *, tolerance: float = 1e-6, history: bool = False) -> Solution:
    """The optimal value by the method that the first sweeps of this model recommend.

    With discount 1, and where the iterates are to be kept, that is policy iteration: the sweeps'
    proof needs a discount below 1.
    """
    if history or m.discount == 1:
        found = policy_iteration(m, tolerance=tolerance, history=history)
        why = "its iterates are kept" if history else "the discount is 1"
        return _renamed(found, f"auto: policy iteration, because {why}")
    return solve_auto(m, tolerance=tolerance)


def average(m: FiniteMDP, *, tolerance: float = 1e-6) -> Solution:
    """The best average reward a step: `facts["gain"]`, with the bias as value."""
    return average_reward(m, tolerance=tolerance).solution(m)


METHODS: Mapping[str, Callable[..., Solution]] = MappingProxyType(
    {
        "auto": auto,
        "value_iteration": value_iteration,
        "gauss_seidel": gauss_seidel,
        "policy_iteration": policy_iteration,
        "truncated_policy_iteration": truncated_policy_iteration,
        "modified_policy_iteration": modified_policy_iteration,
        "inexact_policy_iteration": inexact_policy_iteration,
        "linear_program": linear_program,
        "soft_policy_iteration": soft_policy_iteration,
        "average_reward": average,
    }
)
"""Name to what solves a model; the keyword arguments of each are its options."""


def solve(
    m: FiniteMDP,
    method: str = "auto",
    tolerance: float = 1e-6,
    *,
    history: bool = False,
    horizon: int | None = None,
    **options: Any,
) -> Solution:
    """An optimal policy, and its value within `tolerance` of v* in every state.

    `Solution.bound` is certified, whatever the method did. `history` keeps the iterates. With a
    `horizon` the task is over after so many decisions, and the solution is that of the first one.
    `options` are the method's own: start_value, start_policy, evaluation_sweeps, beta, ...

    Raises `ConfigError` for an unknown method or option, and where rounding hides the tolerance;
    `ModelError` with discount 1, where some state cannot end or values are infinite.

    >>> from logpi.worlds.mdp.zoo import make
    >>> found = solve(make("two_state", discount=0.9), "policy_iteration")
    >>> found.value, found.policy
    (array([10., 10.]), array([2, 1]))
    """
    check_model(m, "solve")
    if method not in METHODS:
        raise ConfigError(
            f"there is no method `{method}`.{did_you_mean(str(method), METHODS)} "
            f"Methods are {', '.join(METHODS)}."
        )
    if horizon is not None:
        return _by_horizon(m, method, horizon, history=history, options=options)
    told = {"tolerance": tolerance, **({"history": True} if history else {}), **options}
    _check_options(method, told)
    return METHODS[method](m, **told)


def _check_options(method: str, told: Mapping[str, Any]) -> None:
    parameters = inspect.signature(METHODS[method]).parameters
    known = [name for name in parameters if name != "m"]
    if "history" in told and "history" not in known:
        keep = [x for x, f in METHODS.items() if "history" in inspect.signature(f).parameters]
        raise ConfigError(
            f"`{method}` keeps no history of its iterates. These do: {', '.join(keep)}."
        )
    for name in told:
        if name not in known:
            raise ConfigError(
                f"`{method}` has no option `{name}`.{did_you_mean(name, known)} "
                f"It has {', '.join(known)}."
            )
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in told:
            raise ConfigError(
                f"`{method}` needs its option `{name}`: give {name}=0.1, say, or "
                f"--set {name}=0.1 on the command line."
            )


def _by_horizon(
    m: FiniteMDP, method: str, horizon: int, *, history: bool, options: Mapping[str, Any]
) -> Solution:
    if method != "auto":
        raise ConfigError(
            f"with a horizon there is one method, backward induction: leave out `{method}`."
        )
    for name in options:
        if name != "final_value":
            raise ConfigError(f"with a horizon there is no option `{name}`, only `final_value`.")
    return finite_horizon(m, horizon=horizon, **options).solution(history=history)


def _renamed(found: Solution, method: str) -> Solution:
    return replace(found, method=method)
