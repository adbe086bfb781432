"""The fast loop: Sarsa, expected Sarsa and Q-learning, ε-greedy from a table, on a model.

It does what `walk.advance` does, bit for bit, with what changes from step to step in registers and
one look at the actions of a state a step.
"""

from __future__ import annotations

from logpi.worlds.mdp.learning.arrays import FLAGS, Arrays, compiled, inlined
from logpi.worlds.mdp.learning.kernels import GAMMA, first_above, mixed
from logpi.worlds.mdp.learning.walk import begin

__all__ = ["advance_table"]


@compiled
def advance_table(x: Arrays, episodes, steps):
    """Nothing; walks until so many episodes or steps are done, or until the log is full."""
    run = x.run[0]
    while run.episode < min(episodes, len(x.log)) and run.steps < steps:
        if not run.begun:
            begin(x)
        began = run.time
        ended = x.states[run.state].count == 0  # the start is terminal: an episode of no step
        if not ended:
            ended = _walk(x, min(run.limit, began + steps - run.steps))
        run.steps += run.time - began
        if ended or run.time >= run.limit:
            entry = x.log[run.episode]
            entry.length, entry.truncated = run.time, not ended
            run.time, run.begun = 0, False
            run.episode += 1


@inlined
def _walk(x: Arrays, end):
    """Whether the episode terminated; else it has `end` steps."""
    run, weights, states = x.run[0], x.weights, x.states
    width, sarsa = run.actions, run.ahead == FLAGS.sarsa
    alpha, discount, limit = run.alpha, run.discount, run.limit
    state, action, random, total, t = run.state, run.action, run.random, 0.0, run.time
    ended, first, best, ties, top = False, 0, 0, 0, 0.0
    while t < end and not ended:
        row = state * width + action
        low, high = x.rows[row].low, x.rows[row].high
        if high - low > 1:
            random += GAMMA
            low = first_above(x.outcomes, low, high, mixed(random))
        reward = x.outcomes[low].reward if run.by_outcome else x.rows[row].reward
        after = x.outcomes[low].successor
        ended = states[after].count == 0
        t += 1
        total += reward
        target = reward
        if not ended:
            first = after * width
            best, ties, top = _largest(weights, first, width)
            if sarsa:
                action, random = _chosen(x, after, random, (best, ties, top))
                target += discount * weights[first + action].value
            else:
                target += discount * _expected(x, after, top)
        weights[row].value += alpha * (target - weights[row].value)
        if not (sarsa or ended or t >= limit):
            if after == state:  # where the value has changed that is chosen by
                best, ties, top = _largest(weights, first, width)
            action, random = _chosen(x, after, random, (best, ties, top))
        state = after
    run.state, run.action, run.random, run.time = state, action, random, t
    x.log[run.episode].total += total
    return ended


@inlined
def _largest(weights, first, width):
    """An action of the largest value, how many there are, and that value."""
    top, ties, best = weights[first].value, 0, 0
    for a in range(1, width):
        top = max(top, weights[first + a].value)
    for a in range(width):
        same = weights[first + a].value >= top  # two instructions less than ==
        ties += same
        best = a if same else best
    return best, ties, top


@inlined
def _expected(x: Arrays, state, top):
    run = x.run[0]
    if run.ahead == FLAGS.greedy:
        return top
    total = 0.0
    for row in range(state * run.actions, (state + 1) * run.actions):
        if x.rows[row].allowed:
            total += x.weights[row].value
    return (1.0 - run.epsilon) * top + run.epsilon * total / x.states[state].count


@inlined
def _chosen(x: Arrays, state, random, largest):
    """An ε-greedy action, and the state of the random numbers after it."""
    run = x.run[0]
    first = state * run.actions
    best, ties, top = largest
    if run.epsilon > 0.0:
        random += GAMMA
        u = mixed(random)
        if u < run.epsilon:
            return x.rows[first + int(u / run.epsilon * x.states[state].count)].action, random
    if ties > 1:
        random += GAMMA
        skip = int(mixed(random) * ties)
        for a in range(run.actions):
            if x.weights[first + a].value == top:
                best = a
                if skip == 0:
                    break
                skip -= 1
    return best, random
