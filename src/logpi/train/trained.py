"""What a run moves: policy and critic, each with its optimizer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from logpi.core.errors import ConfigError, RunError
from logpi.core.recipe import Recipe
from logpi.core.types import Critic, Policy
from logpi.train.config import RunConfig
from logpi.train.fit import shares_policy
from logpi.train.optimizer import (
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    parameters_of,
    set_learning_rate,
)
from logpi.train.schedule import learning_rate

__all__ = ["Trained"]


class Trained:
    """Policy, critic and their optimizers, as the configuration wants them.

    `together` says that one gradient moves both. Raises `ConfigError` where that cannot be.
    """

    def __init__(
        self, policy: Policy, critic: Critic | None, config: RunConfig, recipe: Recipe
    ) -> None:
        """Make the optimizers; nothing has moved yet."""
        self.policy, self.critic, self._config = policy, critic, config
        self.optimizer = make_optimizer(policy.named_parameters(), config.optim)
        self.critic_optimizer: torch.optim.AdamW | None = None
        if critic is not None and list(critic.named_parameters()):
            self.critic_optimizer = make_optimizer(
                critic.named_parameters(), config.optim, lr=config.critic_learning_rate
            )
        self.together = self.critic_optimizer is not None and (
            config.optim.clip_together or shares_policy(critic)
        )
        if self.together and recipe.update == "natural":
            raise ConfigError(
                "the natural step has a trust region and shares no step with the critic: leave out "
                "optim.clip_together, and give the critic a net of its own."
            )

    def parameters(self) -> list[tuple[str, Parameter]]:
        """What both optimizers move, by name; the critic's names say whose they are."""
        critic = [] if self.critic_optimizer is None else parameters_of(self.critic_optimizer)
        return parameters_of(self.optimizer) + [(f"critic.{name}", p) for name, p in critic]

    def set_learning_rates(self, done: int) -> float:
        """The policy's learning rate after so many iterations; both optimizers now have theirs."""
        config, optim = self._config, self._config.optim
        count = config.iterations
        if self.critic_optimizer is not None:
            base = config.critic_learning_rate
            rate = learning_rate(done, count, base=base, decay=optim.critic_decay)
            set_learning_rate(self.critic_optimizer, rate)
        rate = learning_rate(
            done, count, base=config.learning_rate, warmup=optim.warmup, decay=optim.decay
        )
        set_learning_rate(self.optimizer, rate)
        return rate

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that training changes, by part and name, for a checkpoint."""
        parts = {
            "policy": {n: p.detach() for n, p in self.policy.named_parameters()},
            "optimizer": optimizer_tensors(self.optimizer),
        }
        if self.critic is not None and self.critic_optimizer is not None:
            parts["critic"] = {n: p.detach() for n, p in self.critic.named_parameters()}
            parts["critic_optimizer"] = optimizer_tensors(self.critic_optimizer)
        return parts

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Go on from a checkpoint. Raises `RunError` where it is of another model."""
        _copy(tensors["policy"], self.policy.named_parameters(), "policy")
        load_optimizer(self.optimizer, tensors["optimizer"])
        if self.critic is not None and self.critic_optimizer is not None:
            _copy(tensors["critic"], self.critic.named_parameters(), "critic")
            load_optimizer(self.critic_optimizer, tensors["critic_optimizer"])


def _copy(
    stored: dict[str, Tensor], parameters: Iterable[tuple[str, Parameter]], what: str
) -> None:
    known = dict(parameters)
    if wrong := sorted(set(stored) ^ set(known)):
        raise RunError(
            f"the checkpoint's {what} has other parameters than this one (`{wrong[0]}`, "
            f"{len(wrong)} in all). Resume with the model that the run began with."
        )
    with torch.no_grad():
        for name, parameter in known.items():
            if stored[name].shape != parameter.shape:
                raise RunError(
                    f"the checkpoint's `{name}` is {list(stored[name].shape)} but the {what}'s is "
                    f"{list(parameter.shape)}. Resume with the model that the run began with."
                )
            parameter.copy_(stored[name])
