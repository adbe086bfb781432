"""The critic's part of a step: the gradient of its squared error, and steps along it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.core.types import Critic
from logpi.train.optimizer import parameters_of
from logpi.train.sections import OptimConfig
from logpi.train.update import clip_gradient, minibatches, take_step
from logpi.train.work import Work

__all__ = ["AnchoredCritic", "critic_gradient", "fit_critic", "shares_policy"]


@runtime_checkable
class AnchoredCritic(Critic, Protocol):
    """A critic that can keep its values near where a batch found them."""

    def loss_near(
        self, inputs: Any, target: Tensor, weight: Tensor, *, before: Tensor, reach: float
    ) -> Tensor:
        """As `loss`, of the decisions whose value is `within_reach` of what it was before."""
        ...


def shares_policy(critic: Critic | None) -> bool:
    """Whether the critic's loss reaches the policy's parameters too: one step moves both."""
    return bool(getattr(critic, "shares_policy", False))


def critic_gradient(critic: Critic, work: Work, weight: Tensor, optim: OptimConfig) -> float:
    """The critic's loss, after the gradient of `critic_weight` times it was added to the critic's.

    Raises `ConfigError` where its values are to be clipped and it does not know how.
    """
    assert work.target is not None
    scaled = weight if optim.critic_weight == 1 else weight * optim.critic_weight
    if optim.value_clip is None:
        loss = critic.loss(work.inputs, work.target, scaled)
    elif not isinstance(critic, AnchoredCritic):
        raise ConfigError(
            "this world's critic cannot keep its values near what they were: leave out "
            "optim.value_clip, which environments have."
        )
    else:
        before = work.signals.value if work.signals.q is None else work.signals.q
        assert before is not None
        loss = critic.loss_near(
            work.inputs, work.target, scaled, before=before, reach=optim.value_clip
        )
    return float(loss) / optim.critic_weight


def fit_critic(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    work: Work,
    weight: Tensor,
    *,
    optim: OptimConfig,
    seed: int,
) -> float:
    """The loss of the last of the critic's own steps; none where its gradient is not finite."""
    loss, count = 0.0, optim.critic_minibatches
    for k in range(optim.critic_steps):
        for share in _shares(work, weight, count, seed=mix(seed, k)):
            loss = critic_gradient(critic, work, share, optim)
            clip_gradient(parameters_of(optimizer), optim.clip, what="critic")
            take_step(optimizer)
    return loss


def _shares(work: Work, weight: Tensor, count: int, *, seed: int) -> Iterator[Tensor]:
    """The weights of each step of a pass, 0 where another one reads."""
    if count == 1:
        yield weight
        return
    for rows in minibatches(work.signals, count, seed=seed):
        yield weight * rows[:, None] * count
