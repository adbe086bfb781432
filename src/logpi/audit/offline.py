"""Claims about rows that were filtered, cut, compared in pairs, or drawn by another policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from logpi.audit.calls import audit
from logpi.audit.claim import Claims, Numbers
from logpi.audit.critics import exact_values
from logpi.audit.estimators import RecipeEstimator
from logpi.audit.models import chain, questions, texts
from logpi.audit.moments import moments_of
from logpi.audit.objectives import moved
from logpi.audit.rows import rows_of
from logpi.core import coefficient, credit
from logpi.core.recipe import Recipe
from logpi.recipes import RECIPES, recipe
from logpi.worlds.mdp.exact import regularised_optimum, score_matrix, trajectories
from logpi.worlds.mdp.exact.sums import visits
from logpi.worlds.mdp.exact.units import every_batch, plan_of
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.policy import TabularSoftmax
from logpi.worlds.mdp.zoo import bandit

__all__ = ["FOUND"]

FOUND = Claims()
"""The claims of this module, by their names."""


@FOUND.claim(
    "A walk that is only cut, after 2 decisions, goes on; an episode that has ended does not. "
    "REINFORCE minus an exact V that bootstraps where the walk was cut has the endless task's "
    "gradient over those decisions as its mean (bias {cut:tiny}); with every cut taken for an end "
    "its cosine with that is {ended:.3f}, and that of A2C's TD errors {td:.3f}."
)
def a_cut_is_no_end() -> Numbers:
    """Truncation, and termination."""
    m = chain(13, discount=0.9)
    policy = TabularSoftmax(m)
    pi = policy.probabilities()
    endless = exact_values(m, pi, horizon=None)
    seen = torch.from_numpy(visits(m, pi, discount=1.0, horizon=2).sum(0))
    pushed = seen[:, None] * torch.from_numpy(pi) * endless.q[0]
    exact = pushed.flatten() @ score_matrix(policy).flatten(0, 1)

    def mean(name: str, horizon: int | None) -> Tensor:
        walks = trajectories(m, policy, horizon=2)
        reference = policy.table().detach()
        rows = rows_of(m, walks, horizon=horizon, values=endless, reference=reference)
        draws = every_batch(rows, walks.probability, plan_of("on-policy"), limit=1000)
        estimator = RecipeEstimator(RECIPES[name])
        found = moments_of(estimator, rows, draws, policy, logp_old=None, exact=moved(m, 2))
        return found[0].mean

    def cosine(x: Tensor) -> float:
        return float(torch.cosine_similarity(x, exact, dim=0))

    return {
        "cut": float((mean("reinforce_baseline", None) - exact).norm()),
        "ended": cosine(mean("reinforce_baseline", 2)),
        "td": cosine(mean("a2c", 2)),
    }


@FOUND.claim(
    "Drawing again until the rewards of a group differ, as DAPO does, leaves the direction alone "
    "and only scales: by {scale:.3f}, the number of groups drawn for one that is kept, with cosine "
    "{cosine:.12f}, on two questions answered right with probability .02 and .5 in groups of 4. "
    "The noise over signal of a group that is learned from falls from {all:.2f} to {mixed:.2f}."
)
def dropping_equal_groups_only_scales() -> Numbers:
    """Dynamic sampling: groups that teach nothing are drawn again."""
    m, row = questions([0.02, 0.5]), RECIPES["dapo"]
    every = audit(replace(row, data="groups"), m, group_size=4)
    mixed = audit(row, m, group_size=4)
    one, other = every.against("return"), mixed.against("return")
    assert one.scalar is not None
    assert other.scalar is not None
    return {
        "scale": other.scalar / one.scalar,
        "cosine": float(torch.cosine_similarity(every.mean, mixed.mean, dim=0)),
        "all": one.noise_to_signal or 0.0,
        "mixed": other.noise_to_signal or 0.0,
    }


@FOUND.claim(
    "Pulls of a bandit that another policy took: weighed by their ratios they are unbiased (bias "
    "{exact:tiny}), with total variance {noise:.1f}; with the ratios clipped at 1 the variance is "
    "{clipped_noise:.2f} and the cosine {clipped:.3f}; not weighed at all, the cosine is "
    "{naive:.3f}."
)
def clipped_ratios_trade_bias_for_noise() -> Numbers:
    """Importance sampling: exact, truncated, forgotten."""
    m = bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1])
    told = np.array([[0.1, 0.05, 0.85], [0.0, 0.0, 0.0]])
    rows = {
        "exact": recipe("off_policy_ac"),
        "clipped": recipe("off_policy_ac", rho_max=1.0),
        "naive": Recipe("replay", credit.td_error, coefficient.plain, critic="v"),
    }
    found = {name: audit(row, m, behaviour=told) for name, row in rows.items()}
    fits = {name: report.against("return") for name, report in found.items()}
    return {
        "exact": fits["exact"].bias_norm,
        "noise": found["exact"].total_variance,
        "clipped": fits["clipped"].cosine or 0.0,
        "clipped_noise": found["clipped"].total_variance,
        "naive": fits["naive"].cosine or 0.0,
    }


@FOUND.claim(
    "Pairs of the reference's texts, chosen by Bradley–Terry from their returns: DPO's mean "
    "gradient is 0 at π_ref(y) exp(R(y)/β) / Z, the best policy of return − β·KL (norm "
    "{there:tiny}), and not at the reference (norm {before:.3f}). IPO's is 0 at π_ref(y) "
    "exp(p(y)/β) / Z instead (norm {ipo:tiny}), with p(y) the probability that y is "
    "chosen, which no reward takes above 1."
)
def preferences_rest_at_closed_forms() -> Numbers:
    """Where DPO and IPO end."""
    m, beta = texts(2, 2, seed=7), 0.5
    policy = uniform(m)
    best = regularised_optimum(m, policy, beta=beta).policy
    told = {"reference": policy, "label": "bradley-terry"}
    dpo = recipe("dpo", beta=beta)
    there, before = (audit(dpo, m, policy=x, **told) for x in (best, policy))  # pyright: ignore[reportArgumentType] # options
    return {
        "there": float(there.mean.norm()),
        "before": float(before.mean.norm()),
        "ipo": _ipo_at_rest(beta),
    }


def _ipo_at_rest(beta: float) -> float:
    """The norm of IPO's mean gradient at its closed form, on a bandit of three arms."""
    worth, reference = np.array([0.0, 1.5, 0.5]), np.array([0.5, 0.3, 0.2])
    m = bandit(worth.tolist(), policy=reference.tolist())
    preferred = 1 / (1 + np.exp(worth - worth[:, None]))  # row over column
    tilted = reference * np.exp(preferred @ reference / beta)
    rest = np.array([tilted / tilted.sum(), [0.0, 0.0, 0.0]])
    told = {"reference": np.array([reference, [0.0, 0.0, 0.0]]), "label": "bradley-terry"}
    report = audit(recipe("ipo", beta=beta), m, policy=rest, **told)  # pyright: ignore[reportArgumentType] # options
    return float(report.mean.norm())
