"""T decisions of every environment, written into arrays that are there before the first one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.worlds.gym.spaces import Actions, Observations
from logpi.worlds.gym.steps import Steps
from logpi.worlds.gym.vector import Vector

__all__ = [
    "Acting",
    "Buffers",
    "Now",
    "Sampler",
    "collect",
    "empty_actions",
    "randomness",
    "rows_of",
    "uniform",
]


class Sampler(Protocol):
    """What decides for n environments at once, with the parameters as they were."""

    def __call__(
        self, observation: ndarray, mask: ndarray | None, u: ndarray, /
    ) -> tuple[ndarray, ndarray]:
        """Actions as the policy means them, drawn by `u`, and their log-probabilities."""
        ...

    def noise(self, u: ndarray, /) -> ndarray:
        """What `draw` reads of uniform numbers [..., k] in (0, 1)."""
        ...

    def draw(
        self, observation: ndarray, mask: ndarray | None, noise: ndarray, /
    ) -> tuple[ndarray, ndarray]:
        """Actions as the policy means them, and numbers [o, n] that say how likely they are."""
        ...

    def log_prob(self, out: ndarray, action: ndarray, mask: ndarray | None, /) -> ndarray:
        """Log-probabilities of actions, of the numbers [o, n] that came with them."""
        ...


Now = tuple[ndarray, ndarray | None]
"""What the next decision reads: observations [n, *shape] and action masks [n, A]."""


class Acting(Protocol):
    """A policy, as far as a rollout needs one."""

    def sampler(self) -> Sampler:
        """What decides, with the parameters as they are now."""
        ...

    def to_env(self, action: ndarray, /) -> ndarray:
        """The actions as the environments take them."""
        ...


@dataclass(slots=True)
class Buffers:
    """Room for `steps` decisions of n environments, and for the last observation.

    Made anew for every rollout: a batch shares their memory, and nothing writes there again.
    """

    observation: ndarray  # [n, t + 1, *shape]
    action: ndarray  # [n, t] or [n, t, k], as the policy means it
    logp: ndarray  # [n, t]
    reward: ndarray  # [n, t] float64, as the environments gave it
    terminated: ndarray  # [n, t] bool
    truncated: ndarray  # [n, t] bool
    idle: ndarray  # [n, t] bool
    action_mask: ndarray | None = None  # [n, t, A] bool
    # where an episode ended and another began at once: step, environments, what they showed last
    last: list[tuple[int, ndarray, ndarray]] = field(default_factory=list[Any])

    @classmethod
    def make(
        cls, num: int, steps: int, observations: Observations, actions: Actions, dtype: Any
    ) -> Buffers:
        """Empty ones, log-probabilities of that dtype. Raises `ConfigError` where `steps` is 0."""
        if steps < 1:
            raise ConfigError(
                f"a rollout of {steps} decisions holds nothing to learn from. Set steps_per_env "
                "to at least 1."
            )
        shown = np.uint8 if observations.image else np.float32
        n, t = num, steps
        return cls(
            np.empty((n, t + 1, *observations.shape), dtype=shown),
            empty_actions((n, t), actions),
            np.empty((n, t), dtype=dtype),
            np.empty((n, t), dtype=np.float64),
            np.empty((n, t), dtype=np.bool_),
            np.empty((n, t), dtype=np.bool_),
            np.empty((n, t), dtype=np.bool_),
        )


def empty_actions(shape: tuple[int, ...], actions: Actions) -> ndarray:
    """Zeros for the actions of a batch of that shape: whole numbers where the actions are choices.

    >>> empty_actions((4, 2), Actions("multibinary", (3,))).shape
    (4, 2, 3)
    """
    if actions.kind == "discrete":
        return np.zeros(shape, dtype=np.int64)
    kind = np.int64 if actions.kind == "multidiscrete" else np.float32
    return np.zeros((*shape, actions.width), dtype=kind)


def randomness(*numbers: int) -> np.random.Generator:
    """A stream of random numbers that follows from these: of seed and iteration, in a run.

    >>> randomness(0, 3).random() == randomness(0, 3).random()
    True
    """
    return np.random.Generator(np.random.Philox(key=mix(*numbers)))


def uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> ndarray:
    """Numbers in (0, 1), never 0, so that every quantile of them is finite.

    >>> bool(uniform(randomness(0), (9,)).min() > 0)
    True
    """
    return np.maximum(generator.random(shape), 2.0**-54)


def collect(
    vector: Vector, policy: Acting, buffers: Buffers, now: Now, generator: np.random.Generator
) -> tuple[Now, float]:
    """What the decision after these reads, and the seconds that the environments took.

    Every environment moves once a step; the buffers are full afterwards.
    """
    sampler, to_env, b, clock = policy.sampler(), policy.to_env, buffers, time.perf_counter
    steps, draw = b.reward.shape[1], sampler.draw
    noise = sampler.noise(uniform(generator, (steps, vector.num, vector.actions.draws)))
    (observation, mask), seconds = now, 0.0
    outs: list[ndarray] = []
    b.observation[:, 0] = observation
    for t in range(steps):
        if mask is not None:
            if b.action_mask is None:
                b.action_mask = np.ones((*b.reward.shape, mask.shape[1]), dtype=np.bool_)
            b.action_mask[:, t] = mask
        action, out = draw(observation, mask, noise[t])
        outs.append(out)
        b.action[:, t] = action
        chosen = to_env(action)
        began = clock()
        moved = vector.step(chosen)
        seconds += clock() - began
        observation, mask = moved.observation, moved.action_mask
        b.observation[:, t + 1] = observation
        b.reward[:, t] = moved.reward
        b.terminated[:, t] = moved.terminated
        b.truncated[:, t] = moved.truncated
        b.idle[:, t] = moved.idle
        if moved.final is not observation:
            ended = np.flatnonzero(moved.terminated | moved.truncated)
            b.last.append((t, ended, moved.final[ended]))
    b.logp[:] = _log_probs(sampler, outs, b)
    return (observation, mask), seconds


def _log_probs(sampler: Sampler, outs: list[ndarray], b: Buffers) -> ndarray:
    """[n, t] of all actions at once, of the numbers [o, n] that decided each step."""
    n, t = b.reward.shape
    out = np.stack(outs, 2).reshape(-1, n * t)
    allowed = None if b.action_mask is None else b.action_mask.reshape(n * t, -1)
    action = b.action.reshape(n * t, *b.action.shape[2:])
    return sampler.log_prob(out, action, allowed).reshape(n, t)


def rows_of(buffers: Buffers, discount: float) -> tuple[Steps, ndarray, ndarray, ndarray]:
    """The buffers as rows: what was read and chosen, mask, discount and end, [n, t].

    After a termination nothing is worth anything: discount 0. A truncation and the end of the row
    keep γ, and a critic goes on from `final`. An idle step decided nothing: mask False, and a
    discount of 1, which every sum passes through.
    """
    b = buffers
    mask, done = ~b.idle, b.terminated | b.truncated
    end = done.copy()
    end[:, -1] |= mask[:, -1]
    ahead = np.where(b.terminated, 0.0, np.where(mask, discount, 1.0)).astype(b.logp.dtype)
    final = b.observation[:, 1:]
    if b.last:
        final = final.copy()
        for t, ended, shown in b.last:
            final[ended, t] = shown
    steps = Steps(
        torch.from_numpy(b.observation[:, :-1]),
        torch.from_numpy(b.action),
        None if b.action_mask is None else torch.from_numpy(b.action_mask),
        torch.from_numpy(final),
    )
    return steps, mask, ahead, end
