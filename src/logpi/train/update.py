"""One step of the optimizer: the surrogate's gradient, part by part, clipped and applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from logpi.core.errors import NonFiniteError
from logpi.core.recipe import Recipe
from logpi.core.surrogate import surrogate
from logpi.core.traits import traits_of
from logpi.core.types import Critic, Policy, Signals

__all__ = ["Pushed", "accumulate", "adam_step", "critic_step", "minibatches"]


@dataclass(slots=True)
class Pushed:
    """What the policy's decisions were pushed with, kept for the record: [n, t] each."""

    logp: Tensor  # under the policy just before the step; NaN where it was not computed
    coefficient: Tensor  # exactly 0 where it was known to be
    figures: dict[str, float] = field(default_factory=dict)


def accumulate(
    policy: Policy, inputs: Any, signals: Signals, weight: Tensor, *, recipe: Recipe, live: Tensor
) -> Pushed:
    """What was pushed, after −Σ weight · coefficient · ∇logp was added to the gradients.

    Raises `NonFiniteError`, naming the rows, where a log-probability or a coefficient is NaN or
    infinite.
    """
    pushed = Pushed(torch.full_like(weight, torch.nan), torch.zeros_like(weight))
    unit = signals.group if recipe.data == "pairs" else None
    regulariser = recipe.regulariser
    entropy = entropy_mass = 0.0
    for part in policy.parts(inputs, live, unit=unit, entropy=regulariser is not None):
        here, rows = live[part.rows], part.rows
        logp = part.logp.detach()
        coefficient = recipe.coefficient(signals.take(rows).having(logp=logp))
        coefficient = torch.where(here, coefficient, 0.0)
        _check_finite(rows, logp, coefficient)
        loss = surrogate(part.logp, coefficient, weight[rows])
        if regulariser is not None and part.entropy is not None:
            loss = loss - (weight[rows] * here * regulariser(part.entropy)).sum()
            entropy += float((weight[rows] * here * part.entropy.detach()).sum())
            entropy_mass += float((weight[rows] * here).sum())
        loss.backward()
        pushed.logp[rows] = torch.where(here, logp, torch.nan)
        pushed.coefficient[rows] = coefficient
    if entropy_mass:
        pushed.figures["entropy"] = entropy / entropy_mass
    return pushed


def adam_step(
    policy: Policy, optimizer: torch.optim.Optimizer, *, clip: float | None
) -> dict[str, float]:
    """The gradient's norm, after the optimizer moved along it. Gradients are 0 again afterwards.

    Raises `NonFiniteError` before anything moves where the gradient is NaN or infinite.
    """
    parameters = [p for _, p in policy.named_parameters()]
    for p in parameters:
        if p.grad is None:  # a step with gradient 0 is not the same as no step: AdamW has momentum
            p.grad = torch.zeros_like(p)
    limit = float("inf") if clip is None else clip
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True))
    if not torch.isfinite(torch.tensor(norm)):
        bad = [n for n, p in policy.named_parameters() if not p.grad.isfinite().all()]  # type: ignore[union-attr]
        optimizer.zero_grad()
        raise NonFiniteError(
            f"the gradient is {norm} (first in `{bad[0] if bad else 'the norm'}`), so the "
            f"optimizer did not move. "
            "Lower optim.lr or optim.clip, or use float32; the rows of this step are in "
            "nonfinite.jsonl."
        )
    optimizer.step()
    optimizer.zero_grad()
    return {"gradient_norm": norm}


def critic_step(
    critic: Critic, optimizer: torch.optim.Optimizer, inputs: Any, target: Tensor, weight: Tensor
) -> dict[str, float]:
    """The critic's weighted squared error; raises `NonFiniteError` before it moves."""
    loss = float(critic.loss(inputs, target, weight))
    if not torch.isfinite(torch.tensor(loss)):
        optimizer.zero_grad()
        raise NonFiniteError(
            f"the critic's loss is {loss}, so its optimizer did not move. Lower optim.critic_lr."
        )
    torch.nn.utils.clip_grad_norm_([p for _, p in critic.named_parameters()], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return {"critic_loss": loss}


def minibatches(signals: Signals, count: int, *, seed: int) -> Iterator[Tensor]:
    """Row masks [n] of `count` parts of the batch; the rows of a group stay together.

    >>> from logpi.core.examples import signals
    >>> [rows.tolist() for rows in minibatches(signals(), 1, seed=0)]
    [[True, True]]
    """
    rows = signals.mask.shape[0]
    device = signals.mask.device
    if count == 1:
        yield torch.ones(rows, dtype=torch.bool, device=device)
        return
    group = signals.group if signals.group is not None else torch.arange(rows, device=device)
    _, unit = torch.unique(group, return_inverse=True)
    units = int(unit.max()) + 1 if rows else 0
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed)).to(device)
    for chosen in torch.tensor_split(order, count):
        if len(chosen):
            yield torch.isin(unit, chosen)


def clipped(recipe: Recipe, coefficient: Tensor, credit: Tensor, live: Tensor) -> Tensor:
    """[n, t] where a decision that earned something got a coefficient of 0: ρ went too far."""
    if not traits_of(recipe.coefficient).proportional:
        return torch.zeros_like(live)
    return live & (coefficient == 0) & (credit != 0)


def _check_finite(rows: Tensor, logp: Tensor, coefficient: Tensor) -> None:
    fine = logp.isfinite().all(1) & coefficient.isfinite().all(1)
    if not fine.all():
        bad = rows[~fine].tolist()
        raise NonFiniteError(
            f"the log-probability or coefficient of {len(bad)} of {len(rows)} rows is NaN or "
            f"infinite (rows "
            f"{bad[:5]}), so the optimizer did not move. The rows are in nonfinite.jsonl."
        )
