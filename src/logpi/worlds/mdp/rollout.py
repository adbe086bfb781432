"""Sampled trajectories: a compiled walk over the transitions, driven by given uniform numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit
from numpy import ndarray

from logpi.core.seeds import mix
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["Rollout", "rollout", "start_states"]


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


def rollout(
    m: FiniteMDP,
    policy: Float[ndarray, "S A"],
    start: Int[ndarray, " n"],
    *,
    limit: int,
    seed: int,
) -> Rollout:
    """One trajectory from each start state, of at most `limit` decisions.

    The numbers drawn are a function of the seed alone: the same seed walks the same way.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state")
    >>> stay = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    >>> rollout(m, stay, np.array([1]), limit=3, seed=0).reward.tolist()
    [[1.0, 1.0, 1.0]]
    """
    u = np.random.Generator(np.random.Philox(mix(seed, 0x3A1C))).random((len(start), limit, 2))
    out = Rollout(
        *(np.zeros((len(start), limit), dtype=np.int64) for _ in range(3)),
        reward=np.zeros((len(start), limit)),
        length=np.zeros(len(start), dtype=np.int64),
        terminated=np.zeros(len(start), dtype=np.bool_),
    )
    t = m.transitions
    outcome = m.reward.ravel()[:0] if m.outcome_reward is None else m.outcome_reward
    _walk(
        (t.indptr, t.indices, t.data, m.reward, outcome, m.terminal),
        np.cumsum(policy, axis=1),
        start.astype(np.int64),
        u,
        (out.state, out.action, out.next_state, out.reward, out.length, out.terminated),
    )
    longest = max(1, int(out.length.max(initial=1)))
    return Rollout(
        *(x[:, :longest] for x in (out.state, out.action, out.next_state, out.reward)),
        length=out.length,
        terminated=out.terminated,
    )


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
