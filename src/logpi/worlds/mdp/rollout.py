"""Sampled trajectories: a compiled walk over the transitions, driven by given uniform numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.worlds.mdp.model import FiniteMDP, check_model
from logpi.worlds.mdp.planning.policies import as_probabilities

__all__ = ["Rollout", "rollout", "start_states", "stored"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """n trajectories of at most t decisions, padded with 0 on the right of `length`."""

    state: Int[ndarray, "n t"]
    action: Int[ndarray, "n t"]
    next_state: Int[ndarray, "n t"]
    reward: Float[ndarray, "n t"]
    length: Int[ndarray, " n"]
    terminated: Bool[ndarray, " n"]  # False where the walk was cut after `limit` decisions

    @property
    def mask(self) -> Bool[ndarray, "n t"]:
        """True where a decision was taken."""
        return np.arange(self.state.shape[1]) < self.length[:, None]


def start_states(m: FiniteMDP, count: int, seed: int) -> Int[ndarray, " n"]:
    """`count` states drawn from the start distribution.

    >>> from logpi.worlds.mdp.zoo import make
    >>> start_states(make("cliff"), 2, seed=0).tolist()
    [36, 36]
    """
    u = np.random.Generator(np.random.Philox(mix(seed, 0x57A7))).random(count)
    last = np.flatnonzero(m.start)[-1]
    return np.minimum(np.searchsorted(np.cumsum(m.start), u, side="right"), last)


def stored(episodes: Sequence[Sequence[float]], *, terminated: bool = True) -> Rollout:
    """Episodes that were written down: state, reward, state, reward, ..., and the last state.

    What `batch_td` and `batch_mc` learn from; of actions nothing is known (−1). Unless `terminated`
    the episodes were only cut in their last state. Raises `ConfigError` where an episode has no
    reward between two states, or a state is no whole number.

    >>> A, B, end = 0, 1, 2
    >>> stored([[A, 0.0, B, 0.0, end], [B, 1.0, end]]).reward
    array([[0., 0.],
           [1., 0.]])
    """
    for i, episode in enumerate(episodes):
        states = np.asarray(episode[::2], dtype=np.float64)
        if len(episode) < 3 or len(episode) % 2 == 0 or (states != np.abs(states).round()).any():
            raise ConfigError(
                f"episode {i} is {list(episode)} but must be state, reward, state, ..., reward, "
                "state: with state numbers at the even places."
            )
    length = np.array([len(episode) // 2 for episode in episodes], dtype=np.int64)
    shape = (len(length), max(length, default=1))
    state, after = np.zeros((2, *shape), dtype=np.int64)
    reward = np.zeros(shape)
    for i, episode in enumerate(episodes):
        state[i, : length[i]] = episode[:-2:2]
        after[i, : length[i]] = episode[2::2]
        reward[i, : length[i]] = episode[1::2]
    action = np.where(np.arange(shape[1]) < length[:, None], -1, 0)
    ended = np.full(len(length), terminated)
    return Rollout(state, action, after, reward, length=length, terminated=ended)


def rollout(m: FiniteMDP, policy: ArrayLike, start: ArrayLike, *, limit: int, seed: int) -> Rollout:
    """One trajectory from each start state [n], of at most `limit` decisions.

    `policy` is [S, A] probabilities, [S] actions or "uniform". The numbers drawn are a function of
    the seed alone: the same seed walks the same way. Raises as `evaluate` does for a policy, and
    `ConfigError` where a start is no state of the model.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state")
    >>> stay = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    >>> rollout(m, stay, np.array([1]), limit=3, seed=0).reward.tolist()
    [[1.0, 1.0, 1.0]]
    """
    first, cumulative = _starts(m, start), np.cumsum(as_probabilities(m, policy), axis=1)
    shape = (len(first), limit)
    u = np.random.Generator(np.random.Philox(mix(seed, 0x3A1C))).random((*shape, 2))
    out = Rollout(
        *(np.zeros(shape, dtype=np.int64) for _ in range(3)),
        reward=np.zeros(shape),
        length=np.zeros(len(first), dtype=np.int64),
        terminated=np.zeros(len(first), dtype=np.bool_),
    )
    t = m.transitions
    outcome = m.reward.ravel()[:0] if m.outcome_reward is None else m.outcome_reward
    _walk(
        (t.indptr, t.indices, t.data, m.reward, outcome, m.terminal),
        cumulative,
        first,
        u,
        (out.state, out.action, out.next_state, out.reward, out.length, out.terminated),
    )
    longest = max(1, int(out.length.max(initial=1)))
    return Rollout(
        *(x[:, :longest] for x in (out.state, out.action, out.next_state, out.reward)),
        length=out.length,
        terminated=out.terminated,
    )


def _starts(m: FiniteMDP, start: ArrayLike) -> Int[ndarray, " n"]:
    check_model(m, "rollout")
    given = np.asarray(start)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not len(given):
        raise ConfigError(f"`start` is {start!r} but must be state numbers [n]: one for each walk.")
    if not ((given >= 0) & (given < m.states)).all():
        raise ConfigError(f"`start` must hold states, 0 to {m.states - 1}.")
    return given.astype(np.int64)


@njit(cache=True)
def _walk(model, cumulative, start, u, out) -> None:  # pyright: ignore[reportMissingParameterType] # numba infers
    indptr, indices, data, reward, outcome, terminal = model
    states, actions, successors, rewards, length, terminated = out
    for i in range(len(start)):
        s = start[i]
        for k in range(u.shape[1]):
            if terminal[s]:
                break
            a = _first_above(cumulative[s], u[i, k, 0])
            row = s * cumulative.shape[1] + a
            z = _successor(indptr[row], indptr[row + 1], data, u[i, k, 1])
            states[i, k], actions[i, k], successors[i, k] = s, a, indices[z]
            rewards[i, k] = outcome[z] if len(outcome) else reward[s, a]
            length[i] = k + 1
            s = indices[z]
        terminated[i] = terminal[s]


@njit(cache=True)
def _first_above(cumulative, u):  # pyright: ignore[reportMissingParameterType] # numba infers
    """The first place whose cumulative probability exceeds u; the last that adds any, at worst."""
    chosen = 0
    before = 0.0
    for a in range(len(cumulative)):
        if cumulative[a] > before:
            chosen = a
            if cumulative[a] > u:
                break
        before = cumulative[a]
    return chosen


@njit(cache=True)
def _successor(low, high, data, u):  # pyright: ignore[reportMissingParameterType] # numba infers
    total = 0.0
    chosen = low
    for z in range(low, high):
        if data[z] > 0:
            chosen = z
            total += data[z]
            if total > u:
                break
    return chosen
