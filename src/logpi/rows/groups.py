"""Rows that compare a policy's own completions, for language models first."""

from __future__ import annotations

from logpi.core.aggregate import fixed_length, per_sequence, per_token
from logpi.core.coefficient import (
    clipped_importance,
    clipped_ratio,
    plain,
    reference_k2,
    sequence_ratio,
    soft_gate,
    total,
)
from logpi.core.credit import (
    above_greedy,
    group_centred,
    group_over_mean,
    group_relative,
    group_relative_steps,
    leave_one_out,
    reward_to_go,
    whitened,
)
from logpi.core.recipe import Recipe
from logpi.rows.ranges import Bound, Count, Limit, NonNegative, Number, Positive
from logpi.rows.shared import bonus, with_penalty, with_pull

__all__ = [
    "cispo",
    "dapo",
    "dr_grpo",
    "grpo",
    "grpo_process",
    "gspo",
    "max_rl",
    "reinforce_pp",
    "reinforce_pp_baseline",
    "remax",
    "rloo",
    "sapo",
]


def remax(*, beta: NonNegative = 0.0) -> Recipe:
    """REINFORCE minus the reward of a greedy completion of the same prompt."""
    # beta, here and in rloo, depends on the reward's scale: each paper sets one per task.
    return Recipe(
        "on-policy+greedy",
        with_penalty(above_greedy, beta),
        paper="ReMax, arXiv 2310.10505, algorithm 1",
    )


def rloo(*, clip: Limit | None = None, beta: NonNegative = 0.0) -> Recipe:
    """REINFORCE minus the mean of the group's other rows; clip asks for PPO's ratio."""
    coefficient = plain if clip is None else clipped_ratio(clip, clip)
    return Recipe(
        "groups",
        with_penalty(leave_one_out, beta),
        coefficient,
        paper="RLOO, arXiv 2402.14740, section 2",
    )


def reinforce_pp(*, beta: NonNegative = 0.01, low: Bound = 0.2, high: Bound = 0.2) -> Recipe:
    """REINFORCE++: token returns with a KL penalty, z-scored over the batch."""
    return Recipe(
        "on-policy",
        whitened(with_penalty(reward_to_go(), beta)),
        clipped_ratio(low, high),
        per_token,
        paper="REINFORCE++, arXiv 2501.03262, section 3",
    )


def reinforce_pp_baseline(
    *, beta: NonNegative = 0.0, low: Bound = 0.2, high: Bound = 0.2
) -> Recipe:
    """REINFORCE++ with the group's mean as baseline, whitened over the batch."""
    # The reference stays out of the group's reward and enters through k2, the estimator whose
    # gradient is that of the reverse KL.
    clipped = clipped_ratio(low, high)
    return Recipe(
        "groups",
        whitened(group_centred),
        total(clipped, reference_k2(beta)) if beta else clipped,
        per_token,
        paper="REINFORCE++, arXiv 2501.03262, section 3",
    )


def grpo(
    *,
    beta: NonNegative = 0.04,
    low: Bound = 0.2,
    high: Bound = 0.2,
    epochs: Count = 1,
    entropy: Number = 0.0,
) -> Recipe:
    """Group relative policy optimisation with one reward per completion."""
    # The paper prints beta and one update per batch; the clip is PPO's, and it prints no epsilon.
    return Recipe(
        "groups",
        group_relative(),
        with_pull(clipped_ratio(low, high), beta),
        per_sequence,
        epochs=epochs,
        regulariser=bonus(entropy),
        paper="GRPO, DeepSeekMath, arXiv 2402.03300, eq. 3, 4, 21",
    )


def grpo_process(
    *, beta: NonNegative = 0.04, low: Bound = 0.2, high: Bound = 0.2, epochs: Count = 1
) -> Recipe:
    """Group relative policy optimisation with a reward for every step of a completion."""
    return Recipe(
        "groups",
        group_relative_steps(),
        with_pull(clipped_ratio(low, high), beta),
        per_sequence,
        epochs=epochs,
        paper="GRPO with process supervision, DeepSeekMath, arXiv 2402.03300, section 4.1.3",
    )


def dr_grpo(
    *,
    length: Count = 3000,
    beta: NonNegative = 0.0,
    low: Bound = 0.2,
    high: Bound = 0.2,
    epochs: Count = 1,
) -> Recipe:
    """GRPO done right: no division by the spread, and a constant instead of the row's length."""
    # Any constant gives the same direction; the paper's runs allow completions of 3000 tokens.
    return Recipe(
        "groups",
        group_centred,
        with_pull(clipped_ratio(low, high), beta),
        fixed_length(length),
        epochs=epochs,
        paper="Dr. GRPO, arXiv 2503.20783, section 3",
    )


def dapo(
    *, beta: NonNegative = 0.0, low: Bound = 0.2, high: Bound = 0.28, epochs: Count = 1
) -> Recipe:
    """DAPO: clip higher, mean over tokens, groups that differ; give it the overlong penalty."""
    return Recipe(
        "mixed-groups",
        group_relative(),
        with_pull(clipped_ratio(low, high), beta),
        per_token,
        epochs=epochs,
        paper="DAPO, arXiv 2503.14476, eq. 8–13",
    )


def gspo(
    *, low: Bound = 3e-4, high: Bound = 4e-4, beta: NonNegative = 0.0, epochs: Count = 1
) -> Recipe:
    """Group sequence policy optimisation: one ratio, and one gate, for a whole completion."""
    return Recipe(
        "groups",
        group_relative(),
        with_pull(sequence_ratio(low, high), beta),
        per_sequence,
        epochs=epochs,
        paper="GSPO, arXiv 2507.18071, eq. 5–7",
    )


def cispo(
    *, low: Bound = 1.0, high: Bound = 4.0, beta: NonNegative = 0.0, epochs: Count = 1
) -> Recipe:
    """Clipped importance weights without a gate: every token keeps its gradient."""
    # The paper has no lower bound and does not print its upper one; a weight of at most 5 is what
    # ScaleRL (arXiv 2510.13786) settled on.
    return Recipe(
        "groups",
        group_relative(),
        with_pull(clipped_importance(low, high), beta),
        per_token,
        epochs=epochs,
        paper="CISPO, MiniMax-M1, arXiv 2506.13585, eq. 4–5",
    )


def sapo(
    *,
    tau_positive: Positive = 1.0,
    tau_negative: Positive = 1.05,
    beta: NonNegative = 0.0,
    epochs: Count = 1,
) -> Recipe:
    """Soft adaptive policy optimisation: the gate closes smoothly."""
    return Recipe(
        "groups",
        group_relative(),
        with_pull(soft_gate(tau_positive, tau_negative), beta),
        per_sequence,
        epochs=epochs,
        paper="SAPO, arXiv 2511.20347, eq. 5–6",
    )


def max_rl() -> Recipe:
    """Maximum likelihood RL: the spread from the group's mean, divided by that mean."""
    # The mean of rewards 0 and 1 is the share of correct rows. A group without any adds nothing.
    return Recipe(
        "groups",
        group_over_mean,
        aggregate=per_token,
        paper="MaxRL, arXiv 2602.02710",
    )
