"""What an estimator pushes in each batch: a recipe as training evaluates it, or anyone's loss.

ĝ(batch) = Σ_rows Σ_t weight · coefficient · ∇log π(a_t|s_t)

Many batches are evaluated as one long one, with a group id of its own for every unit, wherever a
function looks no further than its row or group. A credit that may look across the batch is called
batch by batch, and an averaging once for each pattern of lengths.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from logpi.audit.rows import Rows
from logpi.core.errors import ConfigError, NonFiniteError
from logpi.core.recipe import Recipe
from logpi.core.traits import traits_of
from logpi.core.types import Aggregate, Signals
from logpi.worlds.mdp.exact.units import Draws

__all__ = [
    "Estimator",
    "LogProbs",
    "Loss",
    "LossEstimator",
    "Opened",
    "Push",
    "RecipeEstimator",
    "averaged",
    "credit_of",
    "looks_across_the_batch",
    "signals_of",
]

Loss = Callable[[dict[str, Tensor]], Tensor]
"""A scalar to minimise, from logp (with gradient), logp_old, logp_ref, mask, reward and group."""


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Each row's log-probabilities before the first step: of the policy, and of what drew it."""

    now: Float[Tensor, "n t"]
    old: Float[Tensor, "n t"] | None  # None where a source does not record it


@dataclass(frozen=True, slots=True)
class Push:
    """What every decision of b batches of k rows is pushed with, [b·k, t] each."""

    coefficient: Float[Tensor, "r t"]
    weight: Float[Tensor, "r t"]
    # weight · d regulariser / d entropy, where the recipe has one
    entropy_weight: Float[Tensor, "r t"] | None
    clipped: Bool[Tensor, "r t"]  # it earned something and is not pushed


class Opened(Protocol):
    """Batches whose credits are known."""

    def push(self, logp: Float[Tensor, "r t"], entropy: Float[Tensor, "r t"]) -> Push:
        """What is pushed where the policy has these log-probabilities and entropies now."""
        ...


class Estimator(Protocol):
    """A recipe, or a loss."""

    def open(self, rows: Rows, draws: Draws, known: LogProbs) -> Opened:
        """The batches, as they were drawn."""
        ...


def signals_of(rows: Rows, draws: Draws, known: LogProbs) -> Signals:
    """The facts of b batches of k rows as one of b·k rows, each unit with a group id of its own."""
    index = draws.rows.flatten()
    batches, k = draws.rows.shape
    units = int(draws.unit.max()) + 1
    group = torch.arange(batches)[:, None] * units + draws.unit
    reward = rows.reward[index]
    if draws.labelled:  # the label stands in for the return that it was drawn from
        chosen = (torch.arange(batches * k) % k == 0).double()
        reward = torch.where(rows.end[index], chosen[:, None], 0.0)
    mask = rows.mask[index]
    return Signals(
        mask=mask,
        reward=reward,
        discount=rows.discount[index],
        end=rows.end[index],
        weight=torch.full((batches * k,), 1 / k, dtype=torch.float64),
        logp=known.now[index],
        logp_old=None if known.old is None else known.old[index],
        logp_ref=rows.logp_ref[index],
        value=rows.value[index],
        next_value=rows.next_value[index],
        q=rows.q[index],
        group=group.flatten(),
        scored=mask,
        baseline=None if draws.baseline is None else draws.baseline.flatten(),
    )


def looks_across_the_batch(function: Callable[..., Any]) -> bool:
    """Whether a credit may read rows of other units: `whitened` does, and whoever is not known.

    >>> from logpi.core.credit import leave_one_out, penalised, whitened
    >>> [looks_across_the_batch(c) for c in (penalised(leave_one_out), whitened(leave_one_out))]
    [False, True]
    """
    function = inspect.unwrap(function)
    home = getattr(function, "__module__", "")
    if not home.startswith("logpi.core.") or function.__qualname__.startswith("whitened"):
        return True
    inner = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return any(looks_across_the_batch(f) for f in inner if callable(f))


# -- recipes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecipeEstimator:
    """A row of the table, evaluated as training does."""

    recipe: Recipe

    def open(self, rows: Rows, draws: Draws, known: LogProbs) -> Opened:
        """The batches with their credits and weights.

        Raises `NonFiniteError` where a credit is NaN or infinite.
        """
        recipe, k = self.recipe, draws.rows.shape[1]
        signals = signals_of(rows, draws, known)
        credit = credit_of(recipe, signals, k)
        _check_finite("credit", credit, signals.mask)
        weight = averaged(recipe.aggregate, signals.mask, k)
        return _OpenedRecipe(
            recipe, signals.having(credit=credit), weight, recipe.live(signals.mask, credit, weight)
        )


