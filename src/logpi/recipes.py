"""THE TABLE: every method as a choice of data, credit, coefficient, averaging and step.

`RECIPES["grpo"]` is the row with the paper's settings; `recipe("grpo", beta=0.0)` is the same row
with another constant. The keyword arguments of a row's factory are the method's hyper-parameters.
README and the documentation print this table from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

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
    constant that is no number, or no count, where one is needed.

    >>> recipe("grpo", beta=0.0).coefficient is not RECIPES["grpo"].coefficient
    True
    """
    if not isinstance(name, str) or name not in FACTORIES:
        raise ConfigError(
            f"unknown recipe `{name}`.{did_you_mean(str(name), FACTORIES)} "
            "`logpi recipes` prints the table."
        )
    known = inspect.signature(FACTORIES[name], eval_str=True).parameters
    for key, value in constants.items():
        if key not in known:
            raise ConfigError(
                f"unknown key `recipe.{key}`: {name} has no such constant."
                f"{did_you_mean(key, known)} It takes {', '.join(known) or 'none'}."
            )
        if not _fits(value, kind := known[key].annotation):
            raise ConfigError(f"`recipe.{key}` of {name} is {value!r}. Give {_words(kind)}.")
    return FACTORIES[name](**constants)


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if value is None:
        return type(None) in get_args(kind)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, Integral) and int(value) >= 1
    return isinstance(value, Real) and value == value  # inf bounds nothing, NaN is no number


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if type(None) in get_args(kind):
        return "a number, or null"
    return {bool: "true or false", int: "a whole number of at least 1"}.get(kind, "a number")
