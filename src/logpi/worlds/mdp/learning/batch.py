"""Batch learning: what TD(0) and Monte Carlo reach when the same episodes are shown for ever.

Sutton & Barto 6.3: on a finite batch, both converge for any small enough step size, but to
different values. Monte Carlo's minimise the squared error on the batch. TD(0)'s are exact for the
Markov chain that fits the batch best: the certainty equivalence. Both are computed outright.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.learning.arrays import Arrays
from logpi.worlds.mdp.learning.task import Task
from logpi.worlds.mdp.planning.linear import solve_identity_minus
from logpi.worlds.mdp.rollout import Rollout

__all__ = ["Batch", "batch_mc", "batch_td"]


def batch_td(
    episodes: Rollout, states: int, *, discount: float, initial_value: float = 0.0
) -> Float[ndarray, " S"]:
    """The values that TD(0) converges to on stored episodes, for any small enough step size.

    v(s) = mean of (r + γ v(s')) over all visits of s           Sutton & Barto 6.3

    A state that was never left keeps `initial_value`, 0 if an episode terminated there. Raises
    `ConfigError` unless 0 ≤ discount ≤ 1.

    >>> from logpi.worlds.mdp.rollout import rollout
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("random_walk")
    >>> stored = rollout(m, np.ones((7, 1)), np.full(1000, 3), limit=1000, seed=0)
    >>> batch_td(stored, 7, discount=1.0).round(1)
    array([0. , 0.2, 0.3, 0.5, 0.7, 0.8, 0. ])
    """
    return _counts(episodes, states, discount, initial_value).td()


def batch_mc(
    episodes: Rollout, states: int, *, discount: float, initial_value: float = 0.0
) -> Float[ndarray, " S"]:
    """The values that constant-α Monte Carlo converges to on stored episodes: the mean returns.

    v(s) = mean of G over all visits of s           Sutton & Barto 6.3

    A state that was never left keeps `initial_value`. Raises `ConfigError` unless 0 ≤ discount ≤ 1.

    >>> from logpi.worlds.mdp.rollout import rollout
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("random_walk")
    >>> stored = rollout(m, np.ones((7, 1)), np.full(1000, 3), limit=1000, seed=0)
    >>> batch_mc(stored, 7, discount=1.0).round(1)
    array([0. , 0.2, 0.3, 0.5, 0.7, 0.8, 0. ])
    """
    return _counts(episodes, states, discount, initial_value).mc()


def _counts(episodes: Rollout, states: int, discount: float, initial_value: float) -> Counts:
    if not 0 <= discount <= 1:
        raise ConfigError(f"discount is {discount:g} but must lie in [0, 1].")
    counts = Counts(states, discount, initial_value)
    returns = episodes.reward.copy()  # 0 beyond an episode's length
    for t in range(returns.shape[1] - 2, -1, -1):
        returns[:, t] += discount * returns[:, t + 1]
    for i, length in enumerate(episodes.length):
        arrays = (episodes.state, episodes.next_state, episodes.reward, returns)
        counts.add(*(a[i, :length] for a in arrays), ended=bool(episodes.terminated[i]))
    return counts


class Counts:
    """What a batch of episodes holds: how often each move was made, and what came of it."""

    def __init__(self, states: int, discount: float, initial_value: float) -> None:
        """An empty batch."""
        self.discount = discount
        self.start = np.full(states, initial_value)
        self.moves, self.times = np.zeros(0, dtype=np.int64), np.zeros(0)  # s·S + s', how often
        self.visits, self.reward, self.total = np.zeros((3, states))

    def add(
        self,
        state: Int[ndarray, " t"],
        after: Int[ndarray, " t"],
        reward: Float[ndarray, " t"],
        returns: Float[ndarray, " t"],
        *,
        ended: bool,
    ) -> None:
        """Nothing; the batch holds one episode more."""
        S = len(self.start)
        for kept, new in ((self.visits, None), (self.reward, reward), (self.total, returns)):
            kept += np.bincount(state, new, S)
        if ended and len(state):
            self.start[after[-1]] = 0.0
        inner = slice(0, len(state) - 1 if ended else len(state))
        moves = np.concatenate([self.moves, state[inner] * S + after[inner]])
        times = np.concatenate([self.times, np.ones(len(moves) - len(self.moves))])
        self.moves, which = np.unique(moves, return_inverse=True)
        self.times = np.bincount(which, times, len(self.moves))

    def mc(self) -> Float[ndarray, " S"]:
        """The mean return of each state."""
        return np.where(self.visits > 0, self.total / np.maximum(self.visits, 1), self.start)

    def td(self) -> Float[ndarray, " S"]:
        """The values of the chain that fits best: v = r̂ + γ P̂ v where a state was left."""
        S, seen = len(self.start), self.visits > 0
        visits = np.maximum(self.visits, 1)
        state, after = np.divmod(self.moves, S)
        p = csr_array((self.discount * self.times / visits[state], (state, after)), shape=(S, S))
        fixed = np.where(seen, 0.0, self.start)
        known = np.where(seen, self.reward / visits + p @ fixed, fixed)
        try:
            return solve_identity_minus(csr_array(p.multiply(seen[None, :])), known)
        except ModelError as error:
            raise ConfigError(
                "with discount 1, TD(0) has no value where no episode of the batch ended: give a "
                "discount below 1, or a larger max_steps."
            ) from error


class Batch:
    """The episodes of a run of `learn` so far, as a batch."""

    def __init__(self, task: Task) -> None:
        """An empty batch."""
        self.task = task
        start = float(task.options["initial_value"])
        self.counts = Counts(task.m.states, task.discount, start)

    def add(self, x: Arrays) -> None:
        """Nothing; adds the episode that has just ended, whose steps are in the arrays."""
        last = int(x.run[0]["episode"]) - 1
        length = int(x.log[last]["length"])
        state = x.steps["pair"][:length] // self.task.m.actions
        after = np.append(state[1:], int(x.run[0]["state"]))
        ended = not x.log[last]["truncated"]
        reward, returns = x.steps["reward"][:length], x.steps["total"][:length]
        self.counts.add(state, after[:length], reward.copy(), returns, ended=ended)

    def value(self) -> Float[ndarray, " S"]:
        """What the method reaches on it; 0 in terminal states."""
        v = self.counts.td() if self.task.name == "batch_td" else self.counts.mc()
        return np.where(self.task.m.terminal, 0.0, v)
