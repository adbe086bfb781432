"""The only loop: draw, observe, credit, push, record."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import Parameter

from logpi.core.coefficient import truncated_importance
from logpi.core.derived import critic_target
from logpi.core.errors import ConfigError, NonFiniteError, RunError
from logpi.core.recipe import Recipe
from logpi.core.seeds import mix
from logpi.core.types import Batch, Critic, KeepingSource, Policy, Signals, Source, TrustPolicy
from logpi.train.config import RunConfig
from logpi.train.fit import critic_gradient, fit_critic, shares_policy
from logpi.train.natural import natural_step
from logpi.train.observe import advantage_figures, corrected, credited, kl_figures, observe
from logpi.train.optimizer import (
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    parameters_of,
    set_learning_rate,
)
from logpi.train.record import decision_records
from logpi.train.schedule import learning_rate
from logpi.train.update import (
    Pushed,
    accumulate,
    clip_gradient,
    clipped,
    take_step,
)
from logpi.train.work import Work, parts_of, rolled_up, work_of

__all__ = ["Outcome", "Trainer", "World"]


@runtime_checkable
class World(Protocol):
    """A world at work, as the loop sees it."""

    @property
    def policy(self) -> Policy:
        """What is trained."""
        ...

    @property
    def source(self) -> Source:
        """Where batches come from."""
        ...

    @property
    def critic(self) -> Critic | None:
        """What estimates values, where the recipe has a critic."""
        ...

    def reference_log_prob(self, inputs: Any) -> Tensor:
        """[n, t] log-probabilities under the frozen reference policy."""
        ...

    def describe(self, batch: Batch, row: int) -> dict[str, Any]:
        """The texts of a row for the record."""
        ...

    def evaluate(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """Figures on held-out data; empty where there is none."""
        ...

    def export(self, folder: Path) -> Path:
        """The trained policy as others load it."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one iteration left: its figures, and the records of the rows that were asked for."""

    metrics: dict[str, float]
    decisions: list[dict[str, Any]]


