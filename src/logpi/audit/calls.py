"""`audit`, `sampled` and `loss`: what is called as `logpi.audit(...)`, `logpi.audit.loss(...)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from logpi.audit.enumeration import enumerated
from logpi.audit.estimators import Loss
from logpi.audit.problem import AnyWorld
from logpi.audit.report import AuditReport
from logpi.audit.sampling import sample
from logpi.audit.setup import AnyRecipe, Options, setup_of, setup_of_loss
from logpi.core.recipe import Recipe

__all__ = ["audit", "loss", "sampled"]


def audit(recipe: AnyRecipe, world: AnyWorld, **options: Unpack[Options]) -> AuditReport:
    """What a recipe's gradient is on average in a world, how biased and how noisy: exactly.

    E[ĝ] = Σ_batches p(batch) Σ weight · coefficient · ∇log π,   over all batches that can be drawn

    against the exact gradient of every named objective. `recipe` is a name of the table, a mapping
    with a name and constants, or a `Recipe` of one's own; `world` is a `logpi.MDP`, a `FiniteMDP`,
    or a model's name in the zoo. What else may be said is in `Options`. Raises `ConfigError`, with
    the count, where there is too much to enumerate: then `audit.sampled` gives the same figures
    with confidence intervals.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> report = audit("dr_grpo", bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]), group_size=2)
    >>> round(report.against("return").scalar * 3000, 6)  # (G − 1) / G, over its fixed length
    0.5
    """
    return enumerated(setup_of(recipe, world, **options))


def sampled(
    recipe: AnyRecipe | Loss,
    world: AnyWorld,
    *,
    batches: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    **options: Unpack[Options],
) -> AuditReport:
    """The same figures from `batches` batches that are drawn, with confidence intervals.

    For worlds that are too large to enumerate; exact gradients of the objectives stay exact, where
    they can be had without enumeration. The same seed gives the same report. Raises as `audit`
    does.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> arms = bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1])
    >>> low, high = sampled("rloo", arms, group_size=2, batches=500).best.intervals["scalar"]
    >>> low < 1 < high
    True
    """
    if isinstance(recipe, str | Mapping | Recipe):
        setup = setup_of(recipe, world, **options)
    else:
        setup = setup_of_loss(recipe, world, **options)
    return sample(setup, batches=batches, confidence=confidence, seed=seed)


def loss(function: Loss, world: AnyWorld, **options: Unpack[Options]) -> AuditReport:
    """The audit of anyone's loss, on all groups of the policy's own rows.

    `function` takes a dictionary of tensors for one batch of n rows of at most t decisions, logp
    [n, t] (with gradient), logp_old [n, t], logp_ref [n, t], mask [n, t], reward [n] and group [n],
    and returns a number to minimise; the estimator is −Σ ∂loss/∂logp · ∇log π. Rows are padded to
    the longest of their batch. The order of a batch's rows should not matter: one is tried.

    Raises as `audit` does, and `ConfigError` where the loss is no number or pushes the padding.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> def centred(x):
    ...     advantage = x["reward"] - x["reward"].mean()
    ...     return -(x["logp"] * x["mask"] * advantage[:, None]).sum() / len(advantage)
    >>> report = loss(centred, bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]), group_size=2)
    >>> round(report.against("return").scalar, 6)
    0.5
    """
    return enumerated(setup_of_loss(function, world, **options))
