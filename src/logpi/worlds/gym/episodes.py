"""Whole episodes as rows, for recipes that have no critic to say what follows a cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.gym.rollout import empty_actions, uniform
from logpi.worlds.gym.vector import Moved, Vector

__all__ = ["Decide", "Episodes", "joined", "likeliest", "play"]

_BLOCK = 64  # steps whose random numbers are drawn at once


Decide = Callable[[ndarray, ndarray | None, ndarray], tuple[ndarray, ndarray]]
"""From observations [n, *shape], action masks [n, A] and uniform numbers [n, k] in (0, 1) to the
actions as the policy means them, and their log-probabilities [n]."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """Episodes as rows, padded on the right; `length` says how many decisions each has."""

    observation: ndarray  # [e, t + 1, *shape], the last one of each behind its last decision
    action: ndarray  # [e, t] or [e, t, k]
    logp: ndarray  # [e, t]
    reward: ndarray  # [e, t] float64, as the environments gave it
    action_mask: ndarray | None  # [e, t, A]
    length: ndarray  # [e]
    terminated: ndarray  # [e] bool; the others were truncated
    seconds: float  # that the environments took

    @property
    def mask(self) -> ndarray:
        """[e, t] where a decision was taken."""
        return np.arange(self.reward.shape[1]) < self.length[:, None]

    def take(self, rows: ndarray) -> Episodes:
        """These episodes, in this order."""
        given = (getattr(self, f.name) for f in fields(self) if f.name != "seconds")
        return Episodes(*(None if x is None else x[rows] for x in given), seconds=self.seconds)  # type: ignore[arg-type] # only the mask of actions may be missing


@dataclass(slots=True)
class _Told:
    """What was seen of n environments, a step at a time; nothing is copied."""

    observation: list[ndarray]
    mask: list[ndarray | None]
    action: list[ndarray]
    logp: list[ndarray]
    reward: list[ndarray]

    def add(self, action: ndarray, logp: ndarray, moved: Moved) -> None:
        self.action.append(action)
        self.logp.append(logp)
        self.reward.append(moved.reward)
        self.observation.append(moved.observation)
        self.mask.append(moved.action_mask)


def play(
    vector: Vector,
    decide: tuple[Decide, Any],
    seeds: Sequence[int],
    generator: np.random.Generator,
    *,
    dtype: Any = np.float32,
    longest: int = 100_000,
) -> Episodes:
    """One episode for each seed, in this order; `decide` is (sampler, to_env).

    Exactly these episodes are begun, and each is played to its end: had the first that are over
    been taken instead, short ones would be too many. Episode e is played by environment e mod n.
    Raises `ConfigError` where an episode has no end within `longest` decisions.
    """
    if not seeds:
        raise ConfigError("no episode was asked for. Set episodes_per_batch to at least 1.")
    n, (sampler, to_env) = vector.num, decide
    observation, mask = vector.reset([seeds[i::n] for i in range(n)])
    told = _Told([observation], [mask], [], [], [])
    begin, played = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    spans: dict[int, tuple[int, int, int, Moved]] = {}  # row: environment, first and last step
    seconds, t, u = 0.0, 0, np.empty(0)
    while len(spans) < len(seeds):
        if t % _BLOCK == 0:
            u = uniform(generator, (_BLOCK, n, vector.actions.draws))
        action, logp = sampler(observation, mask, u[t % _BLOCK])
        chosen, clock = to_env(action), time.perf_counter()
        moved = vector.step(chosen)
        seconds += time.perf_counter() - clock
        observation, mask = moved.observation, moved.action_mask
        told.add(action, logp, moved)
        begin[moved.idle] = t + 1
        for i in np.flatnonzero(moved.terminated | moved.truncated):
            spans[int(i + n * played[i])] = (int(i), int(begin[i]), t, moved)
            played[i], begin[i] = played[i] + 1, t + 1
        t += 1
        _check_end(t - begin, longest)
    return _gathered(vector, told, spans, dtype=dtype, seconds=seconds)


def likeliest(policy: Any) -> tuple[Decide, Any]:
    """What takes the policy's likeliest action, and `to_env`, for `play`."""
    choose = policy.sampler()

    def greedy(x: ndarray, mask: ndarray | None, u: ndarray) -> tuple[ndarray, ndarray]:
        del u
        return choose.mode(x, mask), np.zeros(len(x))

    return greedy, policy.to_env


def joined(draws: Sequence[Episodes]) -> Episodes:
    """The episodes of several draws, padded to the longest."""
    if len(draws) == 1:
        return draws[0]
    longest = max(e.reward.shape[1] for e in draws)

    def together(name: str) -> ndarray | None:
        found = [getattr(e, name) for e in draws]
        if any(x is None for x in found):
            return None
        if name in ("length", "terminated"):
            return np.concatenate(found)
        width = longest + (name == "observation")
        return np.concatenate([_padded(x, width, fill=name == "action_mask") for x in found])

    names = [f.name for f in fields(Episodes) if f.name != "seconds"]
    seconds = sum(e.seconds for e in draws)
    return Episodes(*(together(name) for name in names), seconds=seconds)  # type: ignore[arg-type] # only the mask of actions may be missing


def _padded(x: ndarray, width: int, *, fill: bool) -> ndarray:
    out = np.full((len(x), width, *x.shape[2:]), fill, dtype=x.dtype)
    out[:, : x.shape[1]] = x
    return out


def _check_end(running: ndarray, longest: int) -> None:
    if running.max() > longest:
        raise ConfigError(
            f"environment {int(running.argmax())} has played {longest} decisions without an end, "
            "but an evaluation, and a recipe without a critic, needs whole episodes. Give it a "
            "time limit: options={'max_episode_steps': 1000}, or gymnasium.wrappers.TimeLimit in "
            "the function that makes it."
        )


def _gathered(
    vector: Vector, told: _Told, spans: dict[int, tuple[int, int, int, Moved]], **known: Any
) -> Episodes:
    """The spans of the environments, each as a row."""
    count, dtype = len(spans), known["dtype"]
    rows = [spans[e] for e in range(count)]
    length = np.array([last - first + 1 for _, first, last, _ in rows])
    width, shown = int(length.max()), told.observation[0]
    observation = np.zeros((count, width + 1, *shown.shape[1:]), dtype=shown.dtype)
    action = empty_actions((count, width), vector.actions)
    logp, reward = np.zeros((count, width), dtype=dtype), np.zeros((count, width))
    masks = next((m for m in told.mask if m is not None), None)
    allowed = None if masks is None else np.ones((count, width, masks.shape[1]), dtype=np.bool_)
    for e, (i, first, last, moved) in enumerate(rows):
        t = slice(first, last + 1)
        k = last + 1 - first
        observation[e, :k] = [x[i] for x in told.observation[t]]
        observation[e, k] = moved.final[i]
        action[e, :k] = [x[i] for x in told.action[t]]
        logp[e, :k] = [x[i] for x in told.logp[t]]
        reward[e, :k] = [x[i] for x in told.reward[t]]
        if allowed is not None:
            for s, x in enumerate(told.mask[t]):
                allowed[e, s] = True if x is None else x[i]
    over = np.array([bool(moved.terminated[i]) for i, _, _, moved in rows])
    return Episodes(
        observation, action, logp, reward, allowed, length, over, seconds=known["seconds"]
    )
