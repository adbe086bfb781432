"""`learn`: every method of the table, on a model or on an environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.worlds.mdp.learning.arrays import FLAGS, LOG, Arrays
from logpi.worlds.mdp.learning.basic import mc_basic
from logpi.worlds.mdp.learning.batch import Batch
from logpi.worlds.mdp.learning.environment import walk_in
from logpi.worlds.mdp.learning.fast import advance_table
from logpi.worlds.mdp.learning.learned import Learned
from logpi.worlds.mdp.learning.looks import Estimate, errors, looks
from logpi.worlds.mdp.learning.options import Options
from logpi.worlds.mdp.learning.tables import begun, fixed, policy_of, values
from logpi.worlds.mdp.learning.task import Task, checked_task
from logpi.worlds.mdp.learning.walk import advance
from logpi.worlds.mdp.model import FiniteMDP

if TYPE_CHECKING:
    import gymnasium

__all__ = ["learn"]

_PIECE = 10_000_000  # steps between two chances to interrupt
Walk = Callable[[Arrays, int, int], None]


def learn(
    world: FiniteMDP | gymnasium.Env[Any, Any],
    method: str,
    *,
    episodes: int | None = None,
    steps: int | None = None,
    discount: float | None = None,
    max_steps: int | None = None,
    truth: ArrayLike | None = None,
    record_every: int | None = None,
    runs: int = 1,
    seed: int = 0,
    **options: Unpack[Options],
) -> Learned:
    """Return what a method of `METHODS` learns from episodes of a model or an environment.

    It learns for 500 episodes, or for `episodes`, or for `steps` in all, `runs` times, each time
    afresh. An episode is cut after `max_steps`; TD methods then count the value of where it was
    cut, Monte Carlo takes the return as far as it got. `truth`, [S] or [S, A], is what the error is
    taken against, every `record_every` episodes (or steps). The discount is the model's, unless
    given. All that is random follows from the seed.

    Raises `ConfigError` or `ShapeError` for what cannot be done, `NonFiniteError` on divergence.

    >>> from logpi.worlds.mdp.zoo import make
    >>> walk = learn(make("random_walk"), "td", episodes=2000, alpha=0.02, seed=1)
    >>> walk.value[1:-1].round(1)
    array([0.2, 0.3, 0.5, 0.7, 0.8])
    """
    began = time.thread_time()
    common = {
        "episodes": episodes, "steps": steps, "discount": discount, "max_steps": max_steps,
        "truth": truth, "record_every": record_every, "runs": runs, "seed": seed,
    }  # fmt: skip
    task = checked_task(world, method, common, options)
    if task.method.family == "basic":
        return mc_basic(task, began)
    shared = fixed(task)
    found = [_one_run(task, shared, run) for run in range(task.length.runs)]
    return _learned(task, found, began)


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run leaves: the curves, what was seen at the looks, and how it ended."""

    x: Arrays
    seen: list[Estimate]

    @property
    def log(self) -> ndarray:
        return self.x.log[: int(self.x.run[0]["episode"])]


def _one_run(task: Task, shared: Arrays, run: int) -> _Run:
    x = begun(task, shared, run)
    walk = _walk_of(task, run)
    batch = Batch(task) if task.method.family == "batch" else None
    seen: list[Estimate] = []
    for at in looks(task):
        if batch is None:
            x = _walked(task, x, walk, at)
        else:
            while x.run[0]["episode"] < at:
                x = _walked(task, x, walk, int(x.run[0]["episode"]) + 1)
                batch.add(x)
        seen.append(values(task, x) if batch is None else (batch.value(), None))
    return _Run(x, seen)


def _walk_of(task: Task, run: int) -> Walk:
    """In the environment, or in the model; the fast way where it leads."""
    options, method = task.options, task.method
    if task.env is not None:
        return walk_in(task.env, task.seed, run)
    plain = method.family == "one_step" and method.ahead in ("sarsa", "expected", "greedy")
    plain &= task.behaviour is None and options["features"] is None and not options.get("replay")
    steady = [options[rate] for rate in ("alpha", "epsilon") if rate in options]
    plain &= all(rate.kind != "visits" and rate.per == "episode" for rate in steady)
    return advance_table if plain else advance


def _walked(task: Task, x: Arrays, walk: Walk, at: int) -> Arrays:
    """The arrays after `at` episodes or steps, with more room where it was needed."""
    episodes, steps = (at, sys.maxsize) if task.length.steps is None else (sys.maxsize, at)
    while x.run[0]["episode"] < episodes and (taken := int(x.run[0]["steps"])) < steps:
        if x.run[0]["episode"] == len(x.log):
            x = x._replace(log=_doubled(x.log))
        if x.run[0]["family"] == FLAGS.whole and x.run[0]["time"] == len(x.steps):
            x = x._replace(steps=_doubled(x.steps))
        walk(x, episodes, min(steps, taken + _PIECE))
    return x


def _doubled(records: ndarray) -> ndarray:
    return np.concatenate([records, np.zeros_like(records)])


def _learned(task: Task, runs: list[_Run], began: float) -> Learned:
    value = np.mean([run.seen[-1][0] for run in runs], axis=0)
    qs = [run.seen[-1][1] for run in runs]
    q = None if qs[0] is None else np.mean([q for q in qs if q is not None], axis=0)
    last = runs[-1].x
    wide = max(len(run.log) for run in runs)
    log = np.zeros((len(runs), wide), LOG)
    log["total"] = np.nan
    for row, run in zip(log, runs, strict=True):
        row[: len(run.log)] = run.log
    recorded = looks(task)
    return Learned(
        value=value,
        q=q,
        policy=policy_of(task, q, float(last.run[0]["epsilon"])),
        weights=_weights(task, [run.x for run in runs]),
        returns=log["total"],
        lengths=log["length"],
        truncated=log["truncated"] > 0,
        recorded=np.array(recorded),
        values=np.array([[v for v, _ in run.seen] for run in runs]) if len(recorded) > 1 else None,
        errors=errors(task, [run.seen for run in runs]),
        counted="episode" if task.length.steps is None else "step",
        method=task.name,
        settings={**task.options, "discount": task.discount, "seed": task.seed},
        steps=sum(int(run.x.run[0]["steps"]) for run in runs),
        seconds=time.thread_time() - began,
    )


def _weights(task: Task, runs: list[Arrays]) -> ndarray | None:
    """The weights of features, averaged over runs and tables: [d], or [A, d] for each action."""
    if task.options.get("features") is None:
        return None
    width = int(runs[0].run[0]["width"])
    w = np.mean([x.weights["value"].reshape(-1, width).mean(0) for x in runs], axis=0)
    d = np.shape(task.options["features"])[-1]
    return w if width == d else w.reshape(-1, d)
