"""The learning rate of an iteration: a pure function, so that resuming has nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

from logpi.core.errors import ConfigError

__all__ = ["learning_rate"]


def learning_rate(
    done: int,
    iterations: int,
    *,
    base: float,
    warmup: int = 0,
    decay: Literal["constant", "linear", "cosine"] = "constant",
) -> float:
    """The learning rate of the iteration that comes after `done` finished ones.

    During the warm-up base·(done+1)/warmup: the first step already moves. After it, with p the
    share of the remaining iterations that is finished: base (constant), base·(1−p) (linear), or
    base·½(1+cos πp) (cosine); both reach 0 after the last iteration, not at it.

    Raises `ConfigError` where the warm-up is longer than the run.

    >>> [learning_rate(k, 4, base=1.0, warmup=2, decay="linear") for k in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if warmup > iterations:
        raise ConfigError(
            f"`optim.warmup` is {warmup} but the run has {iterations} iterations: it would end "
            "before its learning rate was reached. Take a shorter warm-up."
        )
    if done < warmup:
        return base * ((done + 1) / warmup)  # in this order, so that its last step is base exactly
    if decay == "constant":
        return base
    share = min(1.0, (done - warmup) / max(1, iterations - warmup))
    return base * (1 - share if decay == "linear" else (1 + math.cos(math.pi * share)) / 2)
