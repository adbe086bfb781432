"""What the names that begin with "demo:" stand for: the package's own models and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.lm import arithmetic, capital
from logpi.worlds.lm.tiny import tiny

__all__ = ["demo_data", "demo_model", "demo_reward"]


def _arithmetic_model(folder: Path) -> Path:
    # Wider random weights than the usual 0.02, with which it hardly learns: docs/log.md.
    return tiny(folder, alphabet=arithmetic.ALPHABET, hidden=64, layers=2, initializer_range=0.1)


_MODELS: dict[str, Callable[[Path], Path]] = {
    "demo:arithmetic": _arithmetic_model,
    "demo:capital": capital.build,
}
_DATA: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "demo:arithmetic/noisy": arithmetic.noisy,
    "demo:arithmetic/train": arithmetic.train,
    "demo:arithmetic/heldout": arithmetic.heldout,
    "demo:arithmetic/pairs": arithmetic.pairs,
    "demo:capital": capital.rows,
}
_REWARDS: dict[str, str | dict[str, Any]] = {
    "demo:arithmetic": "exact_match",
    "demo:capital": capital.REWARD,
}


def demo_model(spec: str, folder: str | Path) -> Path:
    """Return the folder, now holding the model that `spec` names: demo:arithmetic or demo:capital.

    Raises `ConfigError` for another name.
    """
    return _named(spec, _MODELS, "model")(Path(folder))


def demo_data(spec: str) -> list[dict[str, Any]]:
    """Return the rows that `spec` names, the same ones every time.

    Raises `ConfigError` for another name.

    >>> demo_data("demo:capital")[0]["prompt"]
    'France:'
    """
    return _named(spec, _DATA, "data")()


def demo_reward(spec: str) -> str | dict[str, Any]:
    """Return the reward that goes with a demo's data.

    Raises `ConfigError` for another name.

    >>> demo_reward("demo:arithmetic/train")
    'exact_match'
    """
    return _named(spec.split("/")[0], _REWARDS, "reward")


def _named(spec: str, known: dict[str, Any], what: str) -> Any:
    if spec not in known:
        raise ConfigError(
            f"there is no {what} {spec!r}.{did_you_mean(spec, known)} There are {', '.join(known)}."
        )
    return known[spec]
