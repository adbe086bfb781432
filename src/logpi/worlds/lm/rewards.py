"""`Rewards`: numbers for completions, from functions in worker processes with a time limit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from logpi.core.errors import ConfigError, RewardError
from logpi.worlds.lm.graders import NEEDS
from logpi.worlds.lm.pool import Lost, NotARewardError, Pool
from logpi.worlds.lm.rewardspec import RewardSpec, load_function, pickled, resolve

__all__ = ["LONGEST", "RewardSpec", "Rewards", "Scores", "load_function"]

LONGEST = 1_000_000
"""The most seconds that a reward's time limit may be: more is no limit, and no clock's number."""

Reward = float | list[float] | None


_UNTRIED = Lost("")


@dataclass(frozen=True, slots=True)
class Scores:
    """What the completions earned, row by row; None is a missing verdict and not a 0."""

    reward: list[Reward]  # the weighted sum: one number, or one per step
    missing: int
    reasons: Counter[str]  # why rewards are missing, and how often
    parts: dict[str, list[float | None]]  # each function's own number, unweighted; its steps summed


class Rewards:
    """Calls reward functions in worker processes; a context manager.

    A function sees the prompt, the completion, and those columns of the row that it has parameters
    for (all of them if it takes **columns). It returns a number, None for no verdict, or a list
    with one number per step. A call that raises, returns NaN, an infinity or None, takes longer
    than `timeout` seconds or ends its process leaves its row without a reward: missing, never 0.
    Several functions are added up with `weights`; a row that lacks one part is missing. Where some
    return steps and some a number, the number comes at the last step.

    Raises `ConfigError` for an impossible reward, and, when called, `RewardError` where more than
    `max_missing` of the rows are missing or a function returns what is no reward.

    >>> with Rewards("exact_match") as rewards:
    ...     rewards(["1+1=", "1+2="], ["2", "2"], [{"answer": "2"}, {"answer": "3"}]).reward
    [1.0, 0.0]
    """

    def __init__(
        self,
        reward: RewardSpec | Sequence[RewardSpec],
        *,
        weights: Sequence[float] | None = None,
        workers: int = 1,
        timeout: float = 5.0,
        max_missing: float = 0.1,
    ) -> None:
        _check(workers=workers, timeout=timeout, max_missing=max_missing)
        specs = (
            list(reward)
            if isinstance(reward, Sequence) and not isinstance(reward, str)
            else [reward]
        )
        functions = [resolve(spec) for spec in specs]
        self.names = _distinct([name for name, *_ in functions])
        self.weights = _checked_weights(weights, self.names)
        self._max_missing = max_missing
        modules = [NEEDS[name][0] for name, _, columns in functions if columns and name in NEEDS]
        bodies = [(pickled(name, function), columns) for name, function, columns in functions]
        self._pool = Pool(bodies, modules=modules, workers=workers, timeout=timeout)
        self._pool.start()

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        columns: Sequence[Mapping[str, Any]],
    ) -> Scores:
        """Score the completions, in order."""
        count = len(completions)
        if len(prompts) != count or len(columns) != count:
            raise RewardError(
                f"{count} completions came with {len(prompts)} prompts and {len(columns)} rows of "
                "columns. Every completion needs one of each."
            )
        rows = [(i, prompts[i], completions[i], dict(columns[i])) for i in range(count)]
        try:
            results = self._pool.run(rows, patience=int(self._max_missing * count))
        except NotARewardError as error:
            function, why = error.args
            raise RewardError(f"the reward `{self.names[function]}` {why}.") from None
        scores, first = self._collect(count, results)
        if scores.missing > self._max_missing * count:
            done = sum((i, 0) in results for i in range(count))
            raise RewardError(self._too_many(scores, done, [rows[i] for i in first]))
        return scores

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def __enter__(self) -> Self:
        """The workers run."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers."""
        self.close()

    def _collect(
        self, count: int, results: Mapping[tuple[int, int], Any]
    ) -> tuple[Scores, list[int]]:
        totals: list[Reward] = []
        parts: dict[str, list[float | None]] = {name: [] for name in self.names}
        reasons: Counter[str] = Counter()
        first: list[int] = []
        for row in range(count):
            values = [
                self._value(results.get((row, j), _UNTRIED), j) for j in range(len(self.names))
            ]
            for name, value in zip(self.names, values, strict=True):
                parts[name].append(None if isinstance(value, Lost) else _summed(value))
            lost = next((value for value in values if isinstance(value, Lost)), None)
            if lost is None:
                totals.append(_added([v for v in values if not isinstance(v, Lost)], self.weights))
                continue
            totals.append(None)
            if lost.why:
                if lost.why not in reasons:
                    first.append(row)
                reasons[lost.why] += 1
        return Scores(totals, sum(reasons.values()), reasons, parts), first

    def _value(self, value: Any, function: int) -> float | list[float] | Lost:
        name = self.names[function]
        if value is None:
            return Lost(f"`{name}` returned None")
        if isinstance(value, Lost):
            return Lost(f"`{name}` {value.why}") if value.why else value
        numbers = value if isinstance(value, list) else [value]
        bad = [x for x in numbers if not math.isfinite(x)]
        return Lost(f"`{name}` returned {bad[0]}") if bad else value

    def _too_many(self, scores: Scores, done: int, examples: list[tuple[Any, ...]]) -> str:
        told: list[str] = []
        for (why, times), (row, prompt, completion, _) in list(
            zip(scores.reasons.items(), examples, strict=True)
        )[:3]:
            told.append(
                f"{times} × {why} (first in row {row}: {prompt[-60:]!r} -> {completion[:60]!r})"
            )
        tried = "" if done == len(scores.reward) else f" (the run stopped there; {done} were tried)"
        return (
            f"{scores.missing} of {len(scores.reward)} rewards are missing{tried}, more than "
            f"max_missing={self._max_missing:g} allows: {'; '.join(told)}. A missing reward is not "
            "a 0: the row would leave the batch. Mend the reward, give it more time "
            "(reward_timeout), or allow more (max_missing)."
        )


