"""Rows of the classic methods: REINFORCE, actor-critics, TRPO and PPO."""

from __future__ import annotations

from typing import Literal

from logpi.core.aggregate import per_token
from logpi.core.coefficient import (
    clipped_importance,
    clipped_ratio,
    dual_clipped_ratio,
    importance,
)
from logpi.core.credit import (
    action_value,
    baselined_return,
    gae,
    reward_to_go,
    td_error,
    total_return,
    vtrace,
)
from logpi.core.recipe import Recipe
from logpi.core.types import Coefficient
from logpi.rows.ranges import Bound, Cap, Count, Limit, NonNegative, Number, Share
from logpi.rows.shared import bonus, from_start, normalised, with_penalty

__all__ = [
    "a2c",
    "off_policy_ac",
    "ppo",
    "ppo_dual_clip",
    "qac",
    "reinforce",
    "reinforce_baseline",
    "reinforce_total",
    "trpo",
]


def reinforce_total(*, start_discounted: bool = False, entropy: Number = 0.0) -> Recipe:
    """REINFORCE with the whole trajectory's return for every decision: no causality."""
    credit = from_start(total_return, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        regulariser=bonus(entropy),
        paper="Williams 1992, Machine Learning 8, theorem 1",
    )


def reinforce(
    *,
    baseline: Number = 0.0,
    start_discounted: bool = False,
    entropy: Number = 0.0,
    normalise: bool = False,
) -> Recipe:
    """REINFORCE with the reward-to-go: what came before a decision is not its merit."""
    credit = from_start(normalised(reward_to_go(baseline), normalise), start_discounted)
    return Recipe(
        "on-policy",
        credit,
        regulariser=bonus(entropy),
        paper="Williams 1992; Sutton & Barto 2018, section 13.3",
    )


def reinforce_baseline(*, start_discounted: bool = False, entropy: Number = 0.0) -> Recipe:
    """REINFORCE minus a learned value of the state, which leaves the mean unchanged."""
    credit = from_start(baselined_return, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        critic="v",
        regulariser=bonus(entropy),
        paper="Sutton & Barto 2018, eq. 13.11",
    )


def qac(*, start_discounted: bool = False, entropy: Number = 0.0) -> Recipe:
    """Actor-critic with a learned action value, fitted to the Sarsa target."""
    credit = from_start(action_value, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        critic="q",
        regulariser=bonus(entropy),
        paper="Sutton et al. 1999, theorem 2; Zhao 2025, algorithm 10.1",
    )


def a2c(
    *,
    lam: Share = 0.0,
    start_discounted: bool = False,
    entropy: Number = 0.0,
    normalise: bool = False,
) -> Recipe:
    """Advantage actor-critic: the TD error, or GAE where lam > 0."""
    credit = from_start(normalised(gae(lam) if lam else td_error, normalise), start_discounted)
    return Recipe(
        "on-policy",
        credit,
        critic="v",
        regulariser=bonus(entropy),
        paper="Sutton & Barto 2018, section 13.5; A3C, arXiv 1602.01783",
    )


def off_policy_ac(*, rho_max: Limit | None = None, entropy: Number = 0.0) -> Recipe:
    """Actor-critic on replayed behaviour data; rho_max clips the ratio, here and in V-trace."""
    credit, coefficient = td_error, importance
    if rho_max is not None:  # IMPALA asks for c̄ ≤ ρ̄, and its ρ_s is the clipped ratio too
        credit = vtrace(rho_max, min(1.0, rho_max))
        coefficient = clipped_importance(1.0, rho_max - 1)
    return Recipe(
        "replay",
        credit,
        coefficient,
        critic="v",
        regulariser=bonus(entropy),
        paper="Off-PAC, arXiv 1205.4839, section 2; IMPALA, arXiv 1802.01561, section 4.2",
    )


def trpo(*, lam: Share = 0.95, normalise: bool = False) -> Recipe:
    """Trust region policy optimisation: a natural step with a KL limit."""
    return Recipe(
        "on-policy",
        normalised(gae(lam), normalise),
        critic="v",
        update="natural",
        paper="TRPO, arXiv 1502.05477, App. C",
    )


def ppo(
    *,
    lam: Share = 0.95,
    low: Bound = 0.2,
    high: Bound = 0.2,
    cap: Cap | None = None,
    beta: NonNegative = 0.0,
    epochs: Count = 4,
    entropy: Number = 0.0,
    normalise: bool = False,
    target_kl: Limit | None = None,
    clip_decay: Literal["constant", "linear"] = "constant",
) -> Recipe:
    """Proximal policy optimisation; cap is the dual clip, beta the reference inside the reward.

    `normalise` z-scores the credit over the batch; `target_kl` ends a batch's epochs early;
    `clip_decay` brings low and high to 0 along the run. Value clipping, the critic's weight and
    the norm of gradients are the optimizer's: `optim.value_clip`, `critic_weight` and `clip`.

    RLHF's PPO rewards each token with −β (logp_old − logp_ref) as well (InstructGPT, eq. 2). β is
    0 here, a departure for language models: as in the PPO paper, no reference policy is needed.
    """

    # The paper takes 10 epochs on MuJoCo and 3 on Atari; RLHF's 4 are those of arXiv 2009.01325.
    def clipped(left: float) -> Coefficient:
        near, far = low * left, high * left
        return clipped_ratio(near, far) if cap is None else dual_clipped_ratio(near, far, cap)

    return Recipe(
        "on-policy",
        normalised(with_penalty(gae(lam), beta), normalise),
        clipped(1.0),
        per_token,
        critic="v",
        epochs=epochs,
        regulariser=bonus(entropy),
        target_kl=target_kl,
        annealed=None if clip_decay == "constant" else clipped,
        paper="PPO, arXiv 1707.06347, eq. 7; reward penalty: InstructGPT, arXiv 2203.02155, eq. 2",
    )


def ppo_dual_clip(*, lam: Share = 0.95, cap: Cap = 3.0, epochs: Count = 4) -> Recipe:
    """PPO whose negative credits are cut as well where the ratio has run away."""
    return Recipe(
        "on-policy",
        gae(lam),
        dual_clipped_ratio(cap=cap),
        per_token,
        critic="v",
        epochs=epochs,
        paper="Dual-clip PPO, arXiv 1912.09729, eq. 5",
    )
