"""Which episodes several environments have begun, and what each was asked to do since.

A resumed run resets every environment with the seed of its running episode and takes the same
actions, so no state of an environment is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from logpi.core.errors import ConfigError, EnvironmentFailure
from logpi.core.seeds import mix
from logpi.worlds.gym.recorded import digest, packed, unpacked
from logpi.worlds.gym.spaces import Actions

__all__ = ["History", "Plan", "Running"]

Plan = Sequence[Sequence[int]]
"""For each environment the reset seeds of the episodes that it plays, one after the other."""

_ROOM = 1024  # steps that are kept before room is made


@dataclass(frozen=True, slots=True)
class Running:
    """The running episode of one environment."""

    seed: int  # of its reset
    actions: ndarray  # [k, *shape] taken since
    shows: str  # the digest of what it showed then


@dataclass(slots=True)
class _Mark:
    """A place that one may come back to."""

    at: int  # steps that are kept
    start: ndarray  # [n] where in them each running episode began
    begun: list[int]
    seeds: list[int]
    shown: ndarray  # [n, *shape] what was seen there


class History:
    """Reset seeds and actions of n environments, whose numbers follow `first`.

    The seed of an episode is a function of run seed, number of the environment and number of the
    episode. What is kept reaches back to the beginning of the longest running episode.

    >>> history = History(2, 0, Actions("discrete", (2,)), np.int64)
    >>> history.restart()
    >>> seeds = [history.begin(i) for i in range(2)]
    >>> history.add(np.array([1, 0]))
    >>> history.actions(0).tolist(), seeds[0] != seeds[1]
    ([1], True)
    """

    def __init__(self, num: int, seed: int, kind: Actions, dtype: Any, *, first: int = 0) -> None:
        """Nothing has begun."""
        self._seed, self._numbers = seed, range(first, first + num)
        self._dtype, self._shape = np.dtype(dtype), kind.shape
        self._episodes: list[Iterator[int]] = []
        self._log = np.empty((_ROOM, num, *kind.shape), dtype=self._dtype)
        self._mark: _Mark | None = None
        self._clear([0] * num)

    def restart(self, plan: Plan | None = None) -> None:
        """Forget everything: episodes follow one another without end, or are those of the plan."""
        self._clear([0] * len(self._numbers))
        if plan is None:
            self._follow()
        else:
            self._episodes = [iter(x) for x in plan]

    def begin(self, i: int) -> int | None:
        """The seed of environment i's next episode, which has then begun; None where it is over."""
        seed = next(self._episodes[i], None)
        if seed is None:
            self.over = self.over.copy()  # who was told of it keeps what it was
            self.over[i] = True
            return None
        self._begun[i] += 1
        self.seeds[i] = seed
        self._start[i] = self._at
        return seed

    def add(self, chosen: ndarray) -> None:
        """One action of each, [n, *shape]: a copy is kept."""
        if self._at == len(self._log):
            self._make_room()
        self._log[self._at] = chosen
        self._at += 1

    def actions(self, i: int) -> ndarray:
        """[k, *shape] what environment i was asked to do since its episode began."""
        return self._log[self._start[i] : self._at, i]

    def explain(self, error: EnvironmentFailure) -> None:
        """Tell a failure what its environment was asked to do."""
        if error.environment is not None and error.environment in self._numbers:
            error.actions = self.actions(self._numbers.index(error.environment)).tolist()

    def mark(self, shown: ndarray) -> None:
        """Let `state` tell of this place, where `shown` [n, *shape] is seen, until the next one."""
        self._mark = _Mark(self._at, self._start.copy(), list(self._begun), list(self.seeds), shown)

    def state(self) -> dict[str, Any]:
        """What brings the environments back to the marked place, as JSON."""
        assert self._mark is not None, "no place was marked"
        m = self._mark
        return {
            "environments": [
                {
                    "begun": m.begun[i],
                    "seed": m.seeds[i],
                    "actions": packed(_narrow(self._log[m.start[i] : m.at, i])),
                    "shows": digest(m.shown[i]),
                }
                for i in range(len(self._numbers))
            ]
        }

    def restore(self, state: dict[str, Any]) -> list[Running]:
        """What each environment has to take again, which counts as done.

        Raises `ConfigError` where the state is of another number of environments.
        """
        told, num = state["environments"], len(self._numbers)
        if len(told) != num:
            raise ConfigError(
                f"the checkpoint has {len(told)} environments, and this run {num}. Resume "
                f"with num_envs={len(told)}."
            )
        self._clear([int(x["begun"]) for x in told])
        self._follow()
        self.seeds = [int(x["seed"]) for x in told]
        taken = [unpacked(x["actions"]).astype(self._dtype) for x in told]
        longest = max(len(x) for x in taken)
        while len(self._log) <= longest:
            self._log = np.concatenate((self._log, np.empty_like(self._log)))
        for i, x in enumerate(taken):  # all of them end here, so they begin at different places
            self._log[longest - len(x) : longest, i] = x.reshape(len(x), *self._shape)
            self._start[i] = longest - len(x)
        self._at = longest
        shows = [str(x["shows"]) for x in told]
        return [Running(*x) for x in zip(self.seeds, taken, shows, strict=True)]

    def _clear(self, begun: list[int]) -> None:
        num = len(begun)
        self._begun, self.seeds, self._at, self._mark = begun, [0] * num, 0, None
        self._start = np.zeros(num, dtype=np.int64)
        self.over = np.zeros(num, dtype=np.bool_)

    def _follow(self) -> None:
        pairs = zip(self._numbers, self._begun, strict=True)
        self._episodes = [_endless(self._seed, number, begun) for number, begun in pairs]

    def _make_room(self) -> None:
        """Drop what came before every running episode; double the room where most is needed."""
        self._start[self.over] = self._at
        oldest = int(self._start.min())
        if self._mark is not None:
            oldest = min(oldest, int(self._mark.start.min()))
            self._mark.start -= oldest
            self._mark.at -= oldest
        kept = self._log[oldest : self._at]
        if 2 * len(kept) > len(self._log):
            self._log = np.empty((2 * len(self._log), *kept.shape[1:]), dtype=self._dtype)
        self._log[: len(kept)] = kept
        self._start -= oldest
        self._at = len(kept)


def _narrow(x: ndarray) -> ndarray:
    """Whole numbers in as few bytes as hold them; other arrays as they are."""
    if x.dtype.kind not in "iu" or not x.size:
        return x
    return x.astype(np.result_type(np.min_scalar_type(x.min()), np.min_scalar_type(x.max())))


def _endless(seed: int, number: int, begun: int) -> Iterator[int]:
    """The seed of every episode: a function of run seed, environment and number of the episode."""
    while True:
        begun += 1
        yield mix(seed, number, begun) % 2**31
