"""The update rules, in compiled code: what is written when a step has been taken.

Each takes `moved`: state, action, reward, successor, terminated. A terminated episode has nothing
ahead of it; one that was cut goes on elsewhere, so that the value of its last state counts.
"""

from __future__ import annotations

from logpi.worlds.mdp.learning.arrays import (
    FIRST,
    FLAGS,
    NOWHERE,
    SECOND,
    Arrays,
    called,
    inlined,
)
from logpi.worlds.mdp.learning.kernels import expected, greedy, nudge, read, uniform

__all__ = [
    "one_step",
    "settle",
]

_FADED = 1e-12  # a trace below is taken for 0


@inlined
def _key(x: Arrays, state, action):
    return state if x.run[0].of_states else state * x.run[0].actions + action


@inlined
def _target(x: Arrays, reward, after, action):
    """r + γ (what follows); `after` is −1 where nothing does."""
    if after < 0:
        return reward
    return reward + x.run[0].discount * expected(x, after, action)


@inlined
def one_step(x: Arrays, moved, next_action):
    """Nothing; q ← q + α (r + γ following − q)."""
    state, action, reward, after, ended = moved
    key = _key(x, state, action)
    following = after
    if ended:
        following = NOWHERE
    if x.run[0].ahead == FLAGS.double:
        _double(x, key, reward, following)
    else:
        nudge(x, key, FIRST, _target(x, reward, following, next_action))
    if x.run[0].replay > 0:
        _again(x, key, reward, following)


@called
def _double(x: Arrays, key, reward, after):
    """Nothing; a coin says which table learns, from the other's value of its own best action."""
    side = FIRST if uniform(x.run) < 0.5 else SECOND
    target = reward
    if after >= 0:
        row = after * x.run[0].actions + greedy(x, after, side)
        target += x.run[0].discount * read(x, row, SECOND - side)
    nudge(x, key, side, target)


@called
def _again(x: Arrays, key, reward, after):
    """Nothing; stores the step, then learns from `replay` stored ones, drawn uniformly."""
    run = x.run[0]
    here = run.held % len(x.steps)
    x.steps[here].pair, x.steps[here].reward, x.steps[here].after = key, reward, after
    run.held += 1
    for _ in range(run.replay):
        i = int(uniform(x.run) * min(run.held, len(x.steps)))
        stored = x.steps[i]
        if run.ahead == FLAGS.double:
            _double(x, stored.pair, stored.reward, stored.after)
        else:
            nudge(x, stored.pair, FIRST, _target(x, stored.reward, stored.after, NOWHERE))


@called
def n_steps(x: Arrays, moved, next_action, over):
    """Nothing; the value of n steps ago moves toward its n-step return.

    G = r_t + γ r_{t+1} + … + γⁿ (what follows); at the end of an episode, all that are left.
    """
    state, action, reward, after, ended = moved
    run = x.run[0]
    n, t = run.n, run.time
    x.steps[t % n].pair, x.steps[t % n].reward = _key(x, state, action), reward
    if t + 1 < n and not over:
        return
    total = 0.0 if ended else expected(x, after, next_action)
    first = max(0, t + 1 - n)
    for k in range(t, first - 1, -1):
        total = x.steps[k % n].reward + run.discount * total
        x.steps[k % n].total = total
    for k in range(first, t + 1 if over else first + 1):
        nudge(x, x.steps[k % n].pair, FIRST, x.steps[k % n].total)


@called
def traced(x: Arrays, moved, next_action):
    """Nothing; the TD error reaches back along the traces: w ← w + α δ z."""
    state, action, reward, after, ended = moved
    run = x.run[0]
    key = _key(x, state, action)
    following = after
    if ended:
        following = NOWHERE
    error = _target(x, reward, following, next_action) - read(x, key, FIRST)
    _fade(x)
    if run.linear:
        for j in range(x.keys[key].low, x.keys[key].high):
            _leave(x, x.features[j].weight, x.features[j].value)
    else:
        _leave(x, key, 1.0)
    for k in range(run.held):
        i = x.weights[k].active
        x.weights[i].value += run.alpha * error * x.weights[i].eligibility


@inlined
def _fade(x: Arrays):
    """Nothing; z ← γλ z, and what has faded is no longer visited."""
    run = x.run[0]
    k = 0
    while k < run.held:
        i = x.weights[k].active
        x.weights[i].eligibility *= run.discount * run.lam
        if abs(x.weights[i].eligibility) > _FADED:
            k += 1
            continue
        x.weights[i].eligibility = 0.0
        run.held -= 1
        x.weights[k].active = x.weights[run.held].active


@inlined
def _leave(x: Arrays, i, feature):
    """Nothing; z ← z + x, or x where traces are replaced."""
    if x.weights[i].eligibility == 0.0:
        x.weights[x.run[0].held].active = i
        x.run[0].held += 1
        x.weights[i].eligibility = feature
    else:
        x.weights[i].eligibility = (
            feature if x.run[0].replacing else x.weights[i].eligibility + feature
        )


@called
def settle(x: Arrays, length):
    """Nothing; learns from a finished episode: G_t = r_t + γ G_{t+1}, 0 after its last step."""
    run = x.run[0]
    if run.importance == FLAGS.control:
        _settle_greedy(x, length)
        return
    total, ratio = 0.0, 1.0
    for t in range(length - 1, -1, -1):
        step = x.steps[t]
        total = step.reward + run.discount * total
        step.total, step.ratio = total, ratio
        if run.importance != FLAGS.plain:
            ratio *= x.rows[step.pair].target / x.rows[step.pair].chance
            if run.of_states:  # the value of a state judges this action too
                step.ratio = ratio
    for t in range(length):
        step = x.steps[t]
        key = step.pair // run.actions if run.of_states else step.pair
        if run.first_visit and x.keys[key].seen == run.episode + 1:
            continue
        x.keys[key].seen = run.episode + 1
        if run.importance == FLAGS.plain:
            nudge(x, key, FIRST, step.total)
        elif run.importance == FLAGS.ordinary:
            _average(x, key, 1.0, step.ratio * step.total)
        elif step.ratio > 0.0:
            _average(x, key, step.ratio, step.total)


@inlined
def _average(x: Arrays, key, weight, target):
    """Nothing; the value at `key` becomes the weighted mean of all targets so far."""
    x.keys[key].visits += weight
    x.weights[key].value += weight / x.keys[key].visits * (target - x.weights[key].value)


@called
def _settle_greedy(x: Arrays, length):
    """Nothing; learns from the end back, for as long as actions are those of the greedy policy."""
    total, ratio = 0.0, 1.0
    for t in range(length - 1, -1, -1):
        pair = x.steps[t].pair
        total = x.steps[t].reward + x.run[0].discount * total
        _average(x, pair, ratio, total)
        first = pair - pair % x.run[0].actions
        best = first
        for row in range(first, first + x.run[0].actions):
            if x.weights[row].value > x.weights[best].value:
                best = row
        if best != pair:
            return
        ratio /= x.rows[pair].chance
