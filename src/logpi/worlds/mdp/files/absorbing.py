"""States that a file can only describe as going round in themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.sparse import csr_array, vstack

from logpi.worlds.mdp.csr import wrap
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["absorbing", "closed"]


def absorbing(
    t: csr_array, reward: Float[ndarray, " rows"], state: ndarray, states: int
) -> Bool[ndarray, " S"]:
    """True in the states that every one of their rows keeps, at reward 0: there the value is 0.

    `state` is the state of each row, and `reward` its reward.

    >>> loop = csr_array([[1.0, 0.0], [0.5, 0.5]])
    >>> absorbing(loop, np.zeros(2), np.array([0, 1]), 2).tolist()
    [True, False]
    """
    single = np.diff(t.indptr) == 1
    z = t.indptr[:-1][single]
    stays = np.zeros(len(state), dtype=np.bool_)
    stays[single] = (t.indices[z] == state[single]) & (t.data[z] == 1)
    out = np.ones(states, dtype=np.bool_)
    out[state[~(stays & (reward == 0))]] = False
    return out


def closed(m: FiniteMDP) -> tuple[csr_array, Float[ndarray, "S A"]]:
    """Transitions and rewards of a model of the same optimal value, in which all is allowed.

    A terminal state keeps itself at reward 0, and an action that is not allowed does what the first
    allowed one does. Successors are sorted and distinct, as PETSc and Storm want them.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> t, r = closed(from_dense([[[0, 1]], [[0, 0]]], [[1], [0]], 0.9, terminal=[1]))
    >>> t.toarray().tolist(), r.tolist()
    ([[0.0, 1.0], [0.0, 1.0]], [[1.0], [0.0]])
    """
    S, A = m.states, m.actions
    t: Any = m.transitions
    reward = m.reward
    if not m.allowed.all():
        row = np.arange(S * A).reshape(S, A)
        first = row[:, 0] + m.allowed.argmax(1)
        source = np.where(m.allowed, row, first[:, None])
        source[m.terminal] = S * A + np.flatnonzero(m.terminal)[:, None]
        reward = np.append(reward.ravel(), np.zeros(S, dtype=m.dtype))[source]
        stay = wrap(np.ones(S, dtype=m.dtype), np.arange(S), np.arange(S + 1), (S, S))
        stacked: Any = vstack([t, stay], format="csr")
        t = stacked[source.ravel()]
    if not t.has_canonical_format:
        t = t.copy()
        t.sum_duplicates()
    return csr_array(t), reward
