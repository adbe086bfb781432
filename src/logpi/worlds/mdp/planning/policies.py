"""Policies as tables of probabilities, checked once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.model import FiniteMDP, check_model
from logpi.worlds.mdp.planning.bellman import greedy

__all__ = ["as_probabilities", "deterministic", "epsilon_greedy", "uniform"]


def as_probabilities(m: FiniteMDP, policy: ArrayLike) -> Float[ndarray, "S A"]:
    """π(a | s) as float64 [S, A], with zeros in terminal states.

    `policy` is [S, A] probabilities, [S] action numbers, or "uniform"; what an array says in a
    terminal state is not read. Raises `ShapeError` for another shape, and `ConfigError`, naming the
    first state, where a row is not a distribution or an action that is not allowed has mass.

    >>> from logpi.worlds.mdp.zoo import make
    >>> as_probabilities(make("two_state"), [2, 1])
    array([[0., 0., 1.],
           [0., 1., 0.]])
    """
    check_model(m, "the value of a policy")
    if isinstance(policy, str) and policy == "uniform":
        return uniform(m)
    given = np.asarray(policy)
    if given.shape == (m.states,) and np.issubdtype(given.dtype, np.integer):
        return deterministic(m, given)
    if given.shape != m.reward.shape or given.dtype.kind not in "fiu":
        raise ShapeError(
            f"the policy is {list(given.shape)} of {given.dtype} but must be "
            f"{list(m.reward.shape)} probabilities, or [{m.states}] integers: "
            'an action for each state. "uniform" is a policy too.'
        )
    pi = np.where(m.terminal[:, None], 0.0, given.astype(np.float64))
    _check_rows(m, pi, 1e-9 if given.dtype == np.float64 else 1e-5)
    return pi


def _check_rows(m: FiniteMDP, pi: Float[ndarray, "S A"], slack: float) -> None:
    total = pi.sum(1)
    good = (np.abs(total - 1) <= slack) | m.terminal
    good &= (pi >= 0).all(1)  # False for a NaN too
    if not good.all():
        s = int(np.argmin(good))
        raise ConfigError(
            f"the policy's row of state {s} is {pi[s].tolist()}, which sums to {total[s]:g} but "
            "must be a distribution: no negative or NaN probability, and a sum of 1."
        )
    forbidden = (pi > 0) & ~m.allowed
    if forbidden.any():
        s, a = (int(i) for i in np.argwhere(forbidden)[0])
        raise ConfigError(
            f"the policy takes action {a} in state {s} with probability {pi[s, a]:g}, "
            f"which allows only {np.flatnonzero(m.allowed[s]).tolist()}."
        )


def deterministic(m: FiniteMDP, actions: ArrayLike) -> Float[ndarray, "S A"]:
    """The table of the policy that takes action `actions[s]` in state s.

    Raises `ShapeError` unless `actions` is [S] integers, `ConfigError` where one is not allowed.

    >>> from logpi.worlds.mdp.zoo import make
    >>> deterministic(make("two_state"), [0, 0])
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """
    chosen = np.asarray(actions)
    if chosen.shape != (m.states,) or not np.issubdtype(chosen.dtype, np.integer):
        raise ShapeError(
            f"the actions are {list(chosen.shape)} of {chosen.dtype} "
            f"but must be [{m.states}] integers."
        )
    live = np.flatnonzero(~m.terminal)
    known = (chosen >= 0) & (chosen < m.actions)
    wrong = live[~known[live] | ~m.allowed[live, np.where(known, chosen, 0)[live]]]
    if len(wrong):
        s = int(wrong[0])
        raise ConfigError(
            f"the policy takes action {chosen[s]} in state {s}, "
            f"which allows only {np.flatnonzero(m.allowed[s]).tolist()}."
        )
    pi = np.zeros(m.reward.shape)
    pi[live, chosen[live]] = 1
    return pi


def uniform(m: FiniteMDP) -> Float[ndarray, "S A"]:
    """The policy that takes every allowed action of a state with the same probability.

    >>> from logpi.worlds.mdp.zoo import make
    >>> uniform(make("two_state"))
    array([[0.33, 0.33, 0.33],
           [0.33, 0.33, 0.33]])
    """
    check_model(m, "the uniform policy")
    return m.allowed / np.maximum(m.allowed.sum(1, keepdims=True), 1)


def epsilon_greedy(m: FiniteMDP, q: Float[ndarray, "S A"], epsilon: float) -> Float[ndarray, "S A"]:
    """The ε-greedy policy for q: the first best action, but with probability ε any, uniformly.

    π(a | s) = ε / |A(s)| + (1 − ε) 1[a = argmax q(s, ·)]           Zhao, sec. 5.4

    Raises `ConfigError` unless 0 ≤ ε ≤ 1, `ShapeError` unless q is [S, A].

    >>> from logpi.worlds.mdp.zoo import make
    >>> epsilon_greedy(make("two_state"), np.array([[0.0, 1.0, 0.0], [3.0, 2.0, 1.0]]), 0.3)
    array([[0.1, 0.8, 0.1],
           [0.8, 0.1, 0.1]])
    """
    if not 0 <= epsilon <= 1:
        raise ConfigError(f"epsilon is {epsilon} but is a probability: it must lie in [0, 1].")
    if q.shape != m.reward.shape:
        raise ShapeError(f"`q` is {list(q.shape)} but must be {list(m.reward.shape)}: [S, A].")
    best: Int[ndarray, " S"] = greedy(m, q)
    return epsilon * uniform(m) + (1 - epsilon) * deterministic(m, best)
