"""THE TABLE: every method as a choice of data, credit, coefficient, averaging and step.

`RECIPES["grpo"]` is the row with the paper's settings; `recipe("grpo", beta=0.0)` is the same row
with another constant. The keyword arguments of a row's factory are the method's hyper-parameters.
README and the documentation print this table from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from logpi.core.complaint import complaint
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

    Raises `ConfigError` for an unknown name or constant, naming its nearest neighbour, and for a
    constant that is not what `logpi.rows.ranges` says of it: no number, or one out of range.

    >>> recipe("grpo", beta=0.0).coefficient is not RECIPES["grpo"].coefficient
    True
    """
    if not isinstance(name, str) or name not in FACTORIES:
        raise ConfigError(
            f"unknown recipe `{name}`.{did_you_mean(str(name), FACTORIES)} "
            "`logpi recipes` prints the table."
        )
    return FACTORIES[name](**_checked(name, constants))


def _checked(name: str, told: dict[str, object]) -> dict[str, Any]:
    """The constants as the factory's signature has them."""
    constants = _constants(name)
    taken = constants.model_fields
    try:
        made = constants(**{key: _plain(value) for key, value in told.items()})
    except ValidationError as error:
        known, where = [f"recipe.{key}" for key in taken], f"the recipe {name}"
        text = complaint(error.errors(), told, known=known, where=where, prefix="recipe.")
        names = "" if told.keys() <= taken.keys() else f" It takes {', '.join(taken) or 'none'}."
        raise ConfigError(text + names) from None
    return {key: getattr(made, key) for key in told}


@cache
def _constants(name: str) -> type[BaseModel]:
    """The keyword arguments of the row's factory, as what is checked."""
    taken = inspect.signature(FACTORIES[name], eval_str=True).parameters
    fields: dict[str, Any] = {key: (one.annotation, one.default) for key, one in taken.items()}
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(name, __config__=strict, **fields)


def _plain(value: object) -> object:
    """A number of NumPy's, say, as Python has it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
