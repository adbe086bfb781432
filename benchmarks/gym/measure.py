"""CPU seconds, peak memory, and when a policy is good enough: the same for every side."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from benchmarks.gym.lines import LINES, Line

__all__ = ["Judge", "Stopwatch", "answer", "watched"]

EVERY = 5  # iterations between two looks at the policy
GOAL = 475  # the mean return that is good enough


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
    """Looks at a policy now and then, in episodes that are the same for every side."""

    def __init__(self, env: str, *, episodes: int = 20) -> None:
        """Its environment is its own."""
        self._env, self._episodes = gymnasium.make(env), episodes

    def content(self, done: int, watch: Stopwatch, act: Callable[[np.ndarray], int]) -> bool:
        """Whether the policy is looked at after so many iterations, and is good enough."""
        return done % EVERY == 0 and watch.aside(lambda: self.mean_return(act)) >= GOAL

    def mean_return(self, act: Callable[[np.ndarray], int]) -> float:
        """Of a function from an observation to the likeliest action."""
        total = 0.0
        for seed in range(self._episodes):
            x, _ = self._env.reset(seed=10_000 + seed)
            over = False
            while not over:
                x, reward, terminated, truncated, _ = self._env.step(act(x))
                total += float(reward)
                over = terminated or truncated
        return total / self._episodes


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


Side = Callable[[Line, int], dict[str, Any]]
"""What one side measures of a line, with a seed."""


def answer(timed: Side, learned: Side) -> None:
    """Print what a side says of the line and seed that its process was started with."""
    line, seed = LINES[sys.argv[1]], int(sys.argv[2])
    found = timed(line, seed) if line.learn is None else learned(line, seed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # MB, the most it held
    print(json.dumps({**found, "memory": memory}))
