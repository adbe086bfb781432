"""Orders of the states in which Gauss–Seidel sweeps carry values far: against the flow.

A sweep that meets a state after its successors uses their new values. No order does that for all
states of a chain with circles, but the two below come close: `backward_order` for all actions, from
the states where rewards are, and `flow_order` for one policy.
"""

# pyright: reportMissingParameterType=false
# numba infers the types of compiled functions from their first call.

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from logpi.worlds.mdp.planning.kernels import Rows, jit

__all__ = ["backward_order", "flow_order"]


def backward_order(rows: Rows, sources: Int[ndarray, " k"]) -> Int[ndarray, " S"]:
    """All states, by the number of steps that some policy needs at least to get to a source.

    Breadth-first search against the transitions of every allowed action; states that lead to no
    source come last, as numbered.

    >>> from logpi.worlds.mdp.planning.kernels import rows_of
    >>> from logpi.worlds.mdp.zoo import make
    >>> line = rows_of(make("slip_grid", rows=1, cols=4))
    >>> backward_order(line, np.array([2])).tolist()
    [2, 1, 0, 3]
    """
    states = rows.reward.shape[0]
    first = np.zeros(states + 1, dtype=rows.indptr.dtype)
    _count(rows, first)
    np.cumsum(first, out=first)
    found = np.empty(first[-1], dtype=np.uint32)
    _predecessors(rows, first, found)
    order = np.empty(states, dtype=np.uint32)
    _search(first, found, np.asarray(sources, dtype=np.int64), order)
    return order


@jit
def _count(rows, first):
    for s in range(rows.reward.shape[0]):
        for a in range(rows.reward.shape[1]):
            if rows.reward[s, a] > -np.inf:
                row = s * rows.reward.shape[1] + a
                for z in range(np.uint64(rows.indptr[row]), np.uint64(rows.indptr[row + 1])):
                    first[np.uint64(rows.indices[z]) + np.uint64(1)] += 1


@jit
def _predecessors(rows, first, found):
    """Fills `found`, and moves `first` of each state to the end of its list."""
    for s in range(rows.reward.shape[0]):
        for a in range(rows.reward.shape[1]):
            if rows.reward[s, a] > -np.inf:
                row = s * rows.reward.shape[1] + a
                for z in range(np.uint64(rows.indptr[row]), np.uint64(rows.indptr[row + 1])):
                    j = np.uint64(rows.indices[z])
                    found[np.uint64(first[j])] = s
                    first[j] += 1


@jit
def _search(end, found, sources, order):
    states = len(order)
    seen = np.zeros(states, dtype=np.bool_)
    known = 0
    for s in sources:
        if not seen[s]:
            seen[s] = True
            order[known] = s
            known += 1
    k = 0
    while k < known:
        s = np.int64(order[k])
        for z in range(np.uint64(end[s - 1]) if s > 0 else np.uint64(0), np.uint64(end[s])):
            j = found[z]
            if not seen[j]:
                seen[j] = True
                order[known] = j
                known += 1
        k += 1
    for s in range(states):
        if not seen[s]:
            order[known] = s
            known += 1


def flow_order(rows: Rows, policy: Int[ndarray, " S"]) -> Int[ndarray, " S"]:
    """All states, by the number of steps to where the policy most likely settles.

    Each state points at its likeliest other successor. Following the pointers one ends in a circle,
    or in a state without successors: these come first, and then those that lead there, by their
    distance. One such basin after another, so that states that are used together lie together.

    >>> from logpi.worlds.mdp.planning.kernels import rows_of
    >>> from logpi.worlds.mdp.zoo import make
    >>> line = rows_of(make("slip_grid", rows=1, cols=4))
    >>> flow_order(line, np.array([1, 1, 1, -1], dtype=np.int32)).tolist()
    [3, 2, 1, 0]
    """
    states = len(policy)
    order, target = np.empty(states, dtype=np.uint32), np.empty(states, dtype=np.int32)
    end, left, pointing = np.zeros((3, states), dtype=np.int32)
    _targets(rows, policy, target, end)
    left[:] = end
    _peel(target, left, pointing)
    np.cumsum(end, out=end)
    _basins(target, end, pointing, left, order)
    return order


@jit
def _targets(rows, policy, target, count):
    """The likeliest other successor of every state, itself where there is none; and how often."""
    for s in range(len(policy)):
        target[s] = s
        likeliest = 0.0
        if policy[s] >= 0:
            row = s * rows.reward.shape[1] + policy[s]
            for z in range(np.uint64(rows.indptr[row]), np.uint64(rows.indptr[row + 1])):
                j = np.int64(rows.indices[z])
                if j != s and rows.data[z] > likeliest:
                    likeliest = rows.data[z]
                    target[s] = j
        count[target[s]] += 1


@jit
def _peel(target, left, queue):
    """Takes away, again and again, states at which none points: `left` is 0 but on circles."""
    n = 0
    for s in range(len(target)):
        if left[s] == 0:
            queue[n] = s
            n += 1
    k = 0
    while k < n:
        j = target[queue[k]]
        k += 1
        left[j] -= 1
        if left[j] == 0:
            queue[n] = j
            n += 1


@jit
def _basins(target, first, pointing, left, order):
    """Writes each circle against its flow, those who point at it, those who point at them, ..."""
    states = len(target)
    for s in range(states - 1, -1, -1):
        first[target[s]] -= 1
        pointing[first[target[s]]] = s
    known = 0
    for s in range(states):
        k, j = known, s
        while left[j] > 0:
            left[j] = -1
            order[known] = j
            known += 1
            j = target[j]
        for i in range((known - k) // 2):
            order[k + i], order[known - 1 - i] = order[known - 1 - i], order[k + i]
        while k < known:
            i = np.int64(order[k])
            for z in range(first[i], first[i + 1] if i + 1 < states else states):
                if left[pointing[z]] == 0:  # those on a circle are there already
                    order[known] = pointing[z]
                    known += 1
            k += 1
