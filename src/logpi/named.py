"""What a configuration names: the recipe, and the world; only the one that runs is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.recipes import recipe as named_recipe
from logpi.train.config import RunConfig, python_reward, validated
from logpi.worlds.settings import Settings

if TYPE_CHECKING:
    from logpi.worlds.gym.world import Gym
    from logpi.worlds.lm.world import LM
    from logpi.worlds.mdp.world import MDP

__all__ = ["given_world", "recipe_of", "world_of"]

_WORLDS = {"lm": "LM", "mdp": "MDP", "gym": "Gym"}
"""What `logpi` calls each kind of world: only the one that runs is imported."""


def given_world(world: Any) -> LM | MDP | Gym:
    """The world that Python was given, or that a mapping describes.

    Raises `ConfigError` for anything else.

    >>> given_world({"kind": "mdp", "model": "cliff"}).model
    'cliff'
    """
    if isinstance(world, Mapping):
        return _validated(world, where="the arguments")
    if not isinstance(world, Settings):
        raise ConfigError(
            f"`world` is {world!r}. Give logpi.LM(...), logpi.MDP(...) or logpi.Gym(...), or a "
            'mapping that says which: {"kind": "gym", "env": "CartPole-v1"}.'
        )
    return cast("LM | MDP | Gym", world)


def world_of(config: RunConfig, *, reward: Any = None) -> LM | MDP | Gym:
    """The world of a configuration; `reward` replaces a Python function, which no file holds."""
    told = dict(config.world)
    if reward is not None:
        told["reward"] = reward
    elif name := python_reward(told.get("reward")):
        raise ConfigError(
            f"this run's reward was the Python function {name}, which no file can hold. Give it "
            "again: `--reward file.py:function` on the command line, or the world from Python."
        )
    for key in ("data", "eval_data", "model", "features", "env", "policy"):
        if given := python_reward(told.get(key)):
            raise ConfigError(
                f"this run's `world.{key}` was given from Python ({given}) and is no text for "
                "config.yaml. Give the world again from Python, or keep it in a file."
            )
    return _validated(told, where="the configuration")


def recipe_of(config: RunConfig) -> Recipe:
    """The recipe that a configuration names, with its constants."""
    constants = {key: value for key, value in config.recipe.items() if key != "name"}
    return named_recipe(config.recipe_name, **constants)


def _validated(told: Mapping[str, Any], *, where: str) -> LM | MDP | Gym:
    kind = told.get("kind", "lm")
    if "env" in told and kind == "lm":  # which it is where nobody says
        raise ConfigError(f"`world.env` in {where} is of environments: add `world.kind=gym`.")
    if not isinstance(kind, str) or kind not in _WORLDS:
        raise ConfigError(
            f"`world.kind` in {where} is {kind!r}.{did_you_mean(str(kind), _WORLDS)} "
            f"It is {' or '.join(_WORLDS)}."
        )
    world = getattr(import_module("logpi"), _WORLDS[kind])
    return validated(world, {**told, "kind": kind}, prefix="world.", where=where)
