"""Models from a list of state-action pairs, each with its row of transitions."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import csr_array, issparse

from logpi.core.errors import ModelError
from logpi.worlds.mdp.csr import Facts, Sparse, as_csr, floats, from_csr, shape_of, wrap
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["from_pairs"]


def from_pairs(
    pairs: tuple[npt.ArrayLike, npt.ArrayLike],
    transitions: Sparse | npt.ArrayLike,
    reward: npt.ArrayLike,
    discount: float,
    *,
    actions: int | None = None,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model of L state-action pairs: row l of `transitions` [L, S] is p(·|state l, action l).

    `pairs` is (states [L], actions [L]), `reward` is [L], as QuantEcon has them. A pair that is
    not listed is not allowed, and a state of no pair is terminal. Rows in the order of states and
    actions are not copied. The other arguments are those of `from_csr`.

    Raises `ModelError` where a pair is listed twice or its state is out of range.

    >>> m = from_pairs(([0, 0, 1], [0, 1, 0]), [[0.5, 0.5], [0, 1], [0, 1]], [5, 10, -1], 0.95)
    >>> m.allowed.tolist()
    [[True, True], [True, False]]
    """
    name = facts.get("name", "mdp")
    if not issparse(transitions):
        transitions = csr_array(floats(np.asarray(transitions), None))
    q: Any = as_csr(transitions)
    S, r = shape_of(q)[1], np.asarray(reward)
    row, A = _rows((*pairs, r), shape_of(q), actions, name)
    if (row[1:] <= row[:-1]).any():
        by_row = _by_row(row, A, name)
        q, row, r = q[by_row], row[by_row], r[by_row]
    pointers = np.zeros(S * A + 1, dtype=q.indptr.dtype)
    pointers[row + 1] = np.diff(q.indptr)
    np.cumsum(pointers, out=pointers)
    table, listed = np.zeros(S * A, dtype=q.dtype), np.zeros(S * A, dtype=np.bool_)
    table[row], listed[row] = r, True
    allowed, given = listed.reshape(S, A), facts.get("allowed")
    facts["allowed"] = allowed if given is None else allowed & np.asarray(given)
    t = wrap(q.data, q.indices, pointers, (S * A, S))
    return from_csr(t, table, discount, **facts)


def _rows(
    lists: tuple[npt.ArrayLike, npt.ArrayLike, ndarray],
    shape: tuple[int, int],
    actions: int | None,
    name: str,
) -> tuple[Int[ndarray, " L"], int]:
    """Row s·A + a of each pair, and A; states, actions and rewards are of one length."""
    count, S = shape
    s, a, r = (np.asarray(x) for x in lists)
    for what, x in (("states", s), ("actions", a), ("reward", r)):
        if x.shape != (count,) or not count:
            raise ModelError(
                f"{name}: {what} is {list(x.shape)} but `transitions` has {count} rows."
            )
    A = int(a.max()) + 1 if actions is None else actions
    for what, x, end in (("state", s, S), ("action", a, A)):
        bad = np.flatnonzero(~((x >= 0) & (x < end)))
        if len(bad) or x.dtype.kind not in "iu":
            wrong = x[bad[0]] if len(bad) else x.dtype
            raise ModelError(f"{name}: {what} {wrong} is not one of 0 to {end - 1}.")
    return s.astype(np.int64) * A + a, A


def _by_row(row: Int[ndarray, " L"], actions: int, name: str) -> Int[ndarray, " L"]:
    """The order that sorts the pairs."""
    order = np.argsort(row, kind="stable")
    twice = np.flatnonzero(row[order[1:]] == row[order[:-1]])
    if len(twice):
        state, action = divmod(int(row[order[twice[0]]]), actions)
        raise ModelError(f"{name}: state {state}, action {action} is listed twice.")
    return order
