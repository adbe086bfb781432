"""What the audit has shown, as claims that compute themselves: the prose quotes their numbers.

A claim is a function that returns numbers, and a sentence with their places. `CLAIMS[name].text()`
is the sentence; a test holds every number to what was published or first found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from logpi.audit import offline
from logpi.audit.adversary import worst_case
from logpi.audit.calls import audit
from logpi.audit.claim import Claim, Claims, Numbers
from logpi.audit.models import chain, questions, texts
from logpi.core import coefficient, credit
from logpi.core.recipe import Recipe
from logpi.recipes import RECIPES, recipe
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo import bandit, tokens_capital

__all__ = ["CLAIMS", "Claim"]

_FOUND = Claims()


def _number(x: float | None) -> float:
    assert x is not None, "a claim's figure has no meaning in its own model"
    return x


def _cosine(row: str | Recipe, m: FiniteMDP, **options: object) -> float:
    return _number(audit(row, m, **options).against("return").cosine)  # pyright: ignore[reportArgumentType] # options as they come


# -- groups of a bandit ----------------------------------------------------------------------------


def _arms() -> FiniteMDP:
    """Three arms on which dividing by the group's spread turns the gradient visibly."""
    return bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1])


_CENTRED = Recipe("groups", credit.group_centred)
_SCALED = Recipe("groups", credit.group_relative(epsilon=0.0))


@_FOUND.claim(
    "Leave-one-out is exact: over all groups of 2, 3 and 4 pulls of a bandit of three arms its "
    "largest bias is {bias:tiny}."
)
def leave_one_out_is_exact() -> Numbers:
    """RLOO on all groups of a bandit."""
    found = [audit("rloo", _arms(), group_size=g).against("return") for g in (2, 3, 4)]
    return {"bias": max(f.bias_norm for f in found)}


@_FOUND.claim(
    "Subtracting the group's mean shrinks the gradient and keeps its direction: {two:.4g} and "
    "{four:.4g} of the exact one for groups of 2 and 4, which is (G−1)/G; cosine "
    "{cosine:.12f}."
)
def the_mean_shrinks() -> Numbers:
    """Mean-centring on all groups of a bandit."""
    two, four = (audit(_CENTRED, _arms(), group_size=g).against("return") for g in (2, 4))
    return {
        "two": _number(two.scalar),
        "four": _number(four.scalar),
        "cosine": min(_number(two.cosine), _number(four.cosine)),
    }


@_FOUND.claim(
    "Dividing by the group's standard deviation turns it: cosine {two:.3f} for groups of 2, "
    "{four:.3f} for groups of 4."
)
def the_spread_turns() -> Numbers:
    """Z-scores on all groups of a bandit."""
    return {
        "two": _cosine(_SCALED, _arms(), group_size=2),
        "four": _cosine(_SCALED, _arms(), group_size=4),
    }


@_FOUND.claim(
    "With rewards of 0 and 1 the z-score has an objective of its own. On two questions that are "
    "answered right with probability .02 and .5 its mean is turned from the gradient of the return "
    "(cosine {cosine:.4f}); it is the gradient of E[h(p)] (bias {bias:tiny}), where h' weighs a "
    "question by how its groups of 16 scatter."
)
def z_scores_ascend_something_else() -> Numbers:
    """Z-scores where the return has two values: unbiased, for another objective."""
    report = audit(_SCALED, questions([0.02, 0.5]), group_size=16)
    return {
        "cosine": _number(report.against("return").cosine),
        "bias": report.against("success in z-scored groups of k").bias_norm,
    }


@_FOUND.claim(
    "Dividing by the group's mean instead, as MaxRL does, ascends the logarithm of the success "
    "probability to the group's order (bias {bias:tiny}); the cosine with the return is "
    "{cosine:.4f}."
)
def max_rl_ascends_the_logarithm() -> Numbers:
    """MaxRL on questions of one decision."""
    report = audit("max_rl", questions([0.02, 0.5]), group_size=16)
    return {
        "cosine": _number(report.against("return").cosine),
        "bias": report.against("log of the success probability, to order k").bias_norm,
    }


# -- averages over rows of different lengths -------------------------------------------------------

_BATCH_MEAN = replace(RECIPES["dapo"], data="groups")


