"""THE TABLE: every method as a choice of data, credit, coefficient, averaging and step.

`RECIPES["grpo"]` is the row with the paper's settings; `recipe("grpo", beta=0.0)` is the same row
with another constant. The keyword arguments of a row's factory are the method's hyper-parameters.
README and the documentation print this table from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

from logpi.core.aggregate import fixed_length, per_pair, per_sequence, per_token
from logpi.core.coefficient import (
    clipped_importance,
    clipped_ratio,
    dual_clipped_ratio,
    identity_margin,
    importance,
    mean_preference_margin,
    plain,
    preference_margin,
    reference_free_margin,
    sequence_ratio,
    soft_gate,
    total,
    toward_reference,
)
from logpi.core.credit import (
    above_greedy,
    action_value,
    baselined_return,
    correct,
    gae,
    group_centred,
    group_over_mean,
    group_relative,
    group_relative_steps,
    leave_one_out,
    one,
    penalised,
    preference_sign,
    reward_to_go,
    start_discounted,
    td_error,
    total_return,
    vtrace,
    whitened,
)
from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.core.regulariser import entropy_bonus
from logpi.core.types import Coefficient, Credit, Regulariser

__all__ = ["FACTORIES", "RECIPES", "recipe"]


# -- what several rows share -----------------------------------------------------------------------


def _from_start(credit: Credit, discounted: bool) -> Credit:
    return start_discounted(credit) if discounted else credit


def _with_pull(coefficient: Coefficient, beta: float) -> Coefficient:
    # Without a pull no reference policy is needed, and a credit of 0 makes the coefficient 0.
    return total(coefficient, toward_reference(beta)) if beta else coefficient


def _with_penalty(credit: Credit, beta: float) -> Credit:
    return penalised(credit, beta) if beta else credit


def _bonus(beta: float) -> Regulariser | None:
    return entropy_bonus(beta) if beta else None


# -- classic ---------------------------------------------------------------------------------------


def reinforce_total(*, start_discounted: bool = False, entropy: float = 0.0) -> Recipe:
    """REINFORCE with the whole trajectory's return for every decision: no causality."""
    credit = _from_start(total_return, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        regulariser=_bonus(entropy),
        paper="Williams 1992, Machine Learning 8, theorem 1",
    )


def reinforce(
    *, baseline: float = 0.0, start_discounted: bool = False, entropy: float = 0.0
) -> Recipe:
    """REINFORCE with the reward-to-go: what came before a decision is not its merit."""
    credit = _from_start(reward_to_go(baseline), start_discounted)
    return Recipe(
        "on-policy",
        credit,
        regulariser=_bonus(entropy),
        paper="Williams 1992; Sutton & Barto 2018, section 13.3",
    )


def reinforce_baseline(*, start_discounted: bool = False, entropy: float = 0.0) -> Recipe:
    """REINFORCE minus a learned value of the state, which leaves the mean unchanged."""
    credit = _from_start(baselined_return, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        critic="v",
        regulariser=_bonus(entropy),
        paper="Sutton & Barto 2018, eq. 13.11",
    )


def qac(*, start_discounted: bool = False, entropy: float = 0.0) -> Recipe:
    """Actor-critic with a learned action value, fitted to the Sarsa target."""
    credit = _from_start(action_value, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        critic="q",
        regulariser=_bonus(entropy),
        paper="Sutton et al. 1999, theorem 2; Zhao 2025, algorithm 10.1",
    )


def a2c(*, lam: float = 0.0, start_discounted: bool = False, entropy: float = 0.0) -> Recipe:
    """Advantage actor-critic: the TD error, or GAE where lam > 0."""
    credit = _from_start(gae(lam) if lam else td_error, start_discounted)
    return Recipe(
        "on-policy",
        credit,
        critic="v",
        regulariser=_bonus(entropy),
        paper="Sutton & Barto 2018, section 13.5; A3C, arXiv 1602.01783",
    )


def off_policy_ac(*, rho_max: float | None = None, entropy: float = 0.0) -> Recipe:
    """Actor-critic on replayed behaviour data; rho_max asks for V-trace targets, clipped there."""
    credit = td_error if rho_max is None else vtrace(rho_max, rho_max)
    return Recipe(
        "replay",
        credit,
        importance,
        critic="v",
        regulariser=_bonus(entropy),
        paper="Degris et al. 2012, eq. 5; IMPALA, arXiv 1802.01561",
    )


def trpo(*, lam: float = 0.95) -> Recipe:
    """Trust region policy optimisation: a natural step with a KL limit."""
    return Recipe(
        "on-policy",
        gae(lam),
        critic="v",
        update="natural",
        paper="TRPO, arXiv 1502.05477, App. C",
    )


