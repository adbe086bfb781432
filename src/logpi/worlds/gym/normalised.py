"""A source whose observations and rewards are normalised by what the run has seen so far."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy import ndarray

from logpi.core.types import Batch
from logpi.worlds.gym.normalise import RewardScale
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.recorded import packed, unpacked

__all__ = ["NormalisedSource", "rescaling"]


class _Draws(Protocol):
    def draw(self, policy: Any, iteration: int) -> Batch:
        """The batch of this iteration."""
        ...

    def state(self) -> dict[str, Any]:
        """Where the source is, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


class NormalisedSource:
    """Another source, whose observations are added to the policy's statistics after each draw.

    The batch is learned from with the statistics that it was drawn with, so every ratio begins at
    1; the next draw uses the new ones. The statistics travel with the source's state.
    """

    def __init__(self, source: _Draws, policy: GymPolicy, scale: RewardScale | None) -> None:
        """`scale` is what the source's rewards are divided by, if anything."""
        self._source, self._policy, self._scale = source, policy, scale

    def draw(self, policy: GymPolicy, iteration: int) -> Batch:
        """The batch of this iteration."""
        normaliser = self._policy.normaliser
        if normaliser is None:
            return self._source.draw(policy, iteration)
        normaliser.adopt()
        batch = self._source.draw(policy, iteration)
        normaliser.see(batch.inputs.observation[batch.mask])
        return batch

    def state(self) -> dict[str, Any]:
        """Where the source is, and what the statistics are."""
        return {"source": self._source.state(), "statistics": self._statistics()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._source.restore(state["source"])
        with torch.no_grad():
            for name, buffer in self._buffers():
                buffer.copy_(torch.from_numpy(np.asarray(unpacked(state["statistics"][name]))))

    def _statistics(self) -> dict[str, Any]:
        return {name: packed(buffer.numpy()) for name, buffer in self._buffers()}

    def _buffers(self) -> list[tuple[str, torch.Tensor]]:
        parts = {"observation": self._policy.normaliser, "reward": self._scale}
        return [
            (f"{part}.{name}", buffer)
            for part, module in parts.items()
            if module is not None
            for name, buffer in module.named_buffers()
        ]


def rescaling(scale: RewardScale) -> Any:
    """The function that a source calls with its rewards: seen first, then divided.

    >>> scaled = rescaling(RewardScale(1))(np.ones((1, 3)), np.zeros((1, 3), bool), np.ones((1, 3)))
    >>> scaled.shape
    (1, 3)
    """

    def rescale(reward: ndarray, done: ndarray, mask: ndarray) -> ndarray:
        scale.see(reward, done, mask)
        return scale(torch.from_numpy(np.ascontiguousarray(reward))).numpy()

    return rescale
