"""One step of the optimizer: the surrogate's gradient, part by part, clipped and applied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from logpi.core.errors import NonFiniteError
from logpi.core.recipe import Recipe
from logpi.core.surrogate import surrogate
from logpi.core.traits import traits_of
from logpi.core.types import Policy, Signals
from logpi.train.flat import whole_vectors

__all__ = [
    "Pushed",
    "accumulate",
    "check_finite",
    "clip_gradient",
    "clipped",
    "minibatches",
    "partition",
    "take_step",
]


@dataclass(slots=True)
class Pushed:
    """What the policy's decisions were pushed with, kept for the record: [n, t] each."""

    logp: Tensor  # under the policy just before the step; NaN where it was not computed
    coefficient: Tensor  # exactly 0 where it was known to be
    figures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def nothing(cls, like: Tensor) -> Pushed:
        """Of as many decisions: nothing was computed, and nothing pushed.

        >>> Pushed.nothing(torch.ones(1, 1)).coefficient.tolist()
        [[0.0]]
        """
        return cls(torch.full_like(like, torch.nan), torch.zeros_like(like))

    @classmethod
    def unknown(cls, like: Tensor) -> Pushed:
        """Of as many decisions: what they were pushed with is not known.

        >>> Pushed.unknown(torch.ones(1, 1)).coefficient.tolist()
        [[nan]]
        """
        return cls(torch.full_like(like, torch.nan), torch.full_like(like, torch.nan))

    def keep(self, rows: Tensor, part: Pushed) -> None:
        """Write down what was pushed of these rows; `part` is of them alone, or of all."""
        here = slice(None) if len(part.logp) == len(rows) else rows
        self.logp[rows], self.coefficient[rows] = part.logp[here], part.coefficient[here]


def accumulate(
    policy: Policy, inputs: Any, signals: Signals, weight: Tensor, *, recipe: Recipe, live: Tensor
) -> Pushed:
    """What was pushed, after −Σ weight · coefficient · ∇logp was added to the gradients.

    Raises `NonFiniteError`, naming the rows, where a log-probability or a coefficient is NaN or
    infinite.
    """
    pushed = Pushed.nothing(weight)
    unit = signals.group if recipe.data == "pairs" else None
    regulariser = recipe.regulariser
    entropy = entropy_mass = 0.0
    for part in policy.parts(inputs, live, unit=unit, entropy=regulariser is not None):
        rows = part.rows
        here, share, logp = live[rows], weight[rows], part.logp.detach()
        facts = signals.take(rows).having(logp=logp)
        coefficient = torch.where(here, recipe.coefficient(facts), 0.0)
        check_finite(rows, logp, coefficient)
        loss = surrogate(part.logp, coefficient, share)
        if regulariser is not None and part.entropy is not None:
            counted = share * here
            loss = loss - (counted * regulariser(part.entropy)).sum()
            entropy += float((counted * part.entropy.detach()).sum())
            entropy_mass += float(counted.sum())
        loss.backward()
        pushed.logp[rows] = torch.where(here, logp, torch.nan)
        pushed.coefficient[rows] = coefficient
    if entropy_mass:
        pushed.figures["entropy"] = entropy / entropy_mass
    return pushed


def clip_gradient(
    parameters: Iterable[tuple[str, Parameter]], clip: float | None, *, what: str
) -> float:
    """The norm of the whole gradient, which is then at most `clip` long.

    A parameter that nothing reached gets a gradient of 0: a step along 0 is not the same as no
    step, since AdamW has momentum. Raises `NonFiniteError` where the gradient is NaN or infinite;
    then all of it is gone, and no optimizer has moved.
    """
    named = dict(parameters)
    for p in named.values():
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    norm = _clip([p.grad for p in named.values() if p.grad is not None], clip)
    if not math.isfinite(norm):
        bad = [n for n, p in named.items() if p.grad is not None and not p.grad.isfinite().all()]
        for p in named.values():
            p.grad = None
        raise NonFiniteError(
            f"the {what}'s gradient is {norm} (first in `{bad[0] if bad else 'its norm'}`), so the "
            "optimizer did not move. Lower optim.lr, optim.critic_lr or optim.clip, or use "
            "float32."
        )
    return norm


def _clip(gradients: list[Tensor], clip: float | None) -> float:
    """The norm of all of these, which are then at most `clip` long together."""
    vectors = whole_vectors(gradients)
    norm = math.nan if vectors is None else math.sqrt(sum(float(v.dot(v)) for v in vectors))
    if vectors is None or not math.isfinite(norm):  # it may be the square alone that is not
        norm = float(torch.nn.utils.get_total_norm(gradients, foreach=True))
    if clip is not None and norm > clip:
        for gradient in vectors or gradients:
            gradient.mul_(clip / (norm + 1e-6))
    return norm


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Move along the gradients, which are 0 again afterwards."""
    optimizer.step()
    optimizer.zero_grad()


def minibatches(signals: Signals, count: int, *, seed: int) -> Iterator[Tensor]:
    """Row masks [n] of `count` parts of the batch; the rows of a group stay together.

    >>> from logpi.core.examples import signals
    >>> [rows.tolist() for rows in minibatches(signals(), 1, seed=0)]
    [[True, True]]
    """
    rows = signals.mask.shape[0]
    for chosen in partition(signals, count, seed=seed):
        here = torch.zeros(rows, dtype=torch.bool, device=chosen.device)
        here[chosen] = True
        yield here


def partition(signals: Signals, count: int, *, seed: int) -> list[Tensor]:
    """The rows of each of those parts, by their numbers.

    >>> from logpi.core.examples import signals
    >>> [rows.tolist() for rows in partition(signals(), 1, seed=0)]
    [[0, 1]]
    """
    rows, device = signals.mask.shape[0], signals.mask.device
    if count == 1:
        return [torch.arange(rows, device=device)]
    unit, units = None, rows
    if signals.group is not None:
        _, unit = torch.unique(signals.group, return_inverse=True)
        units = int(unit.max()) + 1 if rows else 0
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed)).to(device)
    parts = torch.tensor_split(order, count)[:units]
    if unit is None:
        return list(parts)
    part = torch.empty_like(order)
    for k, chosen in enumerate(parts):
        part[chosen] = k
    return [(part[unit] == k).nonzero()[:, 0] for k in range(len(parts))]


def clipped(recipe: Recipe, coefficient: Tensor, credit: Tensor, live: Tensor) -> Tensor:
    """[n, t] where a decision that earned something got a coefficient of 0: ρ went too far."""
    if not traits_of(recipe.coefficient).proportional:
        return torch.zeros_like(live)
    return live & (coefficient == 0) & (credit != 0)


def check_finite(rows: Tensor, logp: Tensor, coefficient: Tensor) -> None:
    """Raise `NonFiniteError`, naming the rows, where one of these [k, t] is NaN or infinite.

    >>> check_finite(torch.arange(1), torch.zeros(1, 1), torch.ones(1, 1))
    """
    if math.isfinite(float((logp + coefficient).sum())):  # NaN and infinity stay in a sum
        return
    fine = logp.isfinite().all(1) & coefficient.isfinite().all(1)
    if not fine.all():
        bad = rows[~fine].tolist()
        raise NonFiniteError(
            f"the log-probability or coefficient of {len(bad)} of {len(rows)} rows is NaN or "
            f"infinite (rows {bad[:5]}), so the optimizer did not move.",
            bad,
        )
