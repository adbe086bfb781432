"""The options of methods: which a method takes, what they may be, and what is said otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.learning.methods import Method
from logpi.worlds.mdp.learning.schedules import Schedule, constant, schedule_of

__all__ = ["Options", "settled", "whole"]


class Options(TypedDict, total=False):
    """What a method may take besides what every method takes; `METHODS` says which take what."""

    policy: ArrayLike | None  # [S, A], [S] or "uniform": to be judged; MC Basic starts from it
    behaviour: ArrayLike | None  # likewise: acts instead of the policy that is learned about
    alpha: float | str | Schedule  # the step size; text as `schedule_of` reads it
    epsilon: float | str | Schedule  # the share of actions that are drawn uniformly
    lam: float  # λ, how far traces reach
    n: int  # rewards in a target
    traces: Literal["accumulating", "replacing"]
    of: Literal["v", "q"]  # values of states, or of states and actions
    first_visit: bool  # an episode counts once for a state, or at every visit
    exploring_starts: bool  # episodes begin in any state, with any action
    importance: Literal["ordinary", "weighted"]
    replay: int  # stored steps to learn from again after each step
    capacity: int  # of the store
    features: ArrayLike | None  # [S, d], or [S, A, d] for values of actions
    initial_value: float
    iterations: int  # of MC Basic
    samples: int  # episodes for each pair, in MC Basic


def settled(name: str, method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """The method's options, given or by default, checked; α and ε as schedules.

    Raises `ConfigError` where the method has no such option, naming those it has, where a value is
    impossible, and where two options contradict each other.

    >>> from logpi.worlds.mdp.learning.methods import METHODS
    >>> settled("td", METHODS["td"], {"alpha": 0.5})["alpha"]
    Schedule(kind='constant', start=0.5, end=0.0, scale=1.0, per='episode')
    """
    for option in given:
        if option not in method.options:
            raise ConfigError(
                f"`{name}` takes no `{option}`.{did_you_mean(option, method.options)} "
                f"It takes {', '.join(method.options)}."
            )
    made = {**method.options, **given}
    if made.get("exploring_starts") and "epsilon" in made and "epsilon" not in given:
        made["epsilon"] = 0.0  # they explore enough: the policy may be greedy
    made = {
        option: _CHECKS[option](option, value) if option in _CHECKS else value
        for option, value in made.items()
    }
    _check_features(name, made)
    acts = "policy" if made.get("policy") is not None else "behaviour"
    if "epsilon" in given and made.get(acts) is not None and method.ahead != "expected":
        raise ConfigError(f"`{acts}` says how to act, so that epsilon says nothing: give one.")
    return made


def _check_features(name: str, made: Mapping[str, Any]) -> None:
    features = made.get("features") is not None
    by_visits = "alpha" in made and made["alpha"].kind == "visits"
    if by_visits and (features or "lam" in made):
        shared = "features that states share" if features else "all states that have a trace"
        raise ConfigError(
            f"alpha=visits(...) counts the visits of one state, and `{name}` writes to {shared}: "
            "give alpha a constant, or inverse(...)."
        )
    if features and made.get("initial_value"):
        raise ConfigError("initial_value is of a table: with features, the weights begin at 0.")


def whole(name: str, value: object, least: int = 1) -> int:
    """The value, if it is a whole number of at least `least`; else raises `ConfigError`.

    >>> whole("runs", 3)
    3
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r} but must be a whole number of at least {least}.")
    return int(value)


def _real(name: str, value: object) -> float:
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    number = float(value) if known else math.nan  # type: ignore[arg-type] # `known` says so
    if not math.isfinite(number):
        raise ConfigError(f"{name} is {value!r} but must be a number.")
    return number


def _schedule(name: str, value: object) -> Schedule:
    if isinstance(value, str) and "(" in value:
        return schedule_of(value)
    return value if isinstance(value, Schedule) else constant(_real(name, value))


def _step_size(name: str, value: object) -> Schedule:
    made = _schedule(name, value)
    if not 0 < made.start <= 2 or not 0 <= made.end <= 2:
        wrong = made.start if not 0 < made.start <= 2 else made.end
        raise ConfigError(
            f"{name} is {wrong:g} but must lie in (0, 2]: beyond, an estimate moves past its "
            "target by more than it was away."
        )
    return made


def _exploration(name: str, value: object) -> Schedule:
    made = _schedule(name, value)
    if made.kind == "visits":
        raise ConfigError(
            f"{name} cannot follow visits(...), which counts the visits of what is updated: "
            "inverse(...) counts episodes or steps."
        )
    if not (0 <= made.start <= 1 and 0 <= made.end <= 1):
        wrong = made.end if 0 <= made.start <= 1 else made.start
        raise ConfigError(f"{name} is {wrong:g} but is a probability: it must lie in [0, 1].")
    return made


def _share(name: str, value: object) -> float:
    made = _real(name, value)
    if not 0 <= made <= 1:
        raise ConfigError(f"{name} is {made:g} but must lie in [0, 1].")
    return made


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r} but must be True or False.")
    return value


def _one_of(*words: str) -> Callable[[str, object], str]:
    def checked(name: str, value: object) -> str:
        if value not in words:
            known = " or ".join(map(repr, words))
            raise ConfigError(f"{name} is {value!r} but must be {known}.")
        return str(value)

    return checked


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "alpha": _step_size,
    "epsilon": _exploration,
    "lam": _share,
    "n": whole,
    "traces": _one_of("accumulating", "replacing"),
    "of": _one_of("v", "q"),
    "first_visit": _flag,
    "exploring_starts": _flag,
    "importance": _one_of("ordinary", "weighted"),
    "replay": lambda name, value: whole(name, value, 0),
    "capacity": whole,
    "initial_value": _real,
    "iterations": whole,
    "samples": whole,
}