@dataclass(frozen=True, slots=True)
class _OpenedRecipe:
    recipe: Recipe
    signals: Signals
    weight: Tensor
    live: Tensor

    def push(self, logp: Tensor, entropy: Tensor) -> Push:
        recipe, live = self.recipe, self.live
        coefficient = torch.where(live, recipe.coefficient(self.signals.having(logp=logp)), 0.0)
        _check_finite("coefficient", coefficient, live)
        gone = torch.zeros_like(live)
        if traits_of(recipe.coefficient).proportional:
            gone = live & (coefficient == 0) & (self.signals.need("credit") != 0)
        slope = None
        if recipe.regulariser is not None:
            leaf = entropy.detach().requires_grad_()
            bonus = recipe.regulariser(leaf).sum()
            slope = torch.autograd.grad(bonus, leaf)[0] * self.weight * live
        return Push(coefficient, self.weight, slope, gone)


def credit_of(recipe: Recipe, signals: Signals, k: int) -> Float[Tensor, "r t"]:
    """The recipe's credit of batches of k rows each.

    >>> from logpi.core.examples import signals
    >>> from logpi.recipes import RECIPES
    >>> credit_of(RECIPES["rloo"], signals(), 2).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    if not looks_across_the_batch(recipe.credit):
        return recipe.credit(signals)
    of_batch = torch.arange(len(signals.mask)).reshape(-1, k)
    return torch.cat([recipe.credit(signals.take(rows)) for rows in of_batch])


def averaged(aggregate: Aggregate, mask: Bool[Tensor, "r t"], k: int) -> Float[Tensor, "r t"]:
    """The averaging's weights for batches of k rows, called once for each pattern of lengths.

    >>> from logpi.core.aggregate import per_token
    >>> mask = torch.tensor([[True, True], [True, False], [True, False], [True, False]])
    >>> averaged(per_token, mask, 2)[:, 0].tolist()
    [0.3333333333333333, 0.3333333333333333, 0.5, 0.5]
    """
    batches, t = len(mask) // k, mask.shape[1]
    pattern, which = np.unique(mask.reshape(batches, k * t).numpy(), axis=0, return_inverse=True)
    share = torch.full((k,), 1 / k, dtype=torch.float64)
    found = [aggregate(torch.from_numpy(p).reshape(k, t), share) for p in pattern]
    return torch.stack(found)[torch.from_numpy(which.ravel())].reshape(batches * k, t)


# -- losses ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LossEstimator:
    """Anyone's loss, called batch by batch; what it pushes is −∂loss/∂logp."""

    loss: Loss

    def open(self, rows: Rows, draws: Draws, known: LogProbs) -> Opened:
        """The batches as dictionaries of tensors, each padded to its own longest row."""
        return _OpenedLoss(self.loss, rows, draws, signals_of(rows, draws, known))


@dataclass(frozen=True, slots=True)
class _OpenedLoss:
    loss: Loss
    rows: Rows
    draws: Draws
    signals: Signals

    def push(self, logp: Tensor, entropy: Tensor) -> Push:
        del entropy
        s, (batches, k) = self.signals, self.draws.rows.shape
        width = self.rows.length[self.draws.rows].amax(1).clamp(min=1).tolist()
        pushed = torch.zeros_like(logp)
        for b in range(batches):
            here, w = slice(b * k, (b + 1) * k), width[b]
            known = {
                "logp": logp[here, :w].clone().requires_grad_(),
                "logp_old": s.need("logp_old")[here, :w].clone(),
                "logp_ref": s.need("logp_ref")[here, :w].clone(),
                "mask": s.mask[here, :w].clone(),
                "reward": self._returns(b),
                "group": self.draws.unit.clone(),
            }
            pushed[here, :w] = -_slope(self.loss, known)
        return Push(pushed * k, s.mask.double() / k, None, torch.zeros_like(s.mask))

    def _returns(self, b: int) -> Tensor:
        if self.draws.labelled:
            return torch.tensor([1.0, 0.0], dtype=torch.float64)
        return self.rows.total[self.draws.rows[b]].clone()


def _slope(loss: Loss, known: dict[str, Tensor]) -> Tensor:
    """∂loss/∂logp of one batch. Raises `ConfigError` where the loss cannot be differentiated."""
    logp, mask = known["logp"], known["mask"]
    value = loss(known)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ConfigError(
            f"the loss returned {_described(value)} but must return one number, as a tensor."
        )
    if not value.requires_grad:  # a group that teaches nothing may well return a constant
        return torch.zeros_like(logp)
    slope = torch.autograd.grad(value.sum(), logp, allow_unused=True)[0]
    if slope is None:
        return torch.zeros_like(logp)
    if not slope.isfinite().all():
        raise NonFiniteError("the loss's gradient with respect to logp is NaN or infinite.")
    if (slope[~mask] != 0).any():
        raise ConfigError(
            "the loss pushes positions after the end of a row, where `mask` is False. "
            "Multiply by the mask before averaging."
        )
    return slope


def _described(value: object) -> str:
    return f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _check_finite(name: str, x: Tensor, counted: Tensor) -> None:
    if not x[counted].isfinite().all():
        raise NonFiniteError(
            f"the {name} of some row is NaN or infinite: training would refuse such a batch too."
        )
