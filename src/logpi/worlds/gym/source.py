"""Where this world's batches come from: streams that go on, or whole episodes.

All randomness is a function of (seed, iteration), so a run that resumes draws what it would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.core.types import Batch
from logpi.worlds.gym.episodes import Episodes, play
from logpi.worlds.gym.recorded import packed, unpacked
from logpi.worlds.gym.rollout import Acting, Buffers, Now, collect, randomness, rows_of
from logpi.worlds.gym.steps import Steps
from logpi.worlds.gym.vector import Vector

__all__ = ["EpisodeSource", "Rescale", "StreamSource", "Tally"]

Rescale = Callable[[ndarray, ndarray, ndarray], ndarray]
"""From rewards [n, t], where an episode ended, and where something was decided, to the rewards that
are learned from."""


class Tally:
    """Return and length of the episodes that are not over yet, one of each environment."""

    def __init__(self, num: int) -> None:
        """Nothing has been played."""
        self.total, self.length = np.zeros(num), np.zeros(num, dtype=np.int64)

    def count(self, reward: ndarray, done: ndarray, mask: ndarray) -> tuple[ndarray, ndarray]:
        """Returns and lengths of the episodes that ended in these steps, undiscounted.

        >>> tally, yes = Tally(1), np.ones((1, 2), dtype=bool)
        >>> _ = tally.count(np.ones((1, 2)), ~yes, yes)
        >>> tally.count(np.ones((1, 2)), np.array([[True, False]]), yes)
        (array([3.]), array([3]))
        """
        total = np.cumsum(np.where(mask, reward, 0.0), axis=1) + self.total[:, None]
        length = np.cumsum(mask, axis=1) + self.length[:, None]
        row, step = np.nonzero(done)
        found = [_between(x[row, step], row) for x in (total, length)]
        self.total, self.length = total[:, -1].copy(), length[:, -1].copy()
        if len(row):
            # The last end of each row: what came before it belongs to episodes that are over.
            last = np.flatnonzero(np.append(row[1:] != row[:-1], True))
            self.total[row[last]] -= total[row[last], step[last]]
            self.length[row[last]] -= length[row[last], step[last]]
        return found[0], found[1]


class StreamSource:
    """Streams of the environments, `steps` decisions of each an iteration.

    Episodes go on from one iteration to the next. `rescale` changes the rewards that are learned
    from; those of the facts are the environments' own.
    """

    def __init__(
        self,
        vector: Vector,
        *,
        steps: int,
        discount: float,
        seed: int,
        rescale: Rescale | None = None,
        dtype: Any = np.float32,
    ) -> None:
        """Raises `ConfigError` where a rollout has no steps."""
        self._vector, self._steps, self._discount = vector, steps, discount
        self._seed, self._rescale, self._dtype = seed, rescale, dtype
        self._now: Now | None = None
        self._tally = Tally(vector.num)
        self._buffers()

    def draw(self, policy: Acting, iteration: int) -> Batch:
        """The next decisions of every environment."""
        began, vector = time.perf_counter(), self._vector
        if self._now is None:
            self._now = vector.reset()
            vector.mark()
        b = self._buffers()
        self._now, seconds = collect(
            vector, policy, b, self._now, randomness(self._seed, iteration)
        )
        vector.mark()
        steps, mask, discount, end = rows_of(b, self._discount)
        done = b.terminated | b.truncated
        facts = _facts(*self._tally.count(b.reward, done, mask), int(b.terminated.sum()))
        reward = b.reward if self._rescale is None else self._rescale(b.reward, done, mask)
        batch = _batch(steps, mask, reward, discount, end=end, logp=b.logp)
        return replace(batch, facts={**facts, **_time(seconds, began)})

    def state(self) -> dict[str, Any]:
        """Where the environments were after the last draw, and what running episodes have brought.

        A draw that an environment's failure ended did not happen.
        """
        if self._now is None:
            return {}
        tally = self._tally
        return {
            "vector": self._vector.state(),
            "total": packed(tally.total),
            "length": packed(tally.length),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        if not state:
            return
        self._now = self._vector.restore(state["vector"])
        self._tally.total = unpacked(state["total"])
        self._tally.length = unpacked(state["length"])

    def _buffers(self) -> Buffers:
        v = self._vector
        return Buffers.make(v.num, self._steps, v.observations, v.actions, self._dtype)


class EpisodeSource:
    """Whole episodes: `copies` from each of `starts` reset seeds, others in every iteration.

    The copies of a seed are a group: they begin alike, and choose differently. An episode that was
    truncated keeps γ in its last discount.
    """

    def __init__(
        self,
        vector: Vector,
        *,
        starts: int,
        copies: int = 1,
        discount: float,
        seed: int,
        rescale: Rescale | None = None,
        dtype: Any = np.float32,
        longest: int = 100_000,
    ) -> None:
        """Raises `ConfigError` where no episode is asked for."""
        if starts < 1 or copies < 1:
            raise ConfigError(
                f"{starts} starts of {copies} episodes each hold nothing to learn from. Ask for at "
                "least one of each."
            )
        self._vector, self._starts, self._copies = vector, starts, copies
        self._discount, self._seed, self._rescale = discount, seed, rescale
        self._dtype, self._longest = dtype, longest

    def draw(self, policy: Acting, iteration: int) -> Batch:
        """The episodes of this iteration."""
        began = time.perf_counter()
        starts = [mix(self._seed, iteration, g) % 2**31 for g in range(self._starts)]
        seeds = [seed for seed in starts for _ in range(self._copies)]
        generator = randomness(self._seed, iteration)
        decide = (policy.sampler(), policy.to_env)
        e = play(self._vector, decide, seeds, generator, dtype=self._dtype, longest=self._longest)
        batch = self._batch(e)
        facts = _facts(e.reward.sum(1), e.length, int(e.terminated.sum()))
        return replace(batch, facts={**facts, **_time(e.seconds, began)})

    def state(self) -> dict[str, Any]:
        """Nothing: a batch follows from the iteration."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _batch(self, e: Episodes) -> Batch:
        mask = e.mask
        end = np.arange(mask.shape[1]) == e.length[:, None] - 1
        discount = np.where(end & e.terminated[:, None], 0.0, np.where(mask, self._discount, 1.0))
        reward = e.reward if self._rescale is None else self._rescale(e.reward, end, mask)
        allowed = None if e.action_mask is None else torch.from_numpy(e.action_mask)
        steps = Steps(
            torch.from_numpy(e.observation[:, :-1]),
            torch.from_numpy(e.action),
            allowed,
            torch.from_numpy(e.observation[:, 1:]),
        )
        group = torch.arange(self._starts).repeat_interleave(self._copies)
        return _batch(steps, mask, reward, discount, end=end, logp=e.logp, group=group)


