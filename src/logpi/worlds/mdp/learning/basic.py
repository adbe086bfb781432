"""MC Basic: policy iteration whose policy evaluation is Monte Carlo (Zhao, algorithm 5.1)."""

from __future__ import annotations

import time

import numpy as np

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.learning.arrays import Arrays, compiled
from logpi.worlds.mdp.learning.kernels import first_above, step, uniform
from logpi.worlds.mdp.learning.learned import Learned
from logpi.worlds.mdp.learning.looks import Estimate, errors, looks
from logpi.worlds.mdp.learning.tables import begun, fixed, summed
from logpi.worlds.mdp.learning.task import Task
from logpi.worlds.mdp.planning.policies import deterministic
from logpi.worlds.mdp.planning.policies import uniform as uniform_policy

__all__ = ["mc_basic"]


def mc_basic(task: Task, began: float) -> Learned:
    """What MC Basic finds in `iterations` rounds of evaluating and improving a policy.

    q_k(s, a) = mean return of `samples` episodes of `max_steps` that begin with (s, a) and follow
    π_k;   π_{k+1}(s) = argmax_a q_k(s, a)           Zhao, algorithm 5.1

    The first best action is taken of several, and the first policy is uniform unless given. Where
    the model and the policy are deterministic, one sample is exact. Raises `ConfigError` for an
    environment, whose episodes cannot begin with any state and action.
    """
    if task.env is not None:
        raise ConfigError("MC Basic begins episodes with every state and action: give a model.")
    shared = fixed(task)
    runs = [_one_run(task, begun(task, shared, run)) for run in range(task.length.runs)]
    last = [seen[-1] for seen, _ in runs]
    q = np.mean([q for _, q in last if q is not None], axis=0)
    rounds, length = task.options["iterations"], task.options["samples"] * (task.length.limit or 0)
    recorded = looks(task)
    seen = [seen for seen, _ in runs]
    return Learned(
        value=np.mean([v for v, _ in last], axis=0),
        q=q,
        policy=np.where(task.m.terminal, -1, q.argmax(1)),
        weights=None,
        returns=np.array([returns for _, returns in runs]),
        lengths=np.full((len(runs), rounds), length),
        truncated=np.zeros((len(runs), rounds), dtype=bool),
        recorded=np.array(recorded),
        values=np.array([[v for v, _ in run] for run in seen]) if len(recorded) > 1 else None,
        errors=errors(task, seen),
        counted="iteration",
        method=task.name,
        settings={**task.options, "discount": task.discount, "seed": task.seed},
        steps=len(runs) * rounds * length * int(task.m.allowed.sum()),
        seconds=time.thread_time() - began,
    )


def _one_run(task: Task, x: Arrays) -> tuple[list[Estimate], list[float]]:
    """What is seen at the looks, and the mean of all returns in each round."""
    m, at = task.m, looks(task)
    pi = uniform_policy(m) if task.policy is None else task.policy
    q = np.where(m.allowed, 0.0, -np.inf)
    seen: list[Estimate] = [(np.zeros(m.states), q)] if at[0] == 0 else []
    returns = []
    for k in range(task.options["iterations"]):
        x.rows["cumulative"] = summed(pi).ravel()
        means = np.zeros(m.states * m.actions)
        _mean_returns(x, means, task.options["samples"])
        q = np.where(m.allowed, means.reshape(m.reward.shape), -np.inf)
        pi = deterministic(m, np.where(m.terminal, 0, q.argmax(1)))
        returns.append(float(q[m.allowed].mean()))
        if k + 1 in at:
            seen.append((np.where(m.terminal, 0.0, q.max(1)), q))
    return seen, returns


@compiled
def _mean_returns(x: Arrays, means, samples):
    """Nothing; `means` of each allowed pair becomes the mean return of episodes from it."""
    run = x.run[0]
    for row in range(len(x.rows)):
        if not x.rows[row].allowed:
            continue
        for _ in range(samples):
            state, action = row // run.actions, row % run.actions
            weight = 1.0 / samples
            for t in range(run.limit):
                reward, after = step(x, state, action)
                means[row] += weight * reward
                weight *= run.discount
                if x.states[after].count == 0 or t + 1 == run.limit:
                    break
                state, first = after, after * run.actions
                u = uniform(x.run)
                action = first_above(x.rows, first, first + run.actions, u) - first
