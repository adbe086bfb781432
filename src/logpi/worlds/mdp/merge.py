"""Padded tables of transitions as CSR rows: zeros dropped, successors named twice added up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from numpy import ndarray

__all__ = ["Rows", "merge"]

# Rows up to this length are sorted by insertion; others are left as they are
FEW = 64

# counts [R], successors [z], probabilities [z], rewards [z]
Rows = tuple[ndarray, ndarray, ndarray, ndarray]


def merge(
    successors: Int[ndarray, "R K"],
    probabilities: Float[ndarray, "R K"],
    rewards: Float[ndarray, "R K"],
    unseen: Int[ndarray, " S"],
) -> tuple[Rows, int]:
    """R rows of at most K transitions without their zeros, and the first row that leaves [0, S).

    A successor that a row names twice gets p = p₁ + p₂ and r = (p₁r₁ + p₂r₂) / p. What follows a
    bad row is not read; -1 where there is none. Successors of probability 0 may be anything.

    `unseen` is S times -1; it is written to, and left as it was.

    The successors of a row of a few are sorted.

    >>> successors, p = np.array([[2, 1, 2]]), np.array([[0.25, 0.0, 0.75]])
    >>> unseen = np.full(3, -1)
    >>> (counts, ids, p, r), bad = merge(successors, p, np.array([[4.0, 9.0, 0.0]]), unseen)
    >>> counts.tolist(), ids.tolist(), p.tolist(), r.tolist(), bad
    ([1], [2], [1.0], [1.0], -1)
    """
    rows, width = successors.shape
    index = np.int32 if len(unseen) < 2**31 else np.int64
    out_s = np.empty(rows * width, dtype=index)
    out_p, out_r = np.empty(rows * width), np.empty(rows * width)
    counts = np.zeros(rows, dtype=np.int64)
    given = (
        np.ascontiguousarray(successors, dtype=np.int64),
        np.ascontiguousarray(probabilities, dtype=np.float64),
        np.ascontiguousarray(rewards, dtype=np.float64),
    )
    used, bad = _merge(given, unseen, counts, (out_s, out_p, out_r))
    # copies: a view would keep the padded arrays alive
    return (counts, out_s[:used].copy(), out_p[:used].copy(), out_r[:used].copy()), bad


@njit(cache=True)
def _merge(given, place, counts, out):  # pyright: ignore[reportMissingParameterType] # numba infers
    successors, probabilities, rewards = given
    out_s, out_p, out_r = out
    n = 0
    for row in range(successors.shape[0]):
        begin = n
        for k in range(successors.shape[1]):
            p = probabilities[row, k]
            if p == 0:
                continue
            s = successors[row, k]
            if s < 0 or s >= len(place):
                return begin, row
            z = place[s]  # where this row has stored s already
            if z >= 0:
                total = out_p[z] + p
                if out_r[z] != rewards[row, k]:
                    out_r[z] = (out_p[z] * out_r[z] + p * rewards[row, k]) / total
                out_p[z] = total
            else:
                place[s] = n
                out_s[n], out_p[n], out_r[n] = s, p, rewards[row, k]
                n += 1
        counts[row] = n - begin
        for z in range(begin, n):
            place[out_s[z]] = -1
        if n - begin <= FEW:
            _sort(out_s, out_p, out_r, begin, n)
    return n, -1


@njit(cache=True)
def _sort(s, p, r, begin, end):  # pyright: ignore[reportMissingParameterType] # numba infers
    for z in range(begin + 1, end):
        s_z, p_z, r_z = s[z], p[z], r[z]
        y = z
        while y > begin and s[y - 1] > s_z:
            s[y], p[y], r[y] = s[y - 1], p[y - 1], r[y - 1]
            y -= 1
        s[y], p[y], r[y] = s_z, p_z, r_z
