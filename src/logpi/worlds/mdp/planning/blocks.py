"""Blocks of states: their action values and the best of these, several at a time.

What a sweep over all actions does for each state is done here for a block of them in two loops, the
first over rows and the second over states; what passes between the two stays in the nearest cache.
Each is so simple that the compiler does several rows, or states, in one instruction, where it knows
how many numbers belong to each. That is what the tuples `each` are for: their length, unlike an
integer, is part of a type. Rows need only be of one length within a block; a block of mixed or of
long rows is summed row by row.
"""

# pyright: reportMissingParameterType=false
# numba infers the types of compiled functions from their first call.

from __future__ import annotations

import numpy as np
from numba import literal_unroll, njit
from numba.core.compiler import Compiler

__all__ = ["BLOCK", "action_values", "best_of", "jit", "widen"]

BLOCK = 256
"""States in a block."""

EACH = tuple((0,) * n for n in range(1, 7))
"""For rows of so many transitions, and states of so many actions, there is a loop of their own."""


class _Apart(Compiler):
    """Compiles functions whose arrays do not overlap: what they write is not read as they go."""

    def define_pipelines(self):
        """The usual ones, with that promise: without it, looking values up is not vectorised."""
        self.state.flags.noalias = True
        return super().define_pipelines()


jit = njit(cache=True, fastmath={"contract"})
"""Compiles; products and sums may be fused into one rounding, which is never less accurate."""

_apart = njit(cache=True, fastmath={"contract"}, pipeline_class=_Apart)


@jit
def action_values(rows, v, row, q, count):
    """Writes q(s, a) = r(s, a) + γ Σ P(s'|s, a) v(s') of `count` rows from `row` on into q."""
    length = _common_length(rows.indptr, row, count)
    for each in literal_unroll(EACH):
        if len(each) == length:
            _equal_rows(rows, v, row, (q, count), each)
    if not 1 <= length <= len(EACH):
        _any_rows(rows, v, row, (q, count))


@jit
def _common_length(indptr, row, count):
    """The length of all those rows, or −1."""
    here, one = np.uint64(row), np.uint64(1)
    length = np.int32(indptr[here + one] - indptr[here])
    differ = np.int32(0)
    for i in range(here, here + np.uint64(count)):
        differ |= np.int32(np.int32(indptr[i + one] - indptr[i]) ^ length)
    return length if differ == 0 else np.int32(-1)


@_apart
def _equal_rows(rows, v, row, out, each):
    q, count = out
    reward = rows.reward.reshape(rows.reward.size)
    first, k = np.uint64(row), np.uint64(len(each))
    begin = np.uint64(rows.indptr[row])
    for i in range(np.uint64(count)):
        total = 0.0
        for j in range(len(each)):
            z = begin + np.uint64(i) * k + np.uint64(j)
            total += rows.data[z] * v[np.uint64(rows.indices[z])]
        q[i] = reward[first + np.uint64(i)] + rows.discount * total


@jit
def _any_rows(rows, v, row, out):
    q, count = out
    reward = rows.reward.reshape(rows.reward.size)
    one = np.uint64(1)
    z = np.uint64(rows.indptr[row])
    for i in range(count):
        end = np.uint64(rows.indptr[row + i + 1])
        total = 0.0
        while z < end:
            total += rows.data[z] * v[np.uint64(rows.indices[z])]
            z += one
        q[i] = reward[row + i] + rows.discount * total


@jit
def best_of(q, actions, out, first, last):
    """Writes out(s) = max_a q(s, a) for the states from `first` to before `last`.

    0 where no action is allowed, so that all values are −∞.
    """
    for each in literal_unroll(EACH):
        if len(each) == actions:
            _best_of(q, each, out, first, last)
    if actions > len(EACH):
        i = np.uint64(0)
        for s in range(first, last):
            best = -np.inf
            for _ in range(actions):
                best = max(best, q[i])
                i += np.uint64(1)
            out[s] = best if best > -np.inf else 0.0


@_apart
def _best_of(q, each, out, first, last):
    for i in range(np.uint64(last - first)):
        best = -np.inf
        for a in range(len(each)):
            best = max(best, q[np.uint64(i) * np.uint64(len(each)) + np.uint64(a)])
        out[np.uint64(first) + np.uint64(i)] = best if best > -np.inf else 0.0


@_apart
def widen(between, v, out, first, last):
    """Widens low(i) ≤ out(s) − v(s) ≤ high(i), where s is the i-th state of any block."""
    low, high = between
    for i in range(np.uint64(last - first)):
        change = out[np.uint64(first) + np.uint64(i)] - v[np.uint64(first) + np.uint64(i)]
        low[i] = min(low[i], change)
        high[i] = max(high[i], change)
