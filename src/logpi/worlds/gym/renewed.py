"""Environments whose reset leaves something of the last episode: made anew for each one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

__all__ = ["KEEPS", "Renewed"]

KEEPS = frozenset({"BipedalWalker-v3", "BipedalWalkerHardcore-v3"})
"""Those of Gymnasium. Their Box2D world outlives the reset, and numbers its bodies and contacts on:
the same seed and the same actions then lead elsewhere, by the last digits at first."""


class Renewed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that every reset but the first makes anew, so that each episode is its seed's.

    >>> from gymnasium.envs.classic_control.cartpole import CartPoleEnv
    >>> env = Renewed(CartPoleEnv)
    >>> before = env.unwrapped
    >>> env.reset(seed=0)[0].shape, env.unwrapped is before
    ((4,), True)
    >>> env.reset(seed=1)[0].shape, env.unwrapped is before
    ((4,), False)
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        """`make` makes one environment."""
        super().__init__(make())
        self._make, self._used = make, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The first observation of the episode that `seed` decides, and its info."""
        if self._used:
            self.env.close()
            self.env = self._make()
        self._used = True
        return self.env.reset(seed=seed, options=options)
