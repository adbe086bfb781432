"""An environment with its number, seed and step, and what JSON holds of arrays."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import MutableSequence
from typing import Any

import numpy as np
from numpy import ndarray

from logpi.core.errors import EnvironmentFailure

__all__ = ["Recorded", "digest", "failure", "packed", "unpacked"]


class Recorded:
    """One environment that knows its number, the seed of its reset, and the steps since.

    Raises `EnvironmentFailure`, naming them, where it raises, or gives what is no step.
    """

    def __init__(self, env: Any, number: int, board: MutableSequence[int] | None = None) -> None:
        """Wrap a Gymnasium environment; `board` shows (number, seed, step) to who waits for it."""
        self.env, self.number, self._board = env, number, board
        self.seed = self.steps = 0

    def reset(self, seed: int) -> tuple[Any, dict[str, Any]]:
        """The first observation of the episode that `seed` decides, and its info."""
        self.seed, self.steps = seed, 0
        if self._board is not None:
            self._board[:] = (self.number, seed, 0)
        try:
            return self.env.reset(seed=seed)
        except Exception as error:
            raise self.failed(f"raised {type(error).__name__}: {error}") from error

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """What follows the action; the reward is a float."""
        self.steps += 1
        if self._board is not None:
            self._board[:] = (self.number, self.seed, self.steps)
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            return observation, float(reward), terminated, truncated, info
        except Exception as error:
            raise self.failed(f"raised {type(error).__name__}: {error}") from error

    def replay(self, seed: int, actions: ndarray) -> tuple[Any, dict[str, Any], bool]:
        """The observation and info that the actions lead to, and whether the episode goes on.

        One that ends on the way is not the one that was recorded.
        """
        observation, info = self.reset(seed)
        for action in actions:
            observation, _, terminated, truncated, info = self.step(action)
            if terminated or truncated:
                return observation, info, False
        return observation, info, True

    def failed(self, what: str) -> EnvironmentFailure:
        """The error that says that this environment did that, and how to see it again."""
        return failure(self.number, what, seed=self.seed, step=self.steps)


def failure(number: int | str, what: str, *, seed: int, step: int) -> EnvironmentFailure:
    """The error that says which environment failed, and how to see it again.

    >>> print(failure(3, "gave the reward nan", seed=17, step=4))
    environment 3 gave the reward nan at step 4 after `reset(seed=17)`.
    """
    error = EnvironmentFailure(
        f"environment {number} {what} at step {step} after `reset(seed={seed})`."
    )
    error.environment = number if isinstance(number, int) else None
    error.seed, error.step = seed, step
    return error


def packed(x: ndarray) -> dict[str, Any]:
    """An array as JSON holds it, to the last bit.

    >>> unpacked(packed(np.array([[0.1, -np.inf]]))).tolist()
    [[0.1, -inf]]
    """
    raw = base64.b64encode(np.ascontiguousarray(x).tobytes()).decode()
    return {"dtype": x.dtype.str, "shape": list(x.shape), "base64": raw}


def unpacked(told: dict[str, Any]) -> ndarray:
    """The array that `packed` told of."""
    raw = np.frombuffer(base64.b64decode(told["base64"]), dtype=np.dtype(told["dtype"]))
    return raw.reshape(told["shape"]).copy()


def digest(x: ndarray) -> str:
    """Eight bytes that an array of other numbers does not have, as hexadecimal digits.

    >>> digest(np.zeros(2)) == digest(np.zeros(2)), digest(np.zeros(2)) == digest(np.ones(2))
    (True, False)
    """
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16]
