"""Where this world's batches come from: streams that go on, or whole episodes.

All randomness is a function of (seed, iteration), so a run that resumes draws what it would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.core.types import Batch
from logpi.worlds.gym.episodes import Episodes, joined, likeliest, play
from logpi.worlds.gym.recorded import packed, unpacked
from logpi.worlds.gym.rollout import Acting, Buffers, Now, collect, randomness, rows_of
from logpi.worlds.gym.steps import Steps
from logpi.worlds.gym.vector import Vector

__all__ = ["EpisodeSource", "Rescale", "StreamSource", "Tally"]

Rescale = Callable[[ndarray, ndarray, ndarray], ndarray]
"""From rewards [n, t], where an episode ended, and where something was decided, to the rewards that
are learned from."""


Compare = Literal["groups", "mixed-groups", "greedy"]
"""What an episode is compared with."""


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
        facts |= _time(seconds, began)
        return _batch(steps, mask, reward, discount, end=end, logp=b.logp, facts=facts)

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
        seen, mask, lost = self._vector.restore(state["vector"])
        self._now = seen, mask
        self._tally.total = unpacked(state["total"])
        self._tally.length = unpacked(state["length"])
        # Where new episodes begin, the running ones are not gone on with.
        self._tally.total[lost] = self._tally.length[lost] = 0

    def _buffers(self) -> Buffers:
        v = self._vector
        return Buffers.make(v.num, self._steps, v.observations, v.actions, self._dtype)


class EpisodeSource:
    """Whole episodes: `copies` from each of `starts` reset seeds, others in every iteration.

    The copies of a seed are a group: they begin alike, and choose differently. An episode that was
    truncated keeps γ in its last discount.

    `compare` is "groups"; "mixed-groups", where groups whose returns are all equal are left out
    and more are played for them; or "greedy", where a greedy episode from each seed is the
    baseline of those that begin alike. `player` plays instead of the policy that learns.
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
        compare: Compare = "groups",
        player: Acting | None = None,
        max_draws: int = 8,
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
        self._compare, self._player, self._max_draws = compare, player, max_draws

    def draw(self, policy: Acting, iteration: int) -> Batch:
        """The episodes of this iteration."""
        began, policy = time.perf_counter(), self._player or policy
        draws = [self._play(policy, iteration, 0)]
        if self._compare == "mixed-groups":
            while sum(map(self._mixed, draws)) < self._starts and len(draws) < self._max_draws:
                draws.append(self._play(policy, iteration, len(draws)))
        e = joined(draws)
        facts = _facts(e.reward.sum(1), e.length, int(e.terminated.sum()))
        if self._compare == "mixed-groups":
            e, facts = self._only_mixed(e, facts)
        batch = self._batch(e)
        if self._compare == "greedy":
            batch = replace(batch, baseline=self._greedy(policy, iteration))
        if self._player is not None:  # what was drawn once and for all has no ratio to its sampler
            batch = replace(batch, logp_old=None)
        return replace(batch, facts={**facts, **_time(e.seconds, began)})

    def state(self) -> dict[str, Any]:
        """Nothing: a batch follows from the iteration."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _play(self, policy: Acting, iteration: int, draw: int) -> Episodes:
        seeds = [seed for seed in self._seeds(iteration, draw) for _ in range(self._copies)]
        told = (self._seed, iteration, draw) if draw else (self._seed, iteration)
        return self._played((policy.sampler(), policy.to_env), seeds, randomness(*told))

    def _played(
        self, decide: tuple[Any, Any], seeds: list[int], generator: np.random.Generator
    ) -> Episodes:
        how = {"dtype": self._dtype, "longest": self._longest}
        return play(self._vector, decide, seeds, generator, **how)

    def _seeds(self, iteration: int, draw: int = 0) -> list[int]:
        numbers = range(draw * self._starts, (draw + 1) * self._starts)
        return [mix(self._seed, iteration, g) % 2**31 for g in numbers]

    def _greedy(self, policy: Acting, iteration: int) -> torch.Tensor:
        """[e] the return of the greedy episode from the same seed, as the credit measures it."""
        found = self._played(likeliest(policy), self._seeds(iteration), randomness(0))
        powers = self._discount ** np.arange(found.reward.shape[1])
        each = np.where(found.mask, found.reward, 0.0) @ powers
        return torch.from_numpy(each.astype(self._dtype)).repeat_interleave(self._copies)

    def _differs(self, e: Episodes) -> ndarray:
        """[groups] whether a group's returns are not all equal."""
        total = e.reward.sum(1).reshape(-1, self._copies)
        return (total != total[:, :1]).any(1)

    def _mixed(self, e: Episodes) -> int:
        return int(self._differs(e).sum())

    def _only_mixed(
        self, e: Episodes, facts: dict[str, float]
    ) -> tuple[Episodes, dict[str, float]]:
        differs = self._differs(e)
        groups = np.flatnonzero(differs)[: self._starts]
        rows = (groups[:, None] * self._copies + np.arange(self._copies)).ravel()
        return e.take(rows), {**facts, "mixed_groups": float(differs.mean())}

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
        group = torch.arange(len(mask) // self._copies).repeat_interleave(self._copies)
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
    facts: Mapping[str, float] | None = None,
) -> Batch:
    there, dtype = torch.from_numpy(mask), logp.dtype
    return Batch(
        inputs=steps,
        mask=there,
        reward=torch.from_numpy(np.where(mask, reward, 0.0).astype(dtype)),
        discount=torch.from_numpy(discount.astype(dtype)),
        end=torch.from_numpy(end),
        weight=torch.full((len(mask),), 1 / max(len(mask), 1), dtype=torch.from_numpy(logp).dtype),
        logp_old=torch.from_numpy(np.where(mask, logp, 0.0).astype(dtype)),
        group=group,
        scored=there,
        facts=facts or {},
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
