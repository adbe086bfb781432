"""How well a policy does: the returns of episodes that are played greedily."""

from __future__ import annotations

from typing import Protocol

from logpi.core.seeds import mix
from logpi.worlds.gym.episodes import likeliest, play
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.rollout import randomness
from logpi.worlds.gym.vector import Vector

__all__ = ["Measure"]


class _Opens(Protocol):
    @property
    def evaluate_episodes(self) -> int:
        """How many episodes an evaluation plays, unless it is told."""
        ...

    def vector(self, *, seed: int, num_envs: int | None = None, one_by_one: bool = False) -> Vector:
        """The environments, opened."""
        ...


class Measure:
    """Plays whole episodes in environments of its own, from reset seeds that training never saw."""

    def __init__(self, world: _Opens, policy: GymPolicy, *, seed: int) -> None:
        """The policy is read anew at every call, its statistics as they are in use."""
        self._world, self._policy, self._seed = world, policy, seed

    def __call__(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """Mean, spread, least and most of the returns of `examples` episodes, and their length.

        The likeliest action is taken; with `samples` above 1 actions are drawn.
        """
        count = examples or self._world.evaluate_episodes
        vector = self._world.vector(
            seed=mix(self._seed, 0xE7A1), num_envs=min(count, 16), one_by_one=True
        )
        seeds = [mix(self._seed, 0xE7A2, i) % 2**31 for i in range(count)]
        try:
            drawn = (self._policy.sampler(), self._policy.to_env)
            decide = likeliest(self._policy) if samples == 1 else drawn
            found = play(vector, decide, seeds, randomness(self._seed, 0xE7A3))
        finally:
            vector.close()
        total = found.reward.sum(1)
        return {
            "return": float(total.mean()),
            "return_std": float(total.std()),
            "return_least": float(total.min()),
            "return_most": float(total.max()),
            "episode_length": float(found.length.mean()),
        }
