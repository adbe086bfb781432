"""The finite MDP that a command names: an entry of the zoo with options, or a file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from logpi.core.errors import ConfigError
from logpi.mdp import FiniteMDP, load, zoo
from logpi.train.overrides import parse_override

__all__ = ["model_of", "options_of", "picture_path"]


def model_of(given: Namespace) -> FiniteMDP:
    """The model with its options and discount. Raises `ConfigError` where none is named."""
    if given.model is None:
        raise ConfigError(
            "which MDP? Name one of `logpi mdp list`, or a .npz, .bin or .drn file: "
            "`logpi solve book_grid --discount 0.9`."
        )
    options = options_of(given.words)
    if Path(given.model).suffix:
        if options:
            raise ConfigError(
                f"`{given.words[0]}` is an option of the zoo's models, but {given.model} is a file."
            )
        m = load(given.model)
    else:
        m = zoo.make(given.model, **options)
    return m if given.discount is None else m.having(discount=given.discount)


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
