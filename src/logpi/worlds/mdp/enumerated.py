"""Every trajectory as a row of the batch, weighed by its probability: a gradient without noise."""

from __future__ import annotations

from typing import Any

import torch

from logpi.core.types import Batch
from logpi.worlds.mdp.exact import trajectories
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["EnumeratedSource", "batch_of_trajectories"]


def batch_of_trajectories(m: FiniteMDP, policy: SoftmaxPolicy, *, horizon: int | None) -> Batch:
    """All trajectories of the policy; `weight` is p(τ), so a weighted sum is an expectation.

    Raises `ConfigError`, with the count, where there are too many.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("bandit", means=(0.0, 1.0))
    >>> batch_of_trajectories(m, TabularSoftmax(m), horizon=None).weight.tolist()
    [0.5, 0.5]
    """
    found = trajectories(m, policy, horizon=horizon)
    width = found.mask.shape[1]
    last = torch.arange(width) == (found.length - 1)[:, None]
    over = last & (found.terminated[:, None] | (horizon is not None))
    with torch.no_grad():
        logp = found.log_prob(policy.table())
    total = found.probability @ found.returns(m.discount)
    return Batch(
        inputs=found.steps,
        mask=found.mask,
        reward=found.reward,
        discount=m.discount * (~over).double(),
        end=last,
        weight=found.probability,
        logp_old=logp,
        scored=found.mask,
        facts={
            "return": float(total),
            "episode_length": float(found.probability @ found.length.double()),
        },
    )


class EnumeratedSource:
    """All trajectories, every time."""

    def __init__(self, m: FiniteMDP, *, horizon: int | None) -> None:
        """The model, and after how many decisions its task is over."""
        self._m, self._horizon = m, horizon

    def draw(self, policy: SoftmaxPolicy, iteration: int) -> Batch:
        """The trajectories, weighed by the policy as it is."""
        del iteration
        return batch_of_trajectories(self._m, policy, horizon=self._horizon)

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
