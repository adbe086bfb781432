"""The compiled walk: it takes steps, in a model or as an environment took them, and learns.

numba's cache does not see a change in what a function calls: after an edit of `kernels`, `updates`
or `schedules`, empty `__pycache__`.
"""

from __future__ import annotations

from logpi.worlds.mdp.learning.arrays import FLAGS, NOWHERE, Arrays, called, compiled, inlined
from logpi.worlds.mdp.learning.kernels import chosen, first_above, step, uniform
from logpi.worlds.mdp.learning.schedules import rate
from logpi.worlds.mdp.learning.updates import n_steps, one_step, settle, traced

__all__ = ["advance", "begin"]


@compiled
def advance(x: Arrays, episodes, steps):
    """Nothing; walks until so many episodes or steps are done, or until an array is full.

    Outside, it stops when it has begun an episode, for the environment to act as it wishes to.
    """
    run = x.run[0]
    while run.episode < episodes and run.steps < steps and _room(x):
        if not run.begun:
            begin(x)
            if x.states[run.state].count == 0:  # the start is terminal: an episode of no step
                run.begun = False
                run.episode += 1
                continue
            if run.outside:
                return
        state, action = run.state, run.action
        reward, after = step(x, state, action)
        _take(x, (state, action, reward, after, x.states[after].count == 0))


@inlined
def _room(x: Arrays):
    run = x.run[0]
    if run.episode == len(x.log):
        return False
    return run.family != FLAGS.whole or run.time < len(x.steps)


@called
def begin(x: Arrays):
    """Nothing; an episode begins: traces are cleared, the first action is chosen."""
    run = x.run[0]
    run.begun = True
    if run.family == FLAGS.traces:
        for k in range(run.held):
            x.weights[x.weights[k].active].eligibility = 0.0
        run.held = 0
    _set_rates(x)
    if run.exploring:
        pair = x.rows[int(uniform(x.run) * run.pairs)].pair
        run.state, run.action = pair // run.actions, pair % run.actions
        return
    run.state = run.start
    if not run.outside:
        run.state = first_above(x.states, 0, len(x.states), uniform(x.run))
    if x.states[run.state].count > 0:
        run.action = chosen(x, run.state)


@called
def _set_rates(x: Arrays):
    """Nothing; α and ε of this episode and step."""
    run = x.run[0]
    k = run.steps + 1 if run.alpha_per_step else run.episode + 1
    run.alpha = rate((run.alpha_kind, run.alpha_start, run.alpha_end, run.alpha_scale), k)
    k = run.steps + 1 if run.epsilon_per_step else run.episode + 1
    schedule = (run.epsilon_kind, run.epsilon_start, run.epsilon_end, run.epsilon_scale)
    run.epsilon = rate(schedule, k)


@inlined
def _take(x: Arrays, moved):
    reward, after, ended = moved[2:]
    run = x.run[0]
    over = ended or run.time + 1 >= run.limit
    x.log[run.episode].total += reward
    # Off-policy, the next action is chosen by what this step taught; else the update may need it.
    late = run.family == FLAGS.one_step and run.ahead > FLAGS.sarsa
    next_action = NOWHERE
    for turn in range(2):
        if turn == late:
            if not (ended or (over and late)):
                next_action = chosen(x, after)
        elif run.family == FLAGS.one_step:
            one_step(x, moved, next_action)
        else:
            _learn(x, moved, next_action, over)
    run.state, run.action = after, next_action
    run.time += 1
    run.steps += 1
    if over:
        x.log[run.episode].length, x.log[run.episode].truncated = run.time, not ended
        run.time, run.begun = 0, False
        run.episode += 1
    elif run.alpha_per_step or run.epsilon_per_step:
        _set_rates(x)


@called
def _learn(x: Arrays, moved, next_action, over):
    run = x.run[0]
    if run.family == FLAGS.n_step:
        n_steps(x, moved, next_action, over)
    elif run.family == FLAGS.traces:
        traced(x, moved, next_action)
    else:
        x.steps[run.time].pair = moved[0] * run.actions + moved[1]
        x.steps[run.time].reward = moved[2]
        if over:
            settle(x, run.time + 1)
