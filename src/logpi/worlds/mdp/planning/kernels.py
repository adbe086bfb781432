"""Compiled sweeps over the transitions of a finite MDP: the inner loops of every fast solver.

All of them read a `Rows`, compute in float64 whatever the model stores, and run in one thread.
Two habits make them fast, and both look odd: what is looked up often is looked up by unsigned
numbers, because numba otherwise guards every look-up against negative ones; and a maximum is
written `max(best, q)`, which becomes one instruction, where a comparison becomes a jump that random
values mispredict. Sweeps over all actions go by `blocks`.
"""

# pyright: reportMissingParameterType=false
# numba infers the types of compiled functions from their first call.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.blocks import BLOCK, action_values, best_of, jit, widen

__all__ = [
    "Chosen",
    "Rows",
    "add_longest",
    "backup_into",
    "chosen_of",
    "greedy_sweep",
    "improve",
    "jit",
    "policy_sweep",
    "rows_of",
]


class Rows(NamedTuple):
    """A model as the kernels read it; everything but a masked reward is shared with the model."""

    indptr: Int[ndarray, " S*A+1"]
    indices: Int[ndarray, " Z"]
    data: Float[ndarray, " Z"]
    reward: Float[ndarray, "S A"]  # −inf where an action is not allowed
    discount: float


class Chosen(NamedTuple):
    """A copy of the rows that a policy takes, each in a slot that fits the state's longest."""

    begin: Int[ndarray, " S"]
    end: Int[ndarray, " S"]
    indices: Int[ndarray, " z"]
    data: Float[ndarray, " z"]  # the discount is multiplied in
    reward: Float[ndarray, " S"]


def rows_of(m: FiniteMDP) -> Rows:
    """The model's arrays, not copied; the reward is, where some action is not allowed.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state")
    >>> rows_of(m).data is m.transitions.data
    True
    """
    t = m.transitions
    # A stored row of a disallowed action holds numbers and states (`validate`): harmless to read.
    reward = m.reward if m.allowed.all() else np.where(m.allowed, m.reward, -np.inf)
    return Rows(t.indptr, t.indices, t.data, np.ascontiguousarray(reward), float(m.discount))


def chosen_of(rows: Rows) -> Chosen:
    """Room for the rows of any policy; empty rows and rewards of 0 until `improve` fills them.

    >>> from logpi.worlds.mdp.zoo import make
    >>> len(chosen_of(rows_of(make("two_state"))).begin)
    2
    """
    states = len(rows.reward)
    begin = np.zeros(states + 1, dtype=rows.indptr.dtype)
    add_longest(rows, begin)
    return Chosen(
        begin[:-1],
        begin[:-1].copy(),
        np.empty(begin[-1], dtype=rows.indices.dtype),
        np.empty(begin[-1]),
        np.zeros(states),
    )


@jit
def add_longest(rows, total):
    """The transitions of all states' longest rows; writes those of the first s states."""
    one = np.uint64(1)
    row = np.uint64(0)
    total[0] = 0
    for s in range(np.uint64(rows.reward.shape[0])):
        longest = 0
        for _ in range(rows.reward.shape[1]):
            longest = max(longest, np.int64(rows.indptr[row + one] - rows.indptr[row]))
            row += one
        total[s + one] = total[s] + longest
    return total[-1]


@jit
def best_rewards(reward, out):
    """The number of states that allow no action; writes max_a r(s, a), 0 where there is none."""
    ends = 0
    for s in range(len(out)):
        best = -np.inf
        for a in range(reward.shape[1]):
            best = max(best, np.float64(reward[s, a]))
        ends += np.int64(best == -np.inf)
        out[s] = best if best > -np.inf else 0.0
    return ends


@jit
def greedy_sweep(rows, v, out, policy):
    """The smallest and largest change of one Jacobi sweep, and how many actions it changed.

    Writes `out` = T v, and `policy`: an action is only left for a better one, and then for the
    first best. −1 where none is allowed.

    out(s) = max_a [ r(s,a) + γ Σ P(s'|s,a) v(s') ], and 0 where no action is allowed.
    """
    states, actions = rows.reward.shape
    q = np.empty(BLOCK * actions)
    between = np.full(BLOCK, np.inf), np.full(BLOCK, -np.inf)
    moved = 0
    for first in range(0, states, BLOCK):
        last = min(first + BLOCK, states)
        action_values(rows, v, first * actions, q, (last - first) * actions)
        best_of(q, actions, out, first, last)
        widen(between, v, out, first, last)
        moved += _follow(q, actions, out, policy, (first, last))
    return between[0].min(), between[1].max(), moved


@jit
def _follow(q, actions, best, policy, block):
    """The number of states whose policy was not among the best actions, and now is."""
    moved = 0
    i = np.uint64(0)
    for s in range(np.uint64(block[0]), np.uint64(block[1])):
        old = policy[s]
        own = q[i + np.uint64(old)] if old >= 0 else -np.inf
        if own < best[s]:  # of a terminal state, too: −∞ < 0
            policy[s] = _first_at(q, i, actions, best[s])
            moved += np.int64(policy[s] != old)
        i += np.uint64(actions)
    return moved


