"""CPU seconds, peak memory, and when a policy reaches a mean return: the same for every side."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

__all__ = ["Judge", "Stopwatch", "peak", "watched"]


class Stopwatch:
    """CPU seconds of this process, less those that were spent on judging."""

    def __init__(self) -> None:
        """It runs."""
        self._began, self._aside = time.process_time(), 0.0

    def read(self) -> float:
        """Seconds so far."""
        return time.process_time() - self._began - self._aside

    def aside(self, what: Callable[[], float]) -> float:
        """What a function gives, whose time does not count."""
        began = time.process_time()
        found = what()
        self._aside += time.process_time() - began
        return found


class Judge:
    """The mean return of the likeliest actions, in episodes that are the same for every side."""

    def __init__(self, env: str, *, episodes: int = 20) -> None:
        """Its environment is its own."""
        self._env, self._episodes = gymnasium.make(env), episodes

    def __call__(self, act: Callable[[np.ndarray], int]) -> float:
        """Of a function from an observation to the action."""
        total = 0.0
        for seed in range(self._episodes):
            x, _ = self._env.reset(seed=10_000 + seed)
            over = False
            while not over:
                x, reward, terminated, truncated, _ = self._env.step(act(x))
                total += float(reward)
                over = terminated or truncated
        return total / self._episodes


def peak() -> float:
    """The most memory that the process held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def watched(env: Any, name: str) -> list[float]:
    """The CPU seconds, [0], that a method of an object takes from now on."""
    spent, method = [0.0], getattr(env, name)

    def timed(*told: Any) -> Any:
        began = time.process_time()
        found = method(*told)
        spent[0] += time.process_time() - began
        return found

    setattr(env, name, timed)
    return spent
