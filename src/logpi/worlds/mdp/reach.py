"""Which states can reach the end of the episode, by a search backwards from the terminal states."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numba import njit
from numpy import ndarray

from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["has_proper_policy", "reaches_terminal"]


def reaches_terminal(m: FiniteMDP) -> Bool[ndarray, " S"]:
    """True in the states from which some policy reaches a terminal state with probability > 0.

    Breadth-first, along allowed actions and transitions of probability > 0, in O(S·A + Z).

    >>> from logpi.worlds.mdp.build import from_dense
    >>> P = [[[0.9, 0.1, 0]], [[0, 1, 0]], [[0, 0, 1]]]
    >>> reaches_terminal(from_dense(P, [0, 0, 0], 1.0, terminal=[1])).tolist()
    [True, True, False]
    """
    t = m.transitions
    terminal = m.terminal
    # float32 and float64, int32 and int64: one compiled version each, and no copy
    return _search(t.indptr, t.indices, t.data, m.allowed, terminal)


def has_proper_policy(m: FiniteMDP) -> bool:
    """Whether some policy reaches a terminal state with probability 1 from every state.

    It does if and only if every state can reach one at all: the action that leads one step closer
    then makes progress with positive probability in each state, and there are finitely many
    (Bertsekas & Tsitsiklis 1991, *An analysis of stochastic shortest path problems*, section 2).
    Without one, the undiscounted return is not defined: discount 1 asks for it.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> has_proper_policy(from_dense([[[1.0]]], [1.0], 1.0))
    False
    """
    return bool(reaches_terminal(m).all())


@njit(cache=True)
def _search(indptr, indices, data, allowed, terminal):  # pyright: ignore[reportMissingParameterType] # numba infers
    states, actions = allowed.shape
    first = np.zeros(states + 1, dtype=np.int64)  # where the predecessors of a state begin
    for row in range(states * actions):
        if allowed[row // actions, row % actions]:
            for z in range(indptr[row], indptr[row + 1]):
                if data[z] > 0:
                    first[indices[z] + 1] += 1
    for s in range(states):
        first[s + 1] += first[s]
    free = first[:-1].copy()
    predecessors = np.empty(first[-1], dtype=indices.dtype)
    for row in range(states * actions):
        if allowed[row // actions, row % actions]:
            for z in range(indptr[row], indptr[row + 1]):
                if data[z] > 0:
                    s = indices[z]
                    predecessors[free[s]] = row // actions
                    free[s] += 1
    reached = terminal.copy()
    queue = np.empty(states, dtype=np.int64)
    end = 0
    for s in range(states):
        if terminal[s]:
            queue[end] = s
            end += 1
    begin = 0
    while begin < end:
        for z in range(first[queue[begin]], first[queue[begin] + 1]):
            s = predecessors[z]
            if not reached[s]:
                reached[s] = True
                queue[end] = s
                end += 1
        begin += 1
    return reached
