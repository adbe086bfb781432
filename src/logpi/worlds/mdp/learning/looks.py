"""When a run is looked at, and how far its values then are from the truth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.learning.task import Task

__all__ = ["Estimate", "errors", "looks"]

_MANY = 100  # looks of a run where only `truth` was given
_MOST = 2**27  # recorded numbers: a gigabyte

# V [S], and Q [S, A] where that is learned
Estimate = tuple[Float[ndarray, " S"], Float[ndarray, "S A"] | None]


def looks(task: Task) -> list[int]:
    """The counts of episodes, steps or iterations to look after: 0 and the end among them.

    Only the end where neither `record_every` nor `truth` was given. Raises `ConfigError` where the
    records would not fit in a gigabyte.
    """
    total = task.options.get("iterations") or task.length.total
    every = task.length.record_every
    if every is None and task.truth is None:
        return [total]
    every = every or max(1, total // _MANY)
    before = range(0, total, every)
    size = (len(before) + 1) * task.length.runs * task.m.states
    if size > _MOST:
        raise ConfigError(
            f"record_every={every} keeps {len(before) + 1} values of {task.m.states} states in "
            f"{task.length.runs} runs, {size * 8 / 2**30:.1f} GB: give a larger one."
        )
    return [*before, total]


def errors(task: Task, runs: list[list[Estimate]]) -> Float[ndarray, "R K"] | None:
    """The root mean square of V − truth over states that are not terminal, or of Q over pairs.

    None where there is no truth.
    """
    if task.truth is None:
        return None
    of_states = task.truth.ndim == 1
    which = ~task.m.terminal if of_states else task.m.allowed
    found = [[v if of_states else q for v, q in run] for run in runs]
    if any(x is None for run in found for x in run):
        raise ConfigError(
            f"`{task.name}` learns values of states: give truth as [{task.m.states}]."
        )
    off = np.array([[x[which] for x in run if x is not None] for run in found]) - task.truth[which]
    with np.errstate(over="ignore"):  # values that grow without bound have an infinite error
        return np.sqrt((off**2).mean(axis=2))
