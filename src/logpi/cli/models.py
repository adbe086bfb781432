"""The finite MDP that a command names: of the zoo, with options, a file, or Gymnasium's."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from logpi.core.errors import ConfigError
from logpi.mdp import FiniteMDP, from_gymnasium, load, zoo
from logpi.train.overrides import parse_override
from logpi.worlds.mdp.files.dispatch import lacks_discount
from logpi.worlds.mdp.gymnasium_table import environment_named
from logpi.worlds.mdp.learning.environment import form_of

__all__ = ["model_of", "options_of", "picture_path", "world_of"]

_ENVIRONMENT = re.compile(r"[\w./:-]+-v[0-9]+")  # how Gymnasium names them: FrozenLake-v1


def model_of(given: Namespace) -> FiniteMDP:
    """The model with its options and discount.

    Raises `ConfigError` where none is named, or one of Gymnasium's without a discount.
    """
    if given.model is None:
        raise ConfigError(
            "which MDP? Name one of `logpi mdp list`, or a .npz, .bin or .drn file: "
            "`logpi solve book_grid --discount 0.9`."
        )
    options = options_of(given.words)
    if _is_environment(given):
        if given.discount is None:
            raise ConfigError(f"{given.model} has no discount: say `--discount 0.99`.")
        return from_gymnasium(environment_named(given.model, **options), discount=given.discount)
    if not Path(given.model).suffix:
        m = zoo.make(given.model, **options)
        return m if given.discount is None else m.having(discount=given.discount)
    if Path(given.model).suffix.lower() == ".npz":
        if options:
            raise ConfigError(
                f"`{given.words[0]}` is an option of the zoo's models, but {given.model} is a file "
                "that holds all of its model."
            )
        m = load(given.model)
        return m if given.discount is None else m.having(discount=given.discount)
    if given.discount is None and lacks_discount(given.model):
        raise ConfigError(f"{given.model}: this format holds no discount: say `--discount 0.99`.")
    return load(given.model, discount=given.discount, **options)


def world_of(given: Namespace) -> tuple[Any, FiniteMDP]:
    """What to learn in, and its states and actions: a model is both, an environment has a form.

    Raises `ConfigError` as `model_of` does, and where an environment is not discrete.
    """
    if given.model is None or not _is_environment(given):
        m = model_of(given)
        return m, m
    if given.discount is None:
        raise ConfigError(f"{given.model} has no discount: say `--discount 0.99`.")
    env = environment_named(given.model, **options_of(given.words))
    return env, form_of(env)


def _is_environment(given: Namespace) -> bool:
    return given.model not in zoo.names() and bool(_ENVIRONMENT.fullmatch(given.model))


def options_of(words: list[str]) -> dict[str, Any]:
    """`key=value` words as options; values are read as YAML: 0.1, true, [[1, 1], [2, 2]]."""
    options: dict[str, Any] = {}
    for word in words:
        path, value = parse_override(word)
        options[".".join(path)] = value
    return options


def picture_path(given: Namespace, m: FiniteMDP) -> Path | None:
    """Where `--plot` wants its picture; None where it was not said."""
    if given.plot is None:
        return None
    return Path(given.plot or f"{m.name.replace('/', '-')}.png")
