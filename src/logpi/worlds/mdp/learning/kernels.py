"""Choosing, reading and writing in compiled code: what all methods share."""

from __future__ import annotations

import numpy as np

from logpi.worlds.mdp.learning.arrays import BOTH, FIRST, FLAGS, Arrays, called, compiled, inlined

__all__ = [
    "GAMMA",
    "chosen",
    "expected",
    "greedy",
    "mixed",
    "read",
    "step",
    "uniform",
]

# splitmix64 (Steele, Lea and Flood 2014): a counter and a mixing function, 64 bits of state.
GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
_SHORT = 16  # so many are searched from the front
_LEAST = 1e-300  # of a sum that is divided by: rows that are never read may hold zeros


@inlined
def uniform(run):
    """A number in [0, 1), of 53 random bits, from the state `run[0].random`."""
    run[0].random += GAMMA
    return mixed(run[0].random)


@inlined
def mixed(z):
    """The number in [0, 1) that belongs to a state of 64 bits."""
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return np.int64((z ^ (z >> _S31)) >> _S11) * 1.1102230246251565e-16


@inlined
def read(x: Arrays, key, side):
    """The value at `key`: a table's entry, or w·x(key) where values are linear in features."""
    if x.run[0].linear:
        return _product(x, key, side)
    if side == BOTH:
        return x.weights[key].value + x.weights[x.run[0].width + key].value
    return x.weights[side * x.run[0].width + key].value


@called
def _product(x: Arrays, key, side):
    """w·x(key), or −∞ for an action that is not allowed."""
    if not (x.run[0].of_states or x.rows[key].allowed):
        return -np.inf
    total = 0.0
    for part in range(2):
        if side in (BOTH, part):
            for j in range(x.keys[key].low, x.keys[key].high):
                i = part * x.run[0].width + x.features[j].weight
                total += x.weights[i].value * x.features[j].value
    return total


@inlined
def nudge(x: Arrays, key, side, target):
    """Nothing; moves the value at `key` toward `target`: w ← w + α (target − w·x) x."""
    alpha = x.run[0].alpha
    if x.run[0].alpha_kind == FLAGS.visits:
        x.keys[key].visits += 1.0
        alpha = x.run[0].alpha_start / x.keys[key].visits
        if x.run[0].alpha_scale != 1.0:
            alpha *= x.keys[key].visits ** (1.0 - x.run[0].alpha_scale)
    push = alpha * (target - read(x, key, side))
    if x.run[0].linear:
        _spread(x, key, side, push)
    else:
        x.weights[side * x.run[0].width + key].value += push


@called
def _spread(x: Arrays, key, side, push):
    """Nothing; w ← w + push · x(key)."""
    for j in range(x.keys[key].low, x.keys[key].high):
        i = side * x.run[0].width + x.features[j].weight
        x.weights[i].value += push * x.features[j].value


@inlined
def greedy(x: Arrays, state, side):
    """An action of the largest value; each of several is as likely."""
    actions = x.run[0].actions
    first = state * actions
    top, ties, best = read(x, first, side), 0, 0
    for a in range(1, actions):
        top = max(top, read(x, first + a, side))
    for a in range(actions):  # a second pass without a branch beats one that has to guess
        same = read(x, first + a, side) >= top
        ties += same
        best = a if same else best
    if ties < 2:
        return best
    skip = int(uniform(x.run) * ties)
    for a in range(actions):
        if read(x, first + a, side) == top:
            if skip == 0:
                return a
            skip -= 1
    return best


@inlined
def chosen(x: Arrays, state):
    """The action to take: of the behaviour policy, or ε-greedy for the table."""
    run = x.run[0]
    first = state * run.actions
    if run.given:
        return first_above(x.rows, first, first + run.actions, uniform(x.run)) - first
    if run.epsilon > 0.0:
        u = uniform(x.run)
        if u < run.epsilon:
            return x.rows[first + int(u / run.epsilon * x.states[state].count)].action
    return greedy(x, state, BOTH if run.ahead == FLAGS.double else FIRST)


@inlined
def expected(x: Arrays, state, action):
    """What a method expects after arriving in a state that is not terminal."""
    run = x.run[0]
    if run.ahead == FLAGS.state:
        return read(x, state, FIRST)
    first = state * run.actions
    if run.ahead == FLAGS.sarsa:
        return read(x, first + action, FIRST)
    top, total = -np.inf, 0.0
    for row in range(first, first + run.actions):
        q = read(x, row, FIRST)
        top = max(top, q)
        if run.ahead == FLAGS.expected and q > -np.inf:  # 0 · −∞ is no number
            total += x.rows[row].target * q if run.judged else q
    if run.ahead == FLAGS.greedy:
        return top
    if run.judged:
        return total
    return (1.0 - run.epsilon) * top + run.epsilon * total / x.states[state].count


@inlined
def first_above(records, low, high, u):
    """The first of records[low:high] whose `cumulative` exceeds u; the last one's is 1.

    What adds nothing is never chosen.
    """
    while high - low > _SHORT:
        middle = (low + high) // 2
        if records[middle].cumulative > u:
            high = middle + 1
        else:
            low = middle + 1
    found = low
    for z in range(low, high):  # to the end, without a branch that has to guess
        found += records[z].cumulative <= u
    return found


@inlined
def step(x: Arrays, state, action):
    """The reward and the successor of an action, drawn from the model."""
    row = state * x.run[0].actions + action
    low, high = x.rows[row].low, x.rows[row].high
    if high - low > 1:
        low = first_above(x.outcomes, low, high, uniform(x.run))
    reward = x.outcomes[low].reward if x.run[0].by_outcome else x.rows[row].reward
    return reward, x.outcomes[low].successor


@compiled
def sum_rows(rows, outcomes):
    """Nothing; `cumulative` of the outcomes, a probability each, is summed within each row.

    It ends with 1, whatever was lost to rounding.
    """
    for row in range(len(rows)):
        low, high = rows[row].low, rows[row].high
        for z in range(low + 1, high):
            outcomes[z].cumulative += outcomes[z - 1].cumulative
        for z in range(low, high):
            outcomes[z].cumulative /= max(outcomes[high - 1].cumulative, _LEAST)
