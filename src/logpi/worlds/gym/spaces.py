"""Which spaces this world has, and how an observation becomes an array of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array
from numpy import ndarray

from logpi.core.errors import ConfigError

__all__ = ["Actions", "Observations", "Reader", "actions_of", "mask_row", "observations_of"]

_KINDS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple")


@dataclass(frozen=True, slots=True)
class Observations:
    """The shape that the policy reads, and the function that brings a batch of them there.

    Images, which are bytes, become [height, width, channels], wherever their space has the
    channels, and frames that are stacked become channels too. Everything else becomes a vector of
    float32: discrete parts as one-hot, dictionaries and tuples part after part, in the space's own
    order, an image among them divided by 255.
    """

    shape: tuple[int, ...]
    image: bool
    flatten: Callable[[Any, int], ndarray]  # of n observations as Gymnasium batches them
    space: Any = None  # Gymnasium's, of one observation


@dataclass(frozen=True, slots=True)
class Actions:
    """What a decision chooses.

    discrete        one of `sizes[0]`
    multidiscrete   one of each of `sizes`
    multibinary     `sizes[0]` bits
    box             `sizes[0]` numbers between `low` and `high`
    """

    kind: Literal["discrete", "multidiscrete", "multibinary", "box"]
    sizes: tuple[int, ...]
    low: ndarray | None = None
    high: ndarray | None = None
    shape: tuple[int, ...] = ()  # of one action, as the environment takes it
    first: tuple[int, ...] = ()  # the number that the first choice has: Discrete(start=...)

    @property
    def draws(self) -> int:
        """How many random numbers decide an action."""
        return len(self.sizes) if self.kind == "multidiscrete" else self.width

    @property
    def width(self) -> int:
        """How many numbers an action is."""
        return {"discrete": 1, "multidiscrete": len(self.sizes)}.get(self.kind, self.sizes[0])

    @property
    def choices(self) -> int:
        """How many entries an action mask has."""
        return sum(self.sizes)


def observations_of(space: Any) -> Observations:
    """How observations of a Gymnasium space are read.

    Raises `ConfigError`, naming the space, for one that is not supported.

    >>> from gymnasium import spaces
    >>> o = observations_of(spaces.Dict(x=spaces.Box(-1, 1, (2,)), k=spaces.Discrete(3)))
    >>> o.shape, o.flatten({"x": np.zeros((1, 2)), "k": np.array([2])}, 1).tolist()
    ((5,), [[0.0, 0.0, 0.0, 0.0, 1.0]])
    """
    if _name(space) == "Box" and (axes := _image_axes(space)) is not None:
        return _images(space, *axes)
    size, flatten = _flattening(space, "observation")
    if not size:
        raise ConfigError(f"the observation space {space} shows nothing to decide by.")
    return Observations((size,), False, flatten, space)


def actions_of(space: Any) -> Actions:
    """What a Gymnasium action space asks to choose.

    Raises `ConfigError`, naming the space, for one that is not supported.

    >>> from gymnasium import spaces
    >>> actions_of(spaces.MultiDiscrete([2, 3])).sizes
    (2, 3)
    """
    kind = _name(space)
    if kind == "Discrete":
        return Actions("discrete", (int(space.n),), first=(int(space.start),))
    if kind == "MultiDiscrete":
        first = np.broadcast_to(getattr(space, "start", 0), space.shape)
        sizes, first = (tuple(int(i) for i in x.ravel()) for x in (space.nvec, first))
        return Actions("multidiscrete", sizes, shape=space.shape, first=first)
    if kind == "MultiBinary":
        return Actions("multibinary", (math.prod(space.shape),), shape=space.shape)
    if kind == "Box" and np.issubdtype(space.dtype, np.floating):
        flat = (np.asarray(x, dtype=np.float32).ravel() for x in (space.low, space.high))
        low, high = flat
        return Actions("box", (math.prod(space.shape),), low, high, shape=space.shape)
    raise _unsupported(space, "action")


class Reader:
    """What n environments show, one after the other, as one array of what the policy reads."""

    def __init__(self, space: Any, num: int) -> None:
        """For `num` environments with that space."""
        self.observations = observations_of(space)
        self._space, self._num = space, num
        self._shape = tuple(space.shape) if _name(space) == "Box" else None
        self._image = self.observations.image
        self._dtype = np.uint8 if self._image else np.float32

    def flat(self, rows: Sequence[Any]) -> ndarray:
        """One observation of each as the policy reads them, [n, *shape].

        Raises where one is none of the space: `wrong` says of each why.
        """
        if self._shape is None:
            return self._flat(rows)
        shown = np.array(rows, dtype=self._dtype)  # a copy
        if shown.shape != (self._num, *self._shape):
            raise ValueError(f"observations of shape {list(shown.shape[1:])}")
        if self._image:
            return self.observations.flatten(shown, self._num)
        return shown.reshape(self._num, *self.observations.shape)

    def one(self, observation: Any) -> ndarray:
        """One observation as the policy reads it, [*shape]."""
        if self._image:
            shown = np.asarray(observation, np.uint8).reshape(1, *self._space.shape)
            return self.observations.flatten(shown, 1)[0]
        if self._shape is not None:
            return np.asarray(observation, self._dtype).reshape(self.observations.shape)
        return self._flat([observation])[0]

    def wrong(self, observation: Any) -> str:
        """Why an observation cannot be read, or nothing."""
        try:
            if self._shape is not None and np.shape(observation) != self._shape:
                shape = np.shape(observation)
                return f"gave an observation of shape {shape} instead of {self._shape}"
            self.one(observation)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            return f"gave an observation that is not in {self._space} ({told})"
        return ""

    def _flat(self, rows: Sequence[Any]) -> ndarray:
        n = len(rows)
        batch = concatenate(self._space, rows, create_empty_array(self._space, n))
        return self.observations.flatten(batch, n)


def mask_row(mask: Any, actions: Actions) -> ndarray | str:
    """[A] which actions are allowed, of one `info["action_mask"]`; or what is wrong with it.

    Several choices have their masks one after the other; Gymnasium gives them as a tuple.

    >>> two = Actions("multidiscrete", (2, 1))
    >>> mask_row((np.array([1, 0]), np.array([1])), two).tolist()
    [True, False, True]
    >>> mask_row(np.array([0, 0]), Actions("discrete", (2,)))
    'gave an action mask that allows nothing'
    """
    if mask is None:
        return "gave no action mask, but gave one before"
    if actions.kind not in ("discrete", "multidiscrete"):
        return f"gave an action mask, but its actions are {actions.kind}"
    row = np.concatenate(_leaves(mask)).astype(np.bool_)
    if len(row) != actions.choices:
        return f"gave an action mask of {len(row)} entries instead of {actions.choices}"
    places = np.cumsum([0, *actions.sizes[:-1]])
    if not np.logical_or.reduceat(row, places).all():
        return "gave an action mask that allows nothing"
    return row


def _leaves(mask: Any) -> list[ndarray]:
    """The arrays of a mask, whose choices may be tuples of tuples."""
    if isinstance(mask, tuple) or (isinstance(mask, list) and np.ndim(mask[0])):
        return [leaf for part in mask for leaf in _leaves(part)]
    return [np.asarray(mask).ravel()]


def _name(space: Any) -> str:
    """The kind of a space: of its class, or of the one that its class refines."""
    names = [kind.__name__ for kind in type(space).__mro__]
    return next((name for name in names if name in _KINDS), names[0])


def _image_axes(space: Any) -> tuple[int, int, list[int]] | None:
    """Which axes of bytes are height, width and channels; None where they are no image.

    Up to four numbers in the last axis are colours. Elsewhere an image has sides of 36 at least,
    and up to 16 channels, or frames, before or behind them.
    """
    shape = space.shape
    if space.dtype != np.uint8:
        return None

    def large(i: int) -> bool:
        return min(shape[i : i + 2]) >= 36

    if len(shape) == 3 and (shape[2] <= 4 or (shape[2] <= 16 and large(0))):
        return 0, 1, [2]
    if len(shape) == 3 and shape[0] <= 16 and large(1):
        return 1, 2, [0]
    if len(shape) == 2 and large(0):
        return 0, 1, []
    if len(shape) == 4 and shape[3] <= 4 and large(1):
        return 1, 2, [0, 3]
    return None


def _images(space: Any, height: int, width: int, channels: list[int]) -> Observations:
    """Images as [height, width, channels]; `channels` are axes, one after the other."""
    shape = (space.shape[height], space.shape[width], math.prod(space.shape[i] for i in channels))
    moved = (0, *(1 + axis for axis in (height, width, *channels)))

    def flatten(x: Any, n: int) -> ndarray:
        return np.asarray(x).transpose(moved).reshape(n, *shape)

    return Observations(shape, True, flatten, space)


def _flattening(space: Any, what: str) -> tuple[int, Callable[[Any, int], ndarray]]:
    kind = _name(space)
    if kind in ("Box", "MultiBinary"):
        size = math.prod(space.shape)
        if kind == "Box" and _image_axes(space) is not None:
            # As a CNN reads it: bytes as they are would drown whatever stands beside them.
            unit = np.float32(255)
            return size, lambda x, n: np.asarray(x, dtype=np.float32).reshape(n, size) / unit
        return size, lambda x, n: np.asarray(x, dtype=np.float32).reshape(n, size)
    if kind == "Discrete":
        one = np.eye(int(space.n), dtype=np.float32)
        first = int(space.start)
        return int(space.n), lambda x, n: _one_hot(one, np.asarray(x).reshape(n) - first)
    if kind == "MultiDiscrete":
        first = np.broadcast_to(getattr(space, "start", 0), space.shape)
        return _choices([int(k) for k in space.nvec.ravel()], first.ravel())
    if kind in ("Dict", "Tuple"):
        keys = list(space.spaces) if kind == "Dict" else list(range(len(space.spaces)))
        parts = [(key, *_flattening(space.spaces[key], what)) for key in keys]
        total = sum(size for _, size, _ in parts)
        return total, lambda x, n: np.concatenate([f(x[key], n) for key, _, f in parts], axis=1)
    raise _unsupported(space, what)


def _choices(sizes: list[int], first: ndarray) -> tuple[int, Callable[[Any, int], ndarray]]:
    tables = [np.eye(k, dtype=np.float32) for k in sizes]

    def flatten(x: Any, n: int) -> ndarray:
        chosen = np.asarray(x).reshape(n, len(sizes)) - first
        hot = [_one_hot(one, chosen[:, j]) for j, one in enumerate(tables)]
        return np.concatenate(hot, axis=1)

    return sum(sizes), flatten


def _one_hot(one: ndarray, chosen: ndarray) -> ndarray:
    """Rows of the unit matrix, which NumPy would count from its end where a number is negative."""
    if chosen.min() < 0:
        raise IndexError(f"{-chosen.min()} below the first")
    return one[chosen]


def _unsupported(space: Any, what: str) -> ConfigError:
    return ConfigError(
        f"the {what} space {space} is a {_name(space)}, which is not supported. Observations may "
        "be Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple of these; actions Discrete, "
        "MultiDiscrete, MultiBinary or a Box of floats. Wrap the environment with "
        "gymnasium.wrappers to bring it there."
    )