@jit
def _first_at(q, i, actions, best):
    """The first of the actions from q(i) on that is worth as much as the best; −1 if none is."""
    for a in range(actions):
        if q[i + np.uint64(a)] >= best:
            return a
    return -1


@jit
def _two_best(rows, v, s):
    """The best and the second best action value of a state, and the best action; −1 if none."""
    one = np.uint64(1)
    best, second, a_best = -np.inf, -np.inf, -1
    row = np.uint64(s * rows.reward.shape[1])
    z = np.uint64(rows.indptr[row])
    for a in range(rows.reward.shape[1]):
        row += one
        end = np.uint64(rows.indptr[row])
        total = 0.0
        while z < end:
            total += rows.data[z] * v[np.uint64(rows.indices[z])]
            z += one
        q = rows.reward[s, a] + rows.discount * total
        a_best += np.int64(q > best) * (a - a_best)  # a jump would be mispredicted
        second = max(second, min(best, q))
        best = max(best, q)
    return best, second, a_best


@jit
def improve(rows, chosen, v, out, choice):
    """(smallest change, largest change, actions that changed, states that were looked at whole).

    One Jacobi sweep: `out` = T v. `choice` = (policy, lead, drift): the policy's rows are kept in
    `chosen`; lead(s) is how far its action is ahead of the second best. Since the last sweep, the
    action values of a state can have moved against each other by at most `drift`: where that is
    less than the lead, the action is still the best, and the others are not looked at.
    """
    policy, lead, drift = choice
    one = np.uint64(1)
    low, high, moved, whole = np.inf, -np.inf, 0, 0
    for s in range(rows.reward.shape[0]):
        ahead = lead[s] - drift
        if ahead > 0:
            best = chosen.reward[s]
            z, end = np.uint64(chosen.begin[s]), np.uint64(chosen.end[s])
            while z < end:
                best += chosen.data[z] * v[np.uint64(chosen.indices[z])]
                z += one
        else:
            whole += 1
            best, second, a_best = _two_best(rows, v, s)
            best = best if a_best >= 0 else 0.0
            ahead = best - second
            if a_best != policy[s]:
                moved += 1
                policy[s] = a_best
                _choose(rows, chosen, s, a_best)
        lead[s] = ahead
        out[s] = best
        low = min(low, best - v[s])
        high = max(high, best - v[s])
    return low, high, moved, whole


@jit
def _choose(rows, chosen, s, a):
    """Copies the row of an action into the state's slot."""
    k = chosen.begin[s]
    row = s * rows.reward.shape[1] + a
    for z in range(rows.indptr[row], rows.indptr[row + 1]):
        chosen.indices[k] = rows.indices[z]
        chosen.data[k] = rows.discount * rows.data[z]
        k += 1
    chosen.end[s] = k
    chosen.reward[s] = rows.reward[s, a]


@jit
def policy_sweep(chosen, v, out):
    """The smallest and largest change of one Jacobi sweep of a policy; writes `out` = T_π v."""
    one = np.uint64(1)
    low, high = np.inf, -np.inf
    for s in range(len(chosen.reward)):
        total = chosen.reward[s]
        z, end = np.uint64(chosen.begin[s]), np.uint64(chosen.end[s])
        while z < end:
            total += chosen.data[z] * v[np.uint64(chosen.indices[z])]
            z += one
        out[s] = total
        low = min(low, total - v[s])
        high = max(high, total - v[s])
    return low, high


@jit
def backup_into(rows, v, q, out, policy):
    """(least, largest) sum of a row in use, the most terms of one, and the largest reward.

    Writes one backup of v: q(s, a), its maximum `out`, and its first best action `policy`.
    """
    one = np.uint64(1)
    row = np.uint64(0)
    low, high, terms, largest = 1.0, 1.0, 0, 0.0
    for s in range(rows.reward.shape[0]):
        best, choice = -np.inf, -1
        z = np.uint64(rows.indptr[row])
        for a in range(rows.reward.shape[1]):
            row += one
            end = np.uint64(rows.indptr[row])
            terms = max(terms, np.int64(end - z))
            total, mass = 0.0, 0.0
            while z < end:
                total += rows.data[z] * v[np.uint64(rows.indices[z])]
                mass += rows.data[z]
                z += one
            r = np.float64(rows.reward[s, a])
            used = r > -np.inf
            low = min(low, mass if used else 1.0)
            high = max(high, mass if used else 1.0)
            largest = max(largest, abs(r) if used else 0.0)
            total = r + rows.discount * total
            q[s, a] = total
            choice += np.int64(total > best) * (a - choice)
            best = max(best, total)
        out[s] = best if choice >= 0 else 0.0
        policy[s] = choice
    return low, high, terms, largest
