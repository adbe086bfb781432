"""A search space from the command line: which keys of a configuration vary, and between what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from logpi.core.errors import ConfigError
from logpi.train.overrides import parse_override

__all__ = ["Dimension", "rounded", "split_space"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")
_CHOICE = "choice:"
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Dimension:
    """One key that varies: whole numbers or floats between two ends, or one of several values."""

    key: str
    kind: Literal["int", "float", "choice"]
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {**asdict(self), "choices": list(self.choices)}


def split_space(words: Sequence[str]) -> tuple[list[str], list[Dimension]]:
    """The words that are plain overrides, and those that are ranges or choices.

    >>> split_space(["iterations=9", "optim.lr=log:1e-5..1e-2"])[1]
    [Dimension(key='optim.lr', kind='float', low=1e-05, high=0.01, log=True, choices=())]

    `1..9` is whole where both ends are written so; `choice:tanh,relu` is one of these. Raises
    `ConfigError` for a range that is empty, and for a logarithmic one that reaches 0.
    """
    fixed: list[str] = []
    space: dict[str, Dimension] = {}
    for word in words:
        key, _, value = word.partition("=")
        made = _dimension(key.strip(), value.strip())
        if made is None:
            fixed.append(word)
        elif key in space:
            raise ConfigError(f"`{key}` is searched twice. Name it once.")
        else:
            space[made.key] = made
    return fixed, list(space.values())


def _dimension(key: str, value: str) -> Dimension | None:
    if value.startswith(_CHOICE):
        texts = [text for text in value.removeprefix(_CHOICE).split(",") if text]
        if len(texts) < 2:
            raise ConfigError(
                f"`{key}={value}` leaves nothing to choose. Give two values: {key}=choice:a,b."
            )
        return Dimension(
            key, "choice", choices=tuple(parse_override(f"{key}={t}")[1] for t in texts)
        )
    found = _RANGE.fullmatch(value)
    if found is None:
        return None
    log, ends = bool(found[1]), (found[2], found[3])
    low, high = (float(end) for end in ends)
    if not low < high:
        raise ConfigError(f"`{key}={value}` is empty: the first end must be the smaller one.")
    if log and low <= 0:
        raise ConfigError(f"`{key}={value}` is searched by its logarithm, so it must be above 0.")
    whole = all(re.fullmatch(r"[+-]?\d+", end) for end in ends)
    return Dimension(key, "int" if whole else "float", low, high, log)


def rounded(value: float, dimension: Dimension) -> float:
    """The value with as many digits as a person types, and not beyond the ends.

    >>> rounded(0.00123456789, Dimension("optim.lr", "float", 1e-5, 1e-2, True))
    0.001235
    """
    return min(max(float(f"{value:.{_DIGITS}g}"), dimension.low), dimension.high)
