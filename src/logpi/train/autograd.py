"""The steps of an iteration by autograd: any policy, any critic, any recipe."""

from __future__ import annotations

from collections import deque

from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.recipe import Recipe
from logpi.core.seeds import mix
from logpi.core.types import TrustPolicy
from logpi.train.config import RunConfig
from logpi.train.fit import critic_gradient, fit_critic
from logpi.train.natural import natural_step
from logpi.train.observe import corrected, too_far
from logpi.train.optimizer import parameters_of
from logpi.train.trained import Trained
from logpi.train.update import Pushed, accumulate, clip_gradient, take_step
from logpi.train.work import Work, naming_rows, parts_of

__all__ = ["AutogradUpdate"]


class AutogradUpdate:
    """The surrogate, differentiated by torch: the `Update` that serves every world."""

    def __init__(self, trained: Trained, config: RunConfig) -> None:
        """Of this policy and critic."""
        self._trained, self._config = trained, config

    def learn(
        self, work: Work, recipe: Recipe, *, iteration: int
    ) -> tuple[Pushed, dict[str, float]]:
        """What was pushed of every decision, and figures, after an iteration's steps."""
        config, trained = self._config, self._trained
        whole, figures, steps = Pushed.nothing(work.weight), dict[str, float](), 0
        # The last two passes: one that ended early left what the one before it says.
        last = deque[tuple[Tensor, Pushed]](maxlen=2 * config.minibatches)
        for epoch in range(recipe.epochs):
            seed = mix(config.seed, iteration, epoch)
            parts = parts_of(work, trained.policy, config.minibatches, seed=seed)
            for rows, part in parts:
                # Fixed on the whole batch: a constant factor lets each part stand for it.
                share = part.weight * len(parts)
                of_critic = mix(config.seed, iteration, 0xC1, steps)
                with naming_rows(rows, part):
                    pushed = self._accumulate(part, share, recipe)
                    last.append((rows, pushed))
                    if too_far(recipe, part.signals, pushed.logp):
                        trained.optimizer.zero_grad()
                        break
                    figures |= pushed.figures | self._step(part, share, recipe, seed=of_critic)
                steps += 1
            else:
                continue
            break
        for rows, pushed in last:
            whole.keep(rows, pushed)
        return whole, {**figures, "steps": float(steps)}

    def _accumulate(self, work: Work, weight: Tensor, recipe: Recipe) -> Pushed:
        """What is pushed, its gradient added."""
        told = {"recipe": recipe, "live": work.live}
        return accumulate(self._trained.policy, work.inputs, work.signals, weight, **told)

    def _step(self, work: Work, weight: Tensor, recipe: Recipe, *, seed: int) -> dict[str, float]:
        """Move policy and critic, once the policy's gradient is known to be finite."""
        natural, trained = recipe.update == "natural", self._trained
        told = corrected(work.signals, recipe, weight)
        if trained.together:
            return self._step_together(work, told)
        limit = None if natural else self._config.optim.clip
        norm = clip_gradient(parameters_of(trained.optimizer), limit, what="policy")
        figures = {"gradient_norm": norm}
        if work.target is not None:
            figures |= self._fit(work, told, seed=seed)
        if not natural:
            take_step(trained.optimizer)
            return figures
        if not isinstance(trained.policy, TrustPolicy):
            raise ConfigError(
                "the natural step needs each decision's whole distribution, which this policy does "
                "not give. Take ppo, whose clipping stands for the trust region."
            )
        return figures | natural_step(
            trained.policy, work.inputs, work.signals, weight, config=self._config.natural
        )

    def _step_together(self, work: Work, weight: Tensor) -> dict[str, float]:
        """Move policy and critic along one gradient, which is clipped as one."""
        trained, optim = self._trained, self._config.optim
        assert trained.critic is not None
        assert trained.critic_optimizer is not None
        loss = critic_gradient(trained.critic, work, weight, optim)
        norm = clip_gradient(trained.parameters(), optim.clip, what="policy's and critic")
        take_step(trained.critic_optimizer)
        take_step(trained.optimizer)
        return {"gradient_norm": norm, "critic_loss": loss}

    def _fit(self, work: Work, weight: Tensor, *, seed: int) -> dict[str, float]:
        """Bring the critic nearer to its target, where it learns at all."""
        critic, optimizer = self._trained.critic, self._trained.critic_optimizer
        if critic is None or optimizer is None:
            return {}
        optim = self._config.optim
        return {"critic_loss": fit_critic(critic, optimizer, work, weight, optim=optim, seed=seed)}
