"""The detached facts of a batch: what credits and coefficients may read, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from logpi.core.derived import credit_and_target
from logpi.core.errors import NonFiniteError
from logpi.core.recipe import Recipe
from logpi.core.traits import traits_of
from logpi.core.types import Batch, Credit, Critic, Policy, Signals

__all__ = [
    "corrected",
    "credited",
    "critic_figures",
    "judged",
    "kl_figures",
    "observe",
    "too_far",
]


def observe(
    batch: Batch,
    recipe: Recipe,
    policy: Policy,
    *,
    reference: Callable[[Any], Tensor],
    critic: Critic | None,
) -> Signals:
    """The signals of a batch: whatever the recipe reads, and nothing else is computed.

    Log-probabilities recorded when sampling are never computed again: on the first step after
    sampling the policy is the sampler, so `logp` is `logp_old`.
    """
    signals = Signals.of(batch)
    if "logp" in traits_of(recipe.credit).reads or recipe.data == "replay":
        known = batch.logp_old if recipe.data != "replay" else None
        signals = signals.having(logp=policy.log_prob(batch.inputs) if known is None else known)
    if "logp_ref" in recipe.reads:
        signals = signals.having(logp_ref=reference(batch.inputs))
    if recipe.critic == "v" and critic is not None:
        value, next_value = critic.values(batch.inputs)
        signals = signals.having(value=value, next_value=next_value)
    if recipe.critic == "q" and critic is not None:
        q, next_value = critic.values(batch.inputs)
        signals = signals.having(q=q, next_value=next_value)
    return signals


def corrected(signals: Signals, recipe: Recipe, weight: Tensor) -> Tensor:
    """[n, t] how much each decision counts in the critic's fit: ρ · weight on replayed data.

    Rows of another policy show that policy's successors; ρ makes them this one's on average
    (Off-PAC, arXiv 1205.4839, section 2.2). A credit with a target of its own, such as V-trace,
    has ρ inside.
    """
    if recipe.data != "replay" or _has_own_target(recipe.credit):
        return weight
    gap = torch.where(signals.mask, signals.need("logp") - signals.need("logp_old"), 0.0)
    return weight * gap.exp()


def credited(signals: Signals, recipe: Recipe) -> Signals:
    """The signals with the recipe's credit; raises `NonFiniteError` where one is not finite."""
    return judged(signals, recipe, critic=False)[0]


def judged(signals: Signals, recipe: Recipe, *, critic: bool) -> tuple[Signals, Tensor | None]:
    """The same, and what a critic, if there is one, is to be fitted to."""
    _check("reward", signals.reward, signals.mask)
    if critic:
        credit, target = credit_and_target(recipe.credit, signals)
    else:
        credit, target = recipe.credit(signals), None
    _check("credit", credit, signals.mask)
    return signals.having(credit=credit), target


def _has_own_target(credit: Credit) -> bool:
    known = traits_of(credit)
    if known.made_of is not None:
        return _has_own_target(known.made_of[0])
    return known.target is not None


def _check(name: str, x: Tensor, mask: Tensor) -> None:
    if math.isfinite(float(x.sum())):  # NaN and infinity stay in a sum
        return
    bad = (mask & ~x.isfinite()).any(1).nonzero()[:, 0].tolist()
    if bad:
        raise NonFiniteError(
            f"the {name} of rows {bad[:5]} is NaN or infinite, so the optimizer did not move.", bad
        )


def critic_figures(signals: Signals, target: Tensor | None, weight: Tensor) -> dict[str, float]:
    """How well the critic knew its target: 1 − Var(target − estimate) / Var(target), weighted."""
    estimate = signals.value if signals.q is None else signals.q
    if estimate is None or target is None:
        return {}
    mass = weight.sum().clamp(min=1e-30)

    def variance(x: Tensor) -> Tensor:
        mean = (weight * x).sum() / mass
        return (weight * (x - mean) ** 2).sum() / mass

    spread = variance(target)
    if not spread > 0:
        return {}
    return {"explained_variance": float(1 - variance(target - estimate) / spread)}


def kl_figures(signals: Signals, logp: Tensor) -> dict[str, float]:
    """KL to the reference and from the sampling policy, per decision, estimated by k3."""
    seen = signals.mask & ~logp.isnan()
    figures: dict[str, float] = {}
    count = seen.sum().clamp(min=1)

    def mean(x: Tensor) -> float:
        return float(torch.where(seen, x, 0.0).sum() / count)

    if signals.logp_ref is not None:
        gap = signals.logp_ref - logp
        figures["kl_reference"] = mean(torch.expm1(gap) - gap)
    if signals.logp_old is not None:
        gap = signals.logp_old - logp
        figures["kl_old"] = mean(torch.expm1(-gap) + gap)
    return figures


def too_far(recipe: Recipe, signals: Signals, logp: Tensor) -> bool:
    """Whether the policy has left its sampler farther behind than the recipe allows."""
    return recipe.target_kl is not None and (
        kl_figures(signals, logp).get("kl_old", 0.0) > recipe.target_kl
    )