def ppo(
    *,
    lam: float = 0.95,
    low: float = 0.2,
    high: float = 0.2,
    cap: float | None = None,
    beta: float = 0.0,
    epochs: int = 4,
    entropy: float = 0.0,
) -> Recipe:
    """Proximal policy optimisation; cap is the dual clip, beta the reference inside the reward."""
    clipped = clipped_ratio(low, high) if cap is None else dual_clipped_ratio(low, high, cap)
    return Recipe(
        "on-policy",
        _with_penalty(gae(lam), beta),
        clipped,
        per_token,
        critic="v",
        epochs=epochs,
        regulariser=_bonus(entropy),
        paper="PPO, arXiv 1707.06347, eq. 7; reward penalty: InstructGPT, arXiv 2203.02155, eq. 2",
    )


def ppo_dual_clip(*, lam: float = 0.95, cap: float = 3.0, epochs: int = 4) -> Recipe:
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


# -- language models: demonstrations and own correct samples ---------------------------------------


def sft(*, entropy: float = 0.0) -> Recipe:
    """Supervised fine-tuning: coefficient 1 on demonstrations."""
    return Recipe(
        "demonstrations",
        one,
        aggregate=per_token,
        regulariser=_bonus(entropy),
        paper="DeepSeekMath, arXiv 2402.03300, eq. 6–7",
    )


def rft(*, threshold: float = 0.5) -> Recipe:
    """Rejection fine-tuning: SFT on the initial policy's own correct samples."""
    return Recipe(
        "filtered",
        correct(threshold),
        aggregate=per_sequence,
        paper="DeepSeekMath, arXiv 2402.03300, eq. 8–10",
    )


def online_rft(*, threshold: float = 0.5) -> Recipe:
    """Rejection fine-tuning on the current policy's correct samples."""
    return Recipe(
        "on-policy",
        correct(threshold),
        aggregate=per_sequence,
        paper="DeepSeekMath, arXiv 2402.03300, eq. 11",
    )


# -- language models: preferences ------------------------------------------------------------------


def dpo(*, beta: float = 0.1) -> Recipe:
    """Direct preference optimisation."""
    return Recipe(
        "pairs",
        preference_sign,
        preference_margin(beta),
        per_pair,
        paper="DPO, arXiv 2305.18290, eq. 7",
    )


def dpo_mean(*, beta: float = 0.1) -> Recipe:
    """DPO on mean instead of summed log-ratios."""
    return Recipe(
        "pairs",
        preference_sign,
        mean_preference_margin(beta),
        per_pair,
        paper="DeepSeekMath, arXiv 2402.03300, eq. 12",
    )


def ipo(*, beta: float = 0.1) -> Recipe:
    """Identity preference optimisation: regress the margin on 1/(2β)."""
    return Recipe(
        "pairs",
        preference_sign,
        identity_margin(beta),
        per_pair,
        paper="IPO, arXiv 2310.12036, eq. 17",
    )


def simpo(*, beta: float = 2.0, gamma: float = 1.0) -> Recipe:
    """Simple preference optimisation: mean log-probabilities, a margin, no reference policy."""
    return Recipe(
        "pairs",
        preference_sign,
        reference_free_margin(beta, gamma),
        per_pair,
        paper="SimPO, arXiv 2405.14734, eq. 6",
    )


# -- language models: on-policy --------------------------------------------------------------------


def remax(*, beta: float = 0.0) -> Recipe:
    """REINFORCE minus the reward of a greedy completion of the same prompt."""
    return Recipe(
        "on-policy+greedy",
        _with_penalty(above_greedy, beta),
        paper="ReMax, arXiv 2310.10505, eq. 4",
    )


def rloo(*, clip: float | None = None, beta: float = 0.0) -> Recipe:
    """REINFORCE minus the mean of the group's other rows; clip asks for PPO's ratio."""
    coefficient = plain if clip is None else clipped_ratio(clip, clip)
    return Recipe(
        "groups",
        _with_penalty(leave_one_out, beta),
        coefficient,
        paper="RLOO, arXiv 2402.14740, section 2",
    )


def reinforce_pp(*, beta: float = 0.01, low: float = 0.2, high: float = 0.2) -> Recipe:
    """REINFORCE++: token returns with a KL penalty, z-scored over the batch."""
    return Recipe(
        "on-policy",
        whitened(_with_penalty(reward_to_go(), beta)),
        clipped_ratio(low, high),
        per_token,
        paper="REINFORCE++, arXiv 2501.03262, section 3",
    )


def reinforce_pp_baseline(*, beta: float = 0.0, low: float = 0.2, high: float = 0.2) -> Recipe:
    """REINFORCE++ with the group's mean as baseline, whitened over the batch."""
    return Recipe(
        "groups",
        whitened(group_centred),
        _with_pull(clipped_ratio(low, high), beta),
        per_token,
        paper="REINFORCE++, arXiv 2501.03262, section 3",
    )


