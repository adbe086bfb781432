"""THE TABLE: every method as a choice of data, credit, coefficient, averaging and step.

`RECIPES["grpo"]` is the row with the paper's settings; `recipe("grpo", beta=0.0)` is the same row
with another constant. The keyword arguments of a row's factory are the method's hyper-parameters.
README and the documentation print this table from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.rows import classic, demonstrations, groups

__all__ = ["FACTORIES", "RECIPES", "recipe"]

FACTORIES: Mapping[str, Callable[..., Recipe]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            classic.reinforce_total,
            classic.reinforce,
            classic.reinforce_baseline,
            classic.qac,
            classic.a2c,
            classic.off_policy_ac,
            classic.trpo,
            classic.ppo,
            classic.ppo_dual_clip,
            demonstrations.sft,
            demonstrations.rft,
            demonstrations.online_rft,
            demonstrations.dpo,
            demonstrations.dpo_mean,
            demonstrations.ipo,
            demonstrations.simpo,
            groups.remax,
            groups.rloo,
            groups.reinforce_pp,
            groups.reinforce_pp_baseline,
            groups.grpo,
            groups.grpo_process,
            groups.dr_grpo,
            groups.dapo,
            groups.gspo,
            groups.cispo,
            groups.sapo,
            groups.max_rl,
        )
    }
)
"""Name to the row's factory: its keyword arguments are the hyper-parameters."""

RECIPES: Mapping[str, Recipe] = MappingProxyType({name: make() for name, make in FACTORIES.items()})
"""Name to the row with the published settings."""


def recipe(name: str, **constants: object) -> Recipe:
    """The row called `name`, with some of its constants changed.

    Raises `ConfigError` for an unknown name or constant, naming its nearest neighbour.

    >>> recipe("grpo", beta=0.0).coefficient is not RECIPES["grpo"].coefficient
    True
    """
    if name not in FACTORIES:
        raise ConfigError(
            f"unknown recipe `{name}`.{did_you_mean(name, FACTORIES)} "
            "`logpi recipes` prints the table."
        )
    known = inspect.signature(FACTORIES[name]).parameters
    for key in constants:
        if key not in known:
            raise ConfigError(
                f"unknown key `recipe.{key}`: {name} has no such constant."
                f"{did_you_mean(key, known)} It takes {', '.join(known) or 'none'}."
            )
    return FACTORIES[name](**constants)