def _summed(value: float | list[float]) -> float:
    return math.fsum(value) if isinstance(value, list) else value


def _added(values: Sequence[float | list[float]], weights: Sequence[float]) -> float | list[float]:
    lengths = {len(value) for value in values if isinstance(value, list)}
    if len(lengths) > 1:
        raise RewardError(
            f"two rewards returned lists of {min(lengths)} and {max(lengths)} numbers for one "
            "completion. Each step needs one number from each of them."
        )
    length = max(lengths, default=0)
    total = [0.0] * max(length, 1)
    for value, weight in zip(values, weights, strict=True):
        for step, number in enumerate(value) if isinstance(value, list) else [(-1, value)]:
            total[step] += weight * number
    return total if length else total[0]


def _distinct(names: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    distinct: list[str] = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct


def _checked_weights(weights: Sequence[float] | None, names: Sequence[str]) -> list[float]:
    if not names:
        raise ConfigError("the list of rewards is empty. Give at least one.")
    if weights is None:
        return [1.0] * len(names)
    if len(weights) != len(names) or not all(math.isfinite(weight) for weight in weights):
        raise ConfigError(
            f"the weights are {list(weights)} for the rewards {', '.join(names)}. Give one finite "
            "number each."
        )
    return [float(weight) for weight in weights]


def _check(*, workers: int, timeout: float, max_missing: float) -> None:
    if workers < 1:
        raise ConfigError(f"workers is {workers}. Rewards need at least one worker process.")
    if not 0 < timeout <= LONGEST:
        raise ConfigError(
            f"timeout is {timeout}. Give the seconds that one call may take, at most {LONGEST:,}."
        )
    if not 0 <= max_missing <= 1:
        raise ConfigError(
            f"max_missing is {max_missing}. Give the fraction of rows that may be missing, 0 to 1."
        )