@_FOUND.claim(
    "All 40 texts of at most 3 tokens out of 3 words and an end, groups of 2, the worst of 40 "
    "random policies and rewards: per-sequence averaging with z-scores (GRPO) has cosine "
    "{grpo:.3f}, averaging over the group's tokens with z-scores {token:.3f}, the same without "
    "z-scores {centred:.3f}, and a fixed length without z-scores (Dr. GRPO) {dr:.4f}."
)
def lengths_and_spreads_turn() -> Numbers:
    """Random policies and rewards on texts of different lengths."""

    def worst(row: str | Recipe) -> float:
        return worst_case(row, restarts=40, iterations=0, seed=0).cosine

    return {
        "grpo": worst("grpo"),
        "token": worst(_BATCH_MEAN),
        "centred": worst(replace(_BATCH_MEAN, credit=credit.group_centred)),
        "dr": worst("dr_grpo"),
    }


@_FOUND.claim(
    "Looking for bad policies and rewards in [−1, 1] instead of drawing them, GRPO's mean gradient "
    "is found pointing away from the gradient of the return: its cosine is below {grpo:.0f}, how "
    "far depends on the last digits of the search. The same search finds nothing against "
    "leave-one-out: {rloo:.4f}."
)
def grpo_can_point_away() -> Numbers:
    """The search for a worst case."""
    return {
        "grpo": max(0.0, worst_case("grpo", restarts=1, iterations=100, seed=2).cosine),
        "rloo": worst_case("rloo", restarts=1, iterations=10, seed=2).cosine,
    }


@_FOUND.claim(
    "A mean over tokens is biased because the number of tokens is drawn with the rows, and less so "
    "the more there are: with 1, 2 and 3 groups of 2 in a batch its cosine is {one:.5f}, {two:.5f} "
    "and {three:.5f}."
)
def more_groups_help_the_mean_over_tokens() -> Numbers:
    """Averaging over tokens, with leave-one-out, as the batch grows."""
    m, row = texts(2, 2, seed=7), replace(RECIPES["rloo"], aggregate=_BATCH_MEAN.aggregate)
    one, two, three = (_cosine(row, m, group_size=2, groups=g) for g in (1, 2, 3))
    return {"one": one, "two": two, "three": three}


# -- critics, causality, discounting ---------------------------------------------------------------

_CHAIN = 36  # a seed for which the usual order holds; it is no theorem


@_FOUND.claim(
    "3 states, 2 actions, horizon 3, exact critics, total variance of one row's gradient: the "
    "whole return {total:.3f} > REINFORCE {reinforce:.3f} > QAC {qac:.3f} > REINFORCE minus V "
    "{baseline:.3f} > A2C's TD error {td:.3f}; the largest bias is {bias:tiny}."
)
def critics_take_variance_away() -> Numbers:
    """The classic estimators with exact critics."""
    names = {
        "total": "reinforce_total",
        "reinforce": "reinforce",
        "qac": "qac",
        "baseline": "reinforce_baseline",
        "td": "a2c",
    }
    found = {key: audit(row, chain(_CHAIN), horizon=3) for key, row in names.items()}
    bias = max(r.against("return").bias_norm for r in found.values())
    return {key: r.total_variance for key, r in found.items()} | {"bias": bias}


@_FOUND.claim(
    "With γ = .6, REINFORCE as most code has it has the mean of a direction without γ^t (bias "
    "{without:tiny}), and is off for the return discounted from the start (cosine {cosine:.4f}); "
    "with γ^t in front its bias for that is {start:tiny}."
)
def the_discount_in_front() -> Numbers:
    """The two conventions of the discounted policy gradient."""
    m = chain(_CHAIN, discount=0.6)
    usual = audit("reinforce", m, horizon=3)
    front = audit(recipe("reinforce", start_discounted=True), m, horizon=3)
    return {
        "without": usual.against("discounted return without γ^t").bias_norm,
        "cosine": _number(usual.against("discounted return from the start").cosine),
        "start": front.against("discounted return from the start").bias_norm,
    }


@_FOUND.claim(
    "Weighing each decision of another policy's rows by its own ratio forgets that the other "
    "policy also goes elsewhere: off-policy actor-critic on rows of the uniform policy has cosine "
    "{cosine:.4f}; on the policy's own rows its bias is {own:tiny}."
)
def ratios_forget_the_states() -> Numbers:
    """Off-PAC, whose ratio corrects the action and not the state."""
    m = chain(_CHAIN)
    away = audit("off_policy_ac", m, horizon=3, behaviour=np.full((3, 2), 0.5))
    own = audit("off_policy_ac", m, horizon=3).against("return")
    return {"cosine": _number(away.against("return").cosine), "own": own.bias_norm}


