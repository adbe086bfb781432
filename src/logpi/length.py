"""How long a run is that was asked for in decisions: words of the command line, and of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from logpi.run import iterations_of, world_of
from logpi.train.config import RunConfig
from logpi.train.overrides import parse_override

__all__ = ["counted"]


def counted(words: Sequence[str], config_of: Callable[[list[str]], RunConfig]) -> list[str]:
    """The words, where `total_steps=N` among them is put as the iterations that it comes to.

    `config_of` makes the configuration of such words.

    >>> from functools import partial
    >>> from logpi.train.config import load_config
    >>> counted(["seed=1", "total_steps=1000"], partial(load_config, "ppo/cartpole"))
    ['seed=1', 'iterations=4']
    """
    keys = [word.partition("=")[0].strip() for word in words]
    told = dict(zip(keys, words, strict=True))
    if "total_steps" not in told:
        return list(words)
    others = [word for key, word in zip(keys, words, strict=True) if key != "total_steps"]
    # A length that stands for any: of this only world and recipe are read.
    of_any_length = config_of([*others, "iterations=1", "optim.warmup=0"])
    count = iterations_of(
        world_of(of_any_length),
        of_any_length.recipe,
        parse_override(told["total_steps"])[1],
        iterations=told.get("iterations"),
    )
    return [*others, f"iterations={count}"]
