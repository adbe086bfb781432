"""Step sizes and exploration rates as data: constant, 1/k, 1/N(s), linear, exponential.

    constant     x
    inverse      max(end, start / k^power)             k = 1, 2, …: episodes, or steps
    visits       start / N^power                       N: visits of this state, or state and action
    linear       from start to end over `over`, then end
    exponential  max(end, start · decay^(k−1))

Σ α_k = ∞ and Σ α_k² < ∞, under which estimates converge with probability 1 (Robbins and Monro
1951; Sutton & Barto 2.7), hold for `inverse` and `visits` with ½ < power ≤ 1 and end = 0.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Literal

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.learning.arrays import FLAGS, inlined

__all__ = [
    "Schedule",
    "constant",
    "exponential",
    "inverse",
    "linear",
    "numbers",
    "rate",
    "schedule_of",
    "visits",
]

_TINY = 1e-300
Per = Literal["episode", "step"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A number as a function of the count k = 1, 2, … of episodes, of steps, or of visits."""

    kind: Literal["constant", "inverse", "visits", "linear", "exponential"]
    start: float
    end: float = 0.0
    scale: float = 1.0  # power, length or decay
    per: Per = "episode"

    def at(self, k: float) -> float:
        """The number at count k.

        >>> [linear(1.0, 0.1, over=10).at(k) for k in (1, 6, 11, 100)]
        [1.0, 0.55, 0.1, 0.1]
        """
        return float(rate(numbers(self), float(k)))

    @property
    def least(self) -> float:
        """The smallest number that it reaches: 0 where it reaches 0, positive where it nears it.

        >>> linear(1.0, 0.0, over=5).least, inverse(1.0).least > 0
        (0.0, True)
        """
        if self.kind == "constant":
            return self.start
        if self.kind == "linear":
            return min(self.start, self.end)
        return min(self.start, max(self.end, _TINY))


def constant(value: float) -> Schedule:
    """The same number always.

    >>> constant(0.1).at(5)
    0.1
    """
    return Schedule("constant", float(value))


def inverse(
    start: float = 1.0, *, power: float = 1.0, end: float = 0.0, per: Per = "episode"
) -> Schedule:
    """max(end, start / k^power): with power 1, ε = 1/k is greedy in the limit with exploration.

    >>> [inverse().at(k) for k in (1, 2, 4)]
    [1.0, 0.5, 0.25]
    """
    return _checked(Schedule("inverse", start, end, power, per))


def visits(start: float = 1.0, *, power: float = 1.0) -> Schedule:
    """start / N^power, N the visits of what is updated; with power 1, the average of all targets.

    >>> visits().at(3)
    0.333
    """
    return _checked(Schedule("visits", start, 0.0, power))


def linear(start: float, end: float, *, over: float, per: Per = "episode") -> Schedule:
    """From start at k = 1 to end at k = 1 + over, and end from there on.

    >>> linear(1.0, 0.0, over=4).at(2)
    0.75
    """
    return _checked(Schedule("linear", start, end, over, per))


def exponential(start: float, *, decay: float, end: float = 0.0, per: Per = "episode") -> Schedule:
    """max(end, start · decay^(k−1)).

    >>> exponential(1.0, decay=0.5, end=0.2).at(2), exponential(1.0, decay=0.5, end=0.2).at(9)
    (0.5, 0.2)
    """
    if not 0 < decay <= 1:
        raise ConfigError(f"decay is {decay:g} but must lie in (0, 1]: 0.99 loses 1 % a count.")
    return _checked(Schedule("exponential", start, end, decay, per))


def schedule_of(text: str) -> Schedule:
    """The schedule that is written there, for command lines and files.

    >>> schedule_of("linear(1, 0.05, over=300)").at(301)
    0.05

    Raises `ConfigError` where it is none.
    """
    made = {"constant": constant, "inverse": inverse, "visits": visits,
            "linear": linear, "exponential": exponential}  # fmt: skip
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        return made[call.func.id](*map(ast.literal_eval, call.args), **named)
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{text!r} is no schedule: write visits(), inverse(0.5), linear(1, 0.05, over=300) or "
            "exponential(1, decay=0.99)."
        ) from error


def _checked(schedule: Schedule) -> Schedule:
    if schedule.scale <= 0:
        word = "over" if schedule.kind == "linear" else "power"
        raise ConfigError(f"{word} is {schedule.scale:g} but must be positive.")
    if schedule.per not in ("episode", "step"):
        raise ConfigError(f"per is {schedule.per!r} but must be 'episode' or 'step'.")
    return schedule


def numbers(schedule: Schedule) -> tuple[int, float, float, float]:
    """Kind, start, end and scale, for compiled code.

    >>> numbers(constant(0.5))
    (0, 0.5, 0.0, 1.0)
    """
    kind = int(getattr(FLAGS, schedule.kind))
    return kind, float(schedule.start), float(schedule.end), float(schedule.scale)


@inlined
def rate(schedule, k):
    """The number at count k = 1, 2, … of episodes, steps or visits.

    >>> rate(numbers(inverse(0.5)), 2.0)
    0.25
    """
    kind, start, end, scale = schedule
    if kind == FLAGS.constant:
        return start
    if kind == FLAGS.inverse or kind == FLAGS.visits:
        return max(end, start / k if scale == 1.0 else start / k**scale)
    if kind == FLAGS.linear:
        share = min(1.0, (k - 1.0) / scale)
        return (1.0 - share) * start + share * end
    return max(end, start * scale ** (k - 1.0))
