"""Bellman's operator: one backup, and the policy that is greedy for it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.core.errors import ShapeError
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["backup", "best_actions", "greedy"]


def backup(m: FiniteMDP, v: Float[ndarray, " S"]) -> Float[ndarray, "S A"]:
    """The action values of one step and then v; −inf where an action is not allowed.

    q(s, a) = r(s, a) + γ Σ_s' p(s' | s, a) v(s')           Zhao, eq. 4.1; Sutton & Barto, eq. 4.6

    A terminal state has value 0, whatever v says there. Raises `ShapeError` unless v is [S].

    >>> from logpi.worlds.mdp.zoo import make
    >>> backup(make("two_state", discount=0.9), np.array([-10.0, -9.0]))
    array([[-10. ,  -9. ,  -7.1],
           [ -9. ,  -7.1,  -9.1]])
    """
    if v.shape != (m.states,):
        raise ShapeError(f"`v` is {list(v.shape)} but the model has {m.states} states: [S].")
    v = np.where(m.terminal, 0, v)
    with np.errstate(invalid="ignore"):  # the row of an action that is not allowed may hold a NaN
        q = m.reward + m.discount * (m.transitions @ v).reshape(m.reward.shape)
    return np.where(m.allowed, q, -np.inf)


def best_actions(q: Float[ndarray, "S A"]) -> Int[ndarray, " S"]:
    """The first best action of every state; −1 where none is allowed (every entry is −inf).

    >>> best_actions(np.array([[1.0, 2.0, 2.0], [-np.inf, -np.inf, -np.inf]]))
    array([ 1, -1])
    """
    first = q.argmax(1)
    return np.where(np.isneginf(q[np.arange(len(q)), first]), -1, first)


def greedy(
    m: FiniteMDP, values: Float[ndarray, " S"] | Float[ndarray, "S A"]
) -> Int[ndarray, " S"]:
    """The greedy policy for v [S] or q [S, A]: the first best action, −1 in terminal states.

    π(s) = argmax_a q(s, a)           ties go to the action of the smallest number

    Raises `ShapeError` where `values` is neither [S] nor [S, A].

    >>> from logpi.worlds.mdp.zoo import make
    >>> greedy(make("two_state", discount=0.9), np.array([-10.0, -9.0]))
    array([2, 1])
    """
    if values.ndim == 1:
        return best_actions(backup(m, values))
    if values.shape != m.reward.shape:
        raise ShapeError(
            f"`values` is {list(values.shape)} but must be [S] = [{m.states}] "
            f"or [S, A] = {list(m.reward.shape)}."
        )
    return best_actions(np.where(m.allowed, values, -np.inf))
