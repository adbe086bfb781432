"""THE TABLE of methods: what each estimates, which options it takes, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.learning.schedules import visits

__all__ = ["METHODS", "Method", "method_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A row of the table."""

    description: str
    source: str
    options: Mapping[str, object]  # with their defaults; None where there is none
    estimates: Literal["v", "q"] = "q"
    # whose value: of the policy that is given, of the ε-greedy one, of the greedy one
    judges: Literal["given", "soft", "greedy"] = "soft"
    # when a value is written, and what follows a reward: the names of `arrays.Flags`
    family: Literal["one_step", "n_step", "traces", "whole", "batch", "basic"] = "one_step"
    ahead: Literal["state", "sarsa", "expected", "greedy", "double"] = "state"


_STEP: dict[str, object] = {"alpha": 0.1, "initial_value": 0.0, "features": None}
_GIVEN: dict[str, object] = {"policy": None}
_SOFT: dict[str, object] = {"policy": None, "epsilon": 0.1}
_OFF: dict[str, object] = {"epsilon": 0.1, "behaviour": None, "replay": 0, "capacity": 10_000}
_MEAN: dict[str, object] = {**_STEP, "alpha": visits(), "first_visit": True}
_TRACES: dict[str, object] = {"lam": 0.9, "traces": "accumulating"}

METHODS: Mapping[str, Method] = {
    "mc_prediction": Method(
        description="the mean return after a state, or after a state and action (of='q')",
        source="Sutton & Barto 5.1, 5.2",
        options={**_GIVEN, **_MEAN, "of": "v", "exploring_starts": False},
        estimates="v",
        judges="given",
        family="whole",
    ),
    "td": Method(
        description="TD(0): V(s) toward r + γ V(s')",
        source="Sutton & Barto 6.1; Zhao 7.1",
        options={**_GIVEN, **_STEP, "replay": 0, "capacity": 10_000},
        estimates="v",
        judges="given",
    ),
    "n_step_td": Method(
        description="V(s) toward n rewards and the value after them",
        source="Sutton & Barto 7.1",
        options={**_GIVEN, **_STEP, "n": 4},
        estimates="v",
        judges="given",
        family="n_step",
    ),
    "td_lambda": Method(
        description="TD(λ): the TD error reaches back along traces",
        source="Sutton & Barto 12.2",
        options={**_GIVEN, **_STEP, **_TRACES},
        estimates="v",
        judges="given",
        family="traces",
    ),
    "batch_td": Method(
        description="the value that TD(0) reaches on all episodes so far, shown again and again",
        source="Sutton & Barto 6.3",
        options={**_GIVEN, "initial_value": 0.0},
        estimates="v",
        judges="given",
        family="batch",
    ),
    "batch_mc": Method(
        description="the value that Monte Carlo reaches on all episodes so far",
        source="Sutton & Barto 6.3",
        options={**_GIVEN, "initial_value": 0.0},
        estimates="v",
        judges="given",
        family="batch",
    ),
    "off_policy_mc_prediction": Method(
        description="the mean return of one policy on episodes of another, by importance sampling",
        source="Sutton & Barto 5.5, 5.6",
        options={
            **_GIVEN,
            "behaviour": None,
            "importance": "weighted",
            "first_visit": True,
            "of": "v",
        },
        estimates="v",
        judges="given",
        family="whole",
    ),
    "mc_basic": Method(
        description="policy iteration whose values are means of episodes from every pair",
        source="Zhao, algorithm 5.1",
        options={**_GIVEN, "iterations": 20, "samples": 1},
        judges="greedy",
        family="basic",
    ),
    "mc_control": Method(
        description="ε-greedy for the mean returns so far, or greedy with exploring starts",
        source="Sutton & Barto 5.3, 5.4; Zhao, algorithms 5.2, 5.3",
        options={**_MEAN, "epsilon": 0.1, "exploring_starts": False},
        family="whole",
    ),
    "off_policy_mc_control": Method(
        description="the greedy policy, on episodes of another, by weighted importance sampling",
        source="Sutton & Barto 5.7",
        options={"behaviour": "uniform", "initial_value": 0.0},
        judges="greedy",
        family="whole",
    ),
    "sarsa": Method(
        description="Q(s, a) toward r + γ Q(s', a'), a' the action taken next",
        source="Sutton & Barto 6.4; Zhao, algorithm 7.1",
        options={**_SOFT, **_STEP},
        ahead="sarsa",
    ),
    "expected_sarsa": Method(
        description="Q(s, a) toward r + γ Σ_a π(a|s') Q(s', a)",
        source="Sutton & Barto 6.6; Zhao 7.2",
        options={**_SOFT, **_STEP, **_OFF},
        ahead="expected",
    ),
    "n_step_sarsa": Method(
        description="Q(s, a) toward n rewards and Q after them",
        source="Sutton & Barto 7.2; Zhao 7.3",
        options={**_SOFT, **_STEP, "n": 4},
        family="n_step",
        ahead="sarsa",
    ),
    "sarsa_lambda": Method(
        description="Sarsa whose TD error reaches back along traces",
        source="Sutton & Barto 12.7",
        options={**_SOFT, **_STEP, **_TRACES},
        family="traces",
        ahead="sarsa",
    ),
    "q_learning": Method(
        description="Q(s, a) toward r + γ max_a Q(s', a), whoever acts",
        source="Watkins 1989; Sutton & Barto 6.5; Zhao, algorithms 7.2, 7.3",
        options={**_STEP, **_OFF},
        judges="greedy",
        ahead="greedy",
    ),
    "double_q_learning": Method(
        description="two tables, each toward the other's value of its own best action",
        source="van Hasselt 2010; Sutton & Barto 6.7",
        options={**_STEP, **_OFF},
        judges="greedy",
        ahead="double",
    ),
}
"""Every method of `learn` by its name."""


def method_named(name: str) -> Method:
    """The row of that name; raises `ConfigError` with the nearest one where there is none.

    >>> method_named("td").source
    'Sutton & Barto 6.1; Zhao 7.1'
    """
    if name not in METHODS:
        raise ConfigError(
            f"there is no method `{name}`.{did_you_mean(name, METHODS)} "
            f"There are {', '.join(METHODS)}."
        )
    return METHODS[name]
