"""The only loop: draw, observe, credit, push, record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from logpi.core.coefficient import truncated_importance
from logpi.core.errors import NonFiniteError
from logpi.core.pairs import pair_figures
from logpi.core.recipe import Recipe
from logpi.core.seeds import mix, seed_torch
from logpi.core.types import Batch, Critic, KeepingSource, Policy, Signals, Source
from logpi.train.autograd import AutogradUpdate
from logpi.train.closed import closed_update
from logpi.train.config import RunConfig
from logpi.train.observe import critic_figures, judged, kl_figures, observe
from logpi.train.record import decision_records
from logpi.train.trained import Trained
from logpi.train.update import Pushed, clipped
from logpi.train.work import Update, Work, rolled_up, work_of

__all__ = ["Outcome", "Trainer", "World"]

_DUMPED = 64  # rows at most that are told of where something is not finite


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
        self.trained = Trained(world.policy, world.critic, config, recipe)

    def iterate(self, *, records: int = 0) -> Outcome:
        """One turn of the loop, with the records of `records` rows.

        Raises `NonFiniteError`, with the offending rows' records in `error.records`, before the
        optimizer moves on anything that is NaN or infinite.
        """
        clock = time.perf_counter()
        config, recipe, world, iteration = self.config, self.recipe, self.world, self.done
        seed_torch(mix(config.seed, iteration, 0x70))
        batch = world.source.draw(world.policy, iteration)
        drawn = time.perf_counter()
        signals = observe(
            batch, recipe, world.policy, reference=world.reference_log_prob, critic=world.critic
        )
        weight = recipe.aggregate(batch.mask, batch.weight)
        try:
            signals, target = judged(signals, recipe, critic=recipe.critic is not None)
            pushed, figures = self._learn(batch, signals, weight, target)
        except NonFiniteError as error:
            rows = range(batch.rows) if error.rows is None else error.rows
            unknown = Pushed.unknown(weight)
            error.records = self._records(batch, signals, weight, unknown, rows=rows[:_DUMPED])
            raise
        figures |= self._figures(batch, signals, weight, pushed)
        figures |= critic_figures(signals, target, weight)
        figures |= {"seconds": time.perf_counter() - clock, "seconds_drawing": drawn - clock}
        told = self._records(batch, signals, weight, pushed, rows=range(batch.rows)[:records])
        self.done += 1
        return Outcome({**batch.facts, **figures}, told)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that training changes, by part and name, for a checkpoint."""
        parts = self.trained.tensors()
        if isinstance(self.world.source, KeepingSource):
            parts["source"] = self.world.source.tensors()
        return parts

    def state(self) -> dict[str, Any]:
        """What of the run is no tensor, as JSON. Random numbers follow from (seed, iteration)."""
        return {"done": self.done, "source": self.world.source.state()}

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises `RunError` where it is of another model."""
        self.trained.load(tensors)
        if isinstance(self.world.source, KeepingSource):
            self.world.source.load(tensors["source"])
        self.done = int(state["done"])
        self.world.source.restore(state["source"])

    def _learn(
        self, batch: Batch, signals: Signals, weight: Tensor, target: Tensor | None
    ) -> tuple[Pushed, dict[str, float]]:
        recipe = _corrected(self.recipe.at(1 - self.done / self.config.iterations), batch)
        figures = {"learning_rate": self.trained.set_learning_rates(self.done)}
        if not batch.rows:  # nothing was learned from, so AdamW's momentum rests too
            return Pushed.nothing(weight), figures
        live = recipe.live(signals.mask, signals.need("credit"), weight)
        work = Work(batch.inputs, signals, weight, live, target)
        work = work_of(work, recipe, self.world.policy)
        try:
            pushed, found = self._update(work, recipe).learn(work, recipe, iteration=self.done)
        except NonFiniteError as error:
            error.rows = _rows_of(work, error.rows, signals.mask)
            raise
        pushed.logp = rolled_up(pushed.logp, signals.mask, empty=torch.nan)
        pushed.coefficient = rolled_up(pushed.coefficient, signals.mask, empty=0.0)
        return pushed, figures | found

    def _update(self, work: Work, recipe: Recipe) -> Update:
        """In closed form where the world knows one, else by autograd."""
        found = closed_update(self.world, self.trained, work, recipe, self.config)
        return AutogradUpdate(self.trained, self.config) if found is None else found

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
            figures |= pair_figures(recipe.coefficient, signals.having(logp=pushed.logp))
        return figures | kl_figures(signals, pushed.logp)

    def _records(
        self,
        batch: Batch,
        signals: Signals,
        weight: Tensor,
        pushed: Pushed,
        *,
        rows: Sequence[int],
    ) -> list[dict[str, Any]]:
        if not rows:
            return []
        records = decision_records(
            batch,
            signals,
            weight,
            pushed=pushed,
            recipe=self.recipe,
            rows=list(rows),
            describe=self.world.describe,
        )
        return [{"iteration": self.done + 1, **record} for record in records]


def _rows_of(work: Work, rows: Sequence[int] | None, mask: Tensor) -> list[int]:
    """The batch's rows, of which these are in the work: the same, or those of its decisions."""
    chosen = torch.zeros_like(work.live)
    chosen[list(range(len(chosen)) if rows is None else rows)] = True
    return rolled_up(chosen, mask, empty=False).any(1).nonzero()[:, 0].tolist()


def _corrected(recipe: Recipe, batch: Batch) -> Recipe:
    """The recipe, its coefficient times the kept mass where sampling was cut."""
    if batch.logp_sampler is None:
        return recipe
    return replace(recipe, coefficient=truncated_importance(recipe.coefficient))
