"""Rows that imitate: given demonstrations, pairs, or own correct samples."""

from __future__ import annotations

from logpi.core.aggregate import per_pair, per_sequence, per_token
from logpi.core.coefficient import (
    identity_margin,
    mean_preference_margin,
    preference_margin,
    reference_free_margin,
)
from logpi.core.credit import (
    correct,
    one,
    preference_sign,
)
from logpi.core.recipe import Recipe
from logpi.rows.ranges import NonNegative, Number, Positive
from logpi.rows.shared import bonus

__all__ = ["dpo", "dpo_mean", "ipo", "online_rft", "rft", "sft", "simpo"]


def sft(*, entropy: Number = 0.0) -> Recipe:
    """Supervised fine-tuning: coefficient 1 on demonstrations."""
    return Recipe(
        "demonstrations",
        one,
        aggregate=per_token,
        regulariser=bonus(entropy),
        paper="DeepSeekMath, arXiv 2402.03300, eq. 6–7",
    )


def rft(*, threshold: Number = 0.5) -> Recipe:
    """Rejection fine-tuning: SFT on the initial policy's own correct samples."""
    return Recipe(
        "filtered",
        correct(threshold),
        aggregate=per_sequence,
        paper="DeepSeekMath, arXiv 2402.03300, eq. 8–10",
    )


def online_rft(*, threshold: Number = 0.5) -> Recipe:
    """Rejection fine-tuning on the current policy's correct samples."""
    return Recipe(
        "on-policy",
        correct(threshold),
        aggregate=per_sequence,
        paper="DeepSeekMath, arXiv 2402.03300, eq. 11",
    )


def dpo(*, beta: Positive = 0.1) -> Recipe:
    """Direct preference optimisation."""
    return Recipe(
        "pairs",
        preference_sign,
        preference_margin(beta),
        per_pair,
        paper="DPO, arXiv 2305.18290, eq. 7",
    )


def dpo_mean(*, beta: Positive = 0.1) -> Recipe:
    """DPO on mean instead of summed log-ratios."""
    return Recipe(
        "pairs",
        preference_sign,
        mean_preference_margin(beta),
        per_pair,
        paper="DeepSeekMath, arXiv 2402.03300, eq. 12",
    )


def ipo(*, beta: Positive = 0.1) -> Recipe:
    """Identity preference optimisation: regress the margin on 1/(2β)."""
    return Recipe(
        "pairs",
        preference_sign,
        identity_margin(beta),
        per_pair,
        paper="IPO, arXiv 2310.12036, eq. 17",
    )


def simpo(*, beta: Positive = 2.0, gamma: NonNegative = 1.0) -> Recipe:
    """Simple preference optimisation: mean log-probabilities, a margin, no reference policy."""
    # The paper searches both per model: these are its Llama-3-Base values.
    return Recipe(
        "pairs",
        preference_sign,
        reference_free_margin(beta, gamma),
        per_pair,
        paper="SimPO, arXiv 2405.14734, eq. 6",
    )