class Trainer:
    """One run in memory: policy, optimizers, and the iterations done."""

    def __init__(self, config: RunConfig, recipe: Recipe, world: World) -> None:
        """Make the optimizers; nothing has been drawn yet."""
        self.config, self.recipe, self.world = config, recipe, world
        self.done = 0
        self.optimizer = make_optimizer(world.policy.named_parameters(), config.optim)
        self.critic_optimizer = None
        if world.critic is not None and list(world.critic.named_parameters()):
            self.critic_optimizer = make_optimizer(
                world.critic.named_parameters(), config.optim, lr=config.critic_learning_rate
            )
        shared = shares_policy(world.critic)
        self._together = self.critic_optimizer is not None and (
            config.optim.clip_together or shared
        )
        if self._together and recipe.update == "natural":
            raise ConfigError(
                "the natural step has a trust region and shares no step with the critic: leave out "
                "optim.clip_together, and give the critic a net of its own."
            )

    def iterate(self, *, records: int = 0) -> Outcome:
        """One turn of the loop, with the records of `records` rows.

        Raises `NonFiniteError`, with the offending rows' records in `error.records`, before the
        optimizer moves on anything that is NaN or infinite.
        """
        clock = time.perf_counter()
        config, recipe, world, iteration = self.config, self.recipe, self.world, self.done
        torch.manual_seed(mix(config.seed, iteration, 0x70))
        batch = world.source.draw(world.policy, iteration)
        drawn = time.perf_counter()
        signals = observe(
            batch, recipe, world.policy, reference=world.reference_log_prob, critic=world.critic
        )
        weight = recipe.aggregate(batch.mask, batch.weight)
        try:
            signals = credited(signals, recipe)
            pushed, figures = self._learn(batch, signals, weight)
        except NonFiniteError as error:
            error.records = self._records(batch, signals, weight, None, rows=min(batch.rows, 64))
            raise
        self.done += 1
        figures |= self._figures(batch, signals, weight, pushed)
        figures |= {"seconds": time.perf_counter() - clock, "seconds_drawing": drawn - clock}
        rows = min(batch.rows, records)
        return Outcome(
            {**batch.facts, **figures},
            self._records(batch, signals, weight, pushed, rows=rows),
        )

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that training changes, by part and name, for a checkpoint."""
        parts = {
            "policy": {n: p.detach() for n, p in self.world.policy.named_parameters()},
            "optimizer": optimizer_tensors(self.optimizer),
        }
        if self.world.critic is not None and self.critic_optimizer is not None:
            parts["critic"] = {n: p.detach() for n, p in self.world.critic.named_parameters()}
            parts["critic_optimizer"] = optimizer_tensors(self.critic_optimizer)
        if isinstance(self.world.source, KeepingSource):
            parts["source"] = self.world.source.tensors()
        return parts

    def state(self) -> dict[str, Any]:
        """What of the run is no tensor, as JSON. Random numbers follow from (seed, iteration)."""
        return {"done": self.done, "source": self.world.source.state()}

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises `RunError` where it is of another model."""
        _copy(tensors["policy"], self.world.policy.named_parameters(), "policy")
        load_optimizer(self.optimizer, tensors["optimizer"])
        if self.world.critic is not None and self.critic_optimizer is not None:
            _copy(tensors["critic"], self.world.critic.named_parameters(), "critic")
            load_optimizer(self.critic_optimizer, tensors["critic_optimizer"])
        if isinstance(self.world.source, KeepingSource):
            self.world.source.load(tensors["source"])
        self.done = int(state["done"])
        self.world.source.restore(state["source"])

    def _learn(
        self, batch: Batch, signals: Signals, weight: Tensor
    ) -> tuple[Pushed, dict[str, float]]:
        recipe = _corrected(self.recipe.at(1 - self.done / self.config.iterations), batch)
        figures = {"learning_rate": self._set_learning_rates()}
        if not batch.rows:  # nothing was learned from, so AdamW's momentum rests too
            return Pushed(weight + torch.nan, torch.zeros_like(weight)), figures
        live = recipe.live(signals.mask, signals.need("credit"), weight)
        target = None if recipe.critic is None else critic_target(recipe.credit, signals)
        work = Work(batch.inputs, signals, weight, live, target)
        work = work_of(work, recipe, self.world.policy)
        whole = Pushed(torch.full_like(work.weight, torch.nan), torch.zeros_like(work.weight))
        steps, policy = 0, self.world.policy
        # The last two passes: one that ended early left what the one before it says.
        last = deque[tuple[Tensor, Pushed]](maxlen=2 * self.config.minibatches)
        for rows, part, count in self._parts(work, recipe.epochs):
            # Fixed on the whole batch: a constant factor lets each part stand for it.
            share = part.weight * count
            pushed = accumulate(
                policy, part.inputs, part.signals, share, recipe=recipe, live=part.live
            )
            last.append((rows, pushed))
            if _too_far(recipe, part.signals, pushed.logp):
                self.optimizer.zero_grad()
                break
            figures |= pushed.figures
            figures |= self._step(part, share, seed=steps)
            steps += 1
        figures["steps"] = float(steps)
        for rows, pushed in last:
            whole.keep(rows, pushed)
        whole.logp = rolled_up(whole.logp, signals.mask, empty=torch.nan)
        whole.coefficient = rolled_up(whole.coefficient, signals.mask, empty=0.0)
        return whole, figures

    def _parts(self, work: Work, epochs: int) -> Iterator[tuple[Tensor, Work, int]]:
        """Of each step the rows that it is of, its work, and how many parts make up the batch."""
        for epoch in range(epochs):
            seed = mix(self.config.seed, self.done, epoch)
            parts = parts_of(work, self.world.policy, self.config.minibatches, seed=seed)
            for rows, part in parts:
                yield rows, part, len(parts)

    def _step(self, work: Work, weight: Tensor, *, seed: int) -> dict[str, float]:
        """Move policy and critic, once the policy's gradient is known to be finite."""
        natural, policy = self.recipe.update == "natural", self.world.policy
        if self._together:
            return self._step_together(work, corrected(work.signals, self.recipe, weight))
        limit = None if natural else self.config.optim.clip
        norm = clip_gradient(parameters_of(self.optimizer), limit, what="policy")
        figures = {"gradient_norm": norm}
        if work.target is not None:
            told = corrected(work.signals, self.recipe, weight)
            figures |= self._fit(work, told, seed=seed)
        if not natural:
            take_step(self.optimizer)
            return figures
        if not isinstance(policy, TrustPolicy):
            raise ConfigError(
                "the natural step needs each decision's whole distribution, which this policy does "
                "not give. Take ppo, whose clipping stands for the trust region."
            )
        return figures | natural_step(
            policy, work.inputs, work.signals, weight, config=self.config.natural
        )

    def _step_together(self, work: Work, weight: Tensor) -> dict[str, float]:
        """Move policy and critic along one gradient, which is clipped as one."""
        critic, optim = self.world.critic, self.config.optim
        assert critic is not None
        assert self.critic_optimizer is not None
        loss = critic_gradient(critic, work, weight, optim)
        both = parameters_of(self.optimizer)
        both += [(f"critic.{name}", p) for name, p in parameters_of(self.critic_optimizer)]
        norm = clip_gradient(both, optim.clip, what="policy's and critic")
        take_step(self.critic_optimizer)
        take_step(self.optimizer)
        return {"gradient_norm": norm, "critic_loss": loss}

    def _fit(self, work: Work, weight: Tensor, *, seed: int) -> dict[str, float]:
        """Bring the critic nearer to its target, where it learns at all."""
        critic, optimizer = self.world.critic, self.critic_optimizer
        if critic is None or optimizer is None:
            return {}
        optim = self.config.optim
        seed = mix(self.config.seed, self.done, 0xC1, seed) if optim.critic_minibatches > 1 else 0
        return {"critic_loss": fit_critic(critic, optimizer, work, weight, optim=optim, seed=seed)}

    def _set_learning_rates(self) -> float:
        config, optim = self.config, self.config.optim
        done, count = self.done, config.iterations
        if self.critic_optimizer is not None:
            base = config.critic_learning_rate
            rate = learning_rate(done, count, base=base, decay=optim.critic_decay)
            set_learning_rate(self.critic_optimizer, rate)
        rate = learning_rate(
            done, count, base=config.learning_rate, warmup=optim.warmup, decay=optim.decay
        )
        set_learning_rate(self.optimizer, rate)
        return rate

    def _figures(
        self, batch: Batch, signals: Signals, weight: Tensor, pushed: Pushed
    ) -> dict[str, float]:
        credit = signals.need("credit")
        recipe = self.recipe
        decisions = int(batch.mask.sum())
        live = recipe.live(batch.mask, credit, weight)
        figures = {
            "rows": float(batch.rows),
            "decisions": float(decisions),
            "skipped": 1 - float(live.sum()) / max(decisions, 1),
            "clipped": float(clipped(recipe, pushed.coefficient, credit, live).sum())
            / max(decisions, 1),
            "coefficient_norm": float((weight * pushed.coefficient).norm()),
        }
        if batch.logp_old is not None and "entropy" not in pushed.figures:
            # −logp of what was sampled: an unbiased estimate of the entropy of a row, per decision.
            nats = -torch.where(batch.mask, batch.logp_old, 0.0).sum()
            figures["entropy"] = float(nats / max(decisions, 1))
        if not batch.rows:
            return figures
        if recipe.data == "demonstrations":
            figures["nll"] = float(-(weight * pushed.logp.nan_to_num(0.0)).sum() / weight.sum())
        if recipe.data == "pairs":
            figures |= _pair_figures(signals, pushed)
        return figures | kl_figures(signals, pushed.logp) | advantage_figures(signals, weight)

    def _records(
        self, batch: Batch, signals: Signals, weight: Tensor, pushed: Pushed | None, *, rows: int
    ) -> list[dict[str, Any]]:
        if not rows:
            return []
        if pushed is None:
            nothing = torch.full_like(weight, torch.nan)
            pushed = Pushed(nothing, nothing)
        records = decision_records(
            batch,
            signals,
            weight,
            pushed=pushed,
            recipe=self.recipe,
            rows=list(range(rows)),
            describe=self.world.describe,
        )
        return [{"iteration": self.done, **record} for record in records]


