"""Discrete spaces of Gymnasium as numbers 0, 1, …: what a table has an entry for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from logpi.core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium

__all__ = ["Numbering", "numbering"]

MOST = 10_000_000
"""Elements that a table may have an entry for."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """The elements of a discrete space, numbered; of several parts, the last counts fastest."""

    size: int
    number: Callable[[Any], int]  # of an element
    element: Callable[[int], Any]  # with that number


def numbering(space: gymnasium.Space[Any], what: str) -> Numbering:
    """The numbers of a `Discrete`, `MultiDiscrete` or `MultiBinary` space, or a `Tuple` of such.

    Raises `ConfigError`, which names `what` the space is of, where it is another, or too large.

    >>> from gymnasium.spaces import Discrete, Tuple
    >>> found = numbering(Tuple([Discrete(32), Discrete(11), Discrete(2)]), "observation")
    >>> found.size, found.number((20, 10, 1)), found.element(461)
    (704, 461, (20, 10, 1))
    """
    found = _found(space)
    if found is None:
        raise ConfigError(
            f"the {what} space is {space} but must be Discrete(n), MultiDiscrete, MultiBinary, or "
            "a Tuple of such: a table has an entry for each. Wrap the environment in one that "
            "numbers them, in bins for example."
        )
    if found.size > MOST:
        raise ConfigError(
            f"the {what} space is {space}, of {found.size} elements: more than the {MOST} that a "
            "table may have."
        )
    return found


def _found(space: gymnasium.Space[Any]) -> Numbering | None:
    from gymnasium import spaces  # noqa: PLC0415 # optional, and there: a space was given

    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return Numbering(int(space.n), lambda x: int(x) - first, lambda i: i + first)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return _flat(space)
    if not isinstance(space, spaces.Tuple):
        return None
    parts = [_found(part) for part in space.spaces]
    known = [part for part in parts if part is not None]
    return _joined(known) if len(known) == len(parts) else None


def _flat(space: Any) -> Numbering:
    """The numbers of an array of small numbers."""
    sizes = np.broadcast_to(getattr(space, "nvec", 2), space.shape).ravel()
    starts = np.broadcast_to(getattr(space, "start", 0), space.shape).ravel()
    parts = [
        Numbering(int(n), lambda x, s=int(s): int(x) - s, lambda i, s=int(s): i + s)
        for n, s in zip(sizes, starts, strict=True)
    ]
    joined = _joined(parts)
    return Numbering(
        joined.size,
        lambda x: joined.number(np.ravel(x)),
        lambda i: np.array(joined.element(i), dtype=space.dtype).reshape(space.shape),
    )


def _joined(parts: list[Numbering]) -> Numbering:
    strides = [math.prod(part.size for part in parts[k + 1 :]) for k in range(len(parts))]
    both = list(zip(parts, strides, strict=True))
    return Numbering(
        math.prod(part.size for part in parts),
        lambda x: sum(p.number(y) * stride for (p, stride), y in zip(both, x, strict=True)),
        lambda i: tuple(p.element(i // stride % p.size) for p, stride in both),
    )