def _batch(
    steps: Steps,
    mask: ndarray,
    reward: ndarray,
    discount: ndarray,
    *,
    end: ndarray,
    logp: ndarray,
    group: torch.Tensor | None = None,
) -> Batch:
    there, dtype = torch.from_numpy(mask), logp.dtype
    return Batch(
        inputs=steps,
        mask=there,
        reward=torch.from_numpy(np.where(mask, reward, 0.0).astype(dtype)),
        discount=torch.from_numpy(discount.astype(dtype)),
        end=torch.from_numpy(end),
        weight=torch.full((len(mask),), 1 / len(mask), dtype=torch.from_numpy(logp).dtype),
        logp_old=torch.from_numpy(np.where(mask, logp, 0.0).astype(dtype)),
        group=group,
        scored=there,
    )


def _between(x: ndarray, row: ndarray) -> ndarray:
    """Differences of running sums at the ends of episodes, row after row."""
    before = np.zeros_like(x)
    same = row[1:] == row[:-1]
    before[1:][same] = x[:-1][same]
    return x - before


def _facts(total: ndarray, length: ndarray, terminated: int) -> dict[str, float]:
    """What is known of the episodes that are over; no mean of none."""
    count = len(total)
    if not count:
        return {"episodes": 0.0}
    return {
        "episodes": float(count),
        "return": float(total.mean()),
        "return_std": float(total.std()),
        "episode_length": float(length.mean()),
        "terminated": terminated / count,
    }


def _time(environments: float, began: float) -> dict[str, float]:
    whole = time.perf_counter() - began
    return {"seconds_environments": environments, "environments_share": environments / whole}