def _pair_figures(signals: Signals, pushed: Pushed) -> dict[str, float]:
    """How often the chosen row of a pair is the likelier one, and by how many nats."""
    from_reference = pushed.logp if signals.logp_ref is None else pushed.logp - signals.logp_ref
    row = torch.where(signals.mask, from_reference.nan_to_num(0.0), 0.0).sum(1)
    sign = signals.need("credit")[:, 0] if signals.mask.shape[1] else row
    margins: dict[int, float] = {}
    for group, value in zip(signals.need("group").tolist(), (sign * row).tolist(), strict=True):
        margins[group] = margins.get(group, 0.0) + value
    count = max(len(margins), 1)
    return {
        "margin": sum(margins.values()) / count,
        "preferred": sum(m > 0 for m in margins.values()) / count,
    }


def _too_far(recipe: Recipe, signals: Signals, logp: Tensor) -> bool:
    """Whether the policy has left its sampler farther behind than the recipe allows."""
    return recipe.target_kl is not None and (
        kl_figures(signals, logp).get("kl_old", 0.0) > recipe.target_kl
    )


def _corrected(recipe: Recipe, batch: Batch) -> Recipe:
    """The recipe, its coefficient times the kept mass where sampling was cut."""
    if batch.logp_sampler is None:
        return recipe
    return replace(recipe, coefficient=truncated_importance(recipe.coefficient))


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