def grpo(
    *,
    beta: float = 0.04,
    low: float = 0.2,
    high: float = 0.2,
    epochs: int = 1,
    entropy: float = 0.0,
) -> Recipe:
    """Group relative policy optimisation with one reward per completion."""
    return Recipe(
        "groups",
        group_relative(),
        _with_pull(clipped_ratio(low, high), beta),
        per_sequence,
        epochs=epochs,
        regulariser=_bonus(entropy),
        paper="GRPO, DeepSeekMath, arXiv 2402.03300, eq. 3, 4, 21",
    )


def grpo_process(
    *, beta: float = 0.04, low: float = 0.2, high: float = 0.2, epochs: int = 1
) -> Recipe:
    """Group relative policy optimisation with a reward for every step of a completion."""
    return Recipe(
        "groups",
        group_relative_steps(),
        _with_pull(clipped_ratio(low, high), beta),
        per_sequence,
        epochs=epochs,
        paper="GRPO with process supervision, DeepSeekMath, arXiv 2402.03300, section 4.1.3",
    )


def dr_grpo(
    *, length: int = 1024, beta: float = 0.0, low: float = 0.2, high: float = 0.2, epochs: int = 1
) -> Recipe:
    """GRPO done right: no division by the spread, and a constant instead of the row's length."""
    return Recipe(
        "groups",
        group_centred,
        _with_pull(clipped_ratio(low, high), beta),
        fixed_length(length),
        epochs=epochs,
        paper="Dr. GRPO, arXiv 2503.20783, section 3.1",
    )


def dapo(*, beta: float = 0.0, low: float = 0.2, high: float = 0.28, epochs: int = 1) -> Recipe:
    """DAPO: clip higher, mean over tokens, groups that differ; give it the overlong penalty."""
    return Recipe(
        "mixed-groups",
        group_relative(),
        _with_pull(clipped_ratio(low, high), beta),
        per_token,
        epochs=epochs,
        paper="DAPO, arXiv 2503.14476, eq. 8–13",
    )


def gspo(*, low: float = 3e-4, high: float = 4e-4, beta: float = 0.0, epochs: int = 1) -> Recipe:
    """Group sequence policy optimisation: one ratio, and one gate, for a whole completion."""
    return Recipe(
        "groups",
        group_relative(),
        _with_pull(sequence_ratio(low, high), beta),
        per_sequence,
        epochs=epochs,
        paper="GSPO, arXiv 2507.18071, eq. 5–7",
    )


def cispo(*, low: float = 1.0, high: float = 4.0, beta: float = 0.0, epochs: int = 1) -> Recipe:
    """Clipped importance weights without a gate: every token keeps its gradient."""
    return Recipe(
        "groups",
        group_relative(),
        _with_pull(clipped_importance(low, high), beta),
        per_token,
        epochs=epochs,
        paper="CISPO, MiniMax-M1, arXiv 2506.13585, eq. 4–5",
    )


def sapo(
    *,
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
    beta: float = 0.0,
    epochs: int = 1,
) -> Recipe:
    """Soft adaptive policy optimisation: the gate closes smoothly."""
    return Recipe(
        "groups",
        group_relative(),
        _with_pull(soft_gate(tau_positive, tau_negative), beta),
        per_sequence,
        epochs=epochs,
        paper="SAPO, arXiv 2511.20347, eq. 6 and 8",
    )


def max_rl() -> Recipe:
    """Maximum likelihood RL: the spread from the group's mean, divided by that mean."""
    return Recipe(
        "groups",
        group_over_mean,
        aggregate=per_token,
        paper="MaxRL, arXiv 2602.02710",
    )


FACTORIES: Mapping[str, Callable[..., Recipe]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            reinforce_total,
            reinforce,
            reinforce_baseline,
            qac,
            a2c,
            off_policy_ac,
            trpo,
            ppo,
            ppo_dual_clip,
            sft,
            rft,
            online_rft,
            dpo,
            dpo_mean,
            ipo,
            simpo,
            remax,
            rloo,
            reinforce_pp,
            reinforce_pp_baseline,
            grpo,
            grpo_process,
            dr_grpo,
            dapo,
            gspo,
            cispo,
            sapo,
            max_rl,
        )
    }
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({name: make() for name, make in FACTORIES.items()})


def recipe(name: str, **constants: object) -> Recipe:
    """The row called `name`, with some of its constants changed.

    Raises `ConfigError` for an unknown name or constant, naming its nearest neighbour.

    >>> recipe("grpo", beta=0.0).coefficient is not RECIPES["grpo"].coefficient
    True
    """
    if name not in FACTORIES:
        raise ConfigError(
            f"unknown recipe `{name}`.{did_you_mean(name, FACTORIES)} "
            "`logpi recipes` prints the table."
        )
    known = inspect.signature(FACTORIES[name]).parameters
    for key in constants:
        if key not in known:
            raise ConfigError(
                f"unknown key `recipe.{key}`: {name} has no such constant."
                f"{did_you_mean(key, known)} It takes {', '.join(known) or 'none'}."
            )
    return FACTORIES[name](**constants)