@_FOUND.claim(
    "The second step on the same batch is another estimator: after one step of PPO with a large "
    "step size {clipped:.1%} of decisions are clipped, and the cosine with the exact gradient at "
    "the moved policies falls from {first:.4f} to {second:.4f}."
)
def the_second_step_is_another_estimator() -> Numbers:
    """PPO with the exact critic, twice on the same row."""
    report = audit("ppo", chain(_CHAIN), horizon=3, steps=2, lr=1.0)
    later = report.steps[0]
    return {
        "clipped": later.clipped,
        "first": _number(report.against("return").cosine),
        "second": _number(later.fits[0].cosine),
    }


# -- toward a reference policy ---------------------------------------------------------------------


def _only(term: object) -> Recipe:
    return Recipe("on-policy", credit.one, term)  # pyright: ignore[reportArgumentType] # a coefficient


@_FOUND.claim(
    "One decision, no reward, a pull toward a reference policy. The mean gradient of k1 in the "
    "loss is {k1:tiny}. That of k2 is the gradient of the reverse KL (bias {k2:tiny}). That of k3 "
    "is the gradient of the forward KL (bias {k3:tiny}), not of the reverse one "
    "(cosine {turned:.4f})."
)
def the_estimators_of_the_kl() -> Numbers:
    """k1, k2 and k3 in the loss: what each descends."""
    m = bandit([0.0, 0.0, 0.0], policy=[0.6, 0.3, 0.1])
    told = {"reference": np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]]), "beta": 0.5}
    k1, k2, k3 = (
        audit(_only(term(beta=0.5)), m, **told)  # pyright: ignore[reportArgumentType] # options
        for term in (
            coefficient.reference_k1,
            coefficient.reference_k2,
            coefficient.toward_reference,
        )
    )
    return {
        "k1": float(k1.mean.norm()),
        "k2": k2.against("return − β·reverse KL").bias_norm,
        "k3": k3.against("return − β·forward KL").bias_norm,
        "turned": _number(k3.against("return − β·reverse KL").cosine),
    }


@_FOUND.claim(
    "Over 3 decisions only the penalty in the reward keeps that an action changes later states: "
    "its bias for the whole trajectory's reverse KL is {reward:tiny}, and k2 in the loss has "
    "cosine {loss:.4f} with it."
)
def only_the_reward_keeps_the_future() -> Numbers:
    """The reference in the reward, and in the loss."""
    m = chain(_CHAIN)
    m = m.having(reward=np.zeros_like(m.reward))
    told = {"horizon": 3, "reference": np.array([[0.9, 0.1]] * 3), "beta": 0.5}
    inside = Recipe("on-policy", credit.penalised(credit.reward_to_go(), beta=0.5))
    name = "return − β·reverse KL"
    kept = audit(inside, m, **told).against(name)  # pyright: ignore[reportArgumentType] # options
    beside = audit(_only(coefficient.reference_k2(beta=0.5)), m, **told)  # pyright: ignore[reportArgumentType] # options
    return {"reward": kept.bias_norm, "loss": _number(beside.against(name).cosine)}


# -- luck ------------------------------------------------------------------------------------------


@_FOUND.claim(
    '"The capital of France is" Paris (.9, pays 10), Lyon or Marseille (pay −10): under REINFORCE '
    "the words before the city are pushed with mean {mean:.4g} and variance {variance:.4g}, though "
    "their true advantage is {truth:.2g}; the cities' are {paris:.4g}, {lyon:.4g} and "
    "{marseille:.4g}."
)
def luck_is_pushed_into_the_prefix() -> Numbers:
    """What the words that decide nothing are given."""
    report = audit("reinforce", tokens_capital())
    *words, paris, lyon, marseille = (d for d in report.decisions if "<eos>" not in d.name)
    return {
        "mean": words[0].coefficient,
        "variance": words[0].spread ** 2,
        "truth": max(abs(word.advantage) for word in words),
        "paris": paris.advantage,
        "lyon": lyon.advantage,
        "marseille": marseille.advantage,
    }


CLAIMS: Mapping[str, Claim] = {**_FOUND, **offline.FOUND}
"""Every claim by its name, in the order in which the documentation tells them."""
