"""What each decision earned: read once per batch, on the whole batch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from logpi.core.derived import penalised, start_discounted, whitened
from logpi.core.errors import ConfigError, PairError, TrajectoryError
from logpi.core.groups import group_index, group_mean, group_sizes, group_spread
from logpi.core.returns import (
    discounted_sum,
    sarsa_target,
    trajectory_return,
    vtrace_advantage,
    vtrace_value,
)
from logpi.core.returns import td_error as _td_error
from logpi.core.traits import factory, fitting, traits
from logpi.core.types import Credit, Signals

__all__ = [
    "above_greedy",
    "action_value",
    "baselined_return",
    "correct",
    "gae",
    "group_centred",
    "group_over_mean",
    "group_relative",
    "group_relative_steps",
    "leave_one_out",
    "one",
    "penalised",
    "preference_sign",
    "reward_to_go",
    "start_discounted",
    "td_error",
    "total_return",
    "vtrace",
    "whitened",
]


@traits()
def one(s: Signals) -> Float[Tensor, "n t"]:
    """1 for every decision: maximum likelihood, as in SFT. DeepSeekMath (arXiv 2402.03300), eq. 7.

    >>> from logpi.core.examples import signals
    >>> one(signals()).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return torch.ones_like(s.reward)


@factory()
def correct(threshold: float = 0.5) -> Credit:
    """1 where the row's return exceeds the threshold, else 0. DeepSeekMath, eq. 10 and 11.

    >>> from logpi.core.examples import signals
    >>> correct(threshold=1.5)(signals()).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """

    def credit(s: Signals) -> Tensor:
        return _spread_over_row(s, (_row_return(s) > threshold).to(s.reward.dtype))

    return credit


@traits()
def total_return(s: Signals) -> Float[Tensor, "n t"]:
    """R(τ), the whole trajectory's return, for every decision: no causality. Williams 1992.

    Raises `TrajectoryError` if a row holds more than one trajectory.

    >>> from logpi.core.examples import signals
    >>> total_return(signals()).tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """
    return _spread_over_row(s, _row_return(s))


@factory()
def reward_to_go(baseline: float = 0.0) -> Credit:
    """G_t minus a constant: the rewards that came after the decision. Sutton & Barto, section 13.3.

    A truncated trajectory counts what it collected; nothing is bootstrapped without a critic.

    >>> from logpi.core.examples import signals
    >>> reward_to_go()(signals()).tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """

    def credit(s: Signals) -> Tensor:
        return discounted_sum(s.reward, s.discount, s.end) - baseline

    return credit


@traits(reads=("value", "next_value"))
def baselined_return(s: Signals) -> Float[Tensor, "n t"]:
    """G_t − V(s_t); a truncated trajectory bootstraps from V. Sutton & Barto, eq. 13.11.

    >>> from logpi.core.examples import signals
    >>> baselined_return(signals()).tolist()
    [[0.5, 0.5], [1.5, 1.5]]
    """
    value, following = s.need("value"), s.need("next_value")
    return discounted_sum(s.reward, s.discount, s.end, following) - value


@traits(reads=("q",))
def action_value(s: Signals) -> Float[Tensor, "n t"]:
    """Q_w(s_t, a_t), as a critic estimates it. Sutton et al. 1999, theorem 2.

    The critic is fitted to the Sarsa target R_{t+1} + γ Q_w(s_{t+1}, a_{t+1}).

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> action_value(signals(q=torch.ones(2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return s.need("q").clone()


fitting(
    action_value,
    lambda s: sarsa_target(s.reward, s.discount, s.end, s.need("q"), s.need("next_value")),
)


@traits(reads=("value", "next_value"))
def td_error(s: Signals) -> Float[Tensor, "n t"]:
    """δ_t = R_{t+1} + γ V(s_{t+1}) − V(s_t): the one-step advantage. Sutton & Barto, section 13.5.

    >>> from logpi.core.examples import signals
    >>> td_error(signals()).tolist()
    [[0.0, 0.5], [0.0, 1.5]]
    """
    return _td_error(s.reward, s.discount, s.need("value"), s.need("next_value"))


@factory(reads=("value", "next_value"))
def gae(lam: float = 0.95) -> Credit:
    """A_t = Σ_l (γλ)^l δ_{t+l} within the trajectory. GAE, arXiv 1506.02438, eq. 16.

    λ = 0 is the TD error, λ = 1 the return minus the value.

    >>> from logpi.core.examples import signals
    >>> gae(lam=1.0)(signals()).tolist()
    [[0.5, 0.5], [1.5, 1.5]]
    """

    def credit(s: Signals) -> Tensor:
        return discounted_sum(td_error(s), s.discount * lam, s.end)

    return credit


@factory(reads=("value", "next_value", "logp", "logp_old"))
def vtrace(rho_max: float = 1.0, c_max: float = 1.0) -> Credit:
    """R_{t+1} + γ v_{t+1} − V(s_t), v the V-trace target. IMPALA, arXiv 1802.01561, section 4.2.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> vtrace()(signals(logp=torch.zeros(2, 2), logp_old=torch.zeros(2, 2))).tolist()
    [[0.5, 0.5], [1.5, 1.5]]
    """

    def credit(s: Signals) -> Tensor:
        return vtrace_advantage(
            s.reward,
            s.discount,
            s.end,
            target(s),
            value=s.need("value"),
            next_value=s.need("next_value"),
        )

    def target(s: Signals) -> Tensor:
        ratio = torch.where(s.mask, s.need("logp") - s.need("logp_old"), 0.0).exp()
        delta = td_error(s)
        return vtrace_value(
            s.need("value"), delta, s.discount, s.end, ratio, rho_max=rho_max, c_max=c_max
        )

    return fitting(credit, target)


@factory(reads=("group",))
def group_relative(epsilon: float = 1e-4) -> Credit:
    """(R − mean) / (std + ε) over the rows that share a prompt; std with ddof 1.

    GRPO, DeepSeekMath (arXiv 2402.03300), section 4.1.2. Dividing by the group's spread turns the
    direction, not only the length. Raises `GroupError` for a group of one row.

    >>> from logpi.core.examples import signals
    >>> group_relative(epsilon=0.0)(signals()).round(decimals=4).tolist()
    [[-0.7071, -0.7071], [0.7071, 0.7071]]
    """

    def credit(s: Signals) -> Tensor:
        total, group = _row_return(s), s.need("group")
        group_sizes(group, at_least=2)
        centred = total - group_mean(total, group)
        scaled = centred / (group_spread(total, group) + epsilon)
        return _spread_over_row(s, torch.where(centred == 0, 0.0, scaled))

    return credit


@factory(reads=("group", "scored"))
def group_relative_steps(epsilon: float = 1e-4) -> Credit:
    """Each step's reward z-scored over all steps of the group, summed from the decision on.

    GRPO with process supervision, DeepSeekMath, section 4.1.3. A step's reward stands at its last
    decision, where `scored` is True. Raises `GroupError` for a group with fewer than two steps.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> s = signals(scored=torch.tensor([[False, True], [False, True]]))
    >>> group_relative_steps(epsilon=0.0)(s).round(decimals=4).tolist()
    [[-0.7071, -0.7071], [0.7071, 0.7071]]
    """

    def credit(s: Signals) -> Tensor:
        scored, group = s.need("scored"), s.need("group")
        _one_trajectory(s)
        reward, of_step = s.reward[scored], group[scored.nonzero()[:, 0]]
        group_sizes(of_step, at_least=2)
        centred = reward - group_mean(reward, of_step)
        scaled = centred / (group_spread(reward, of_step) + epsilon)
        steps = torch.zeros_like(s.reward)
        steps[scored] = torch.where(centred == 0, 0.0, scaled)
        return discounted_sum(steps, torch.ones_like(steps), s.end)

    return credit


@traits(reads=("group",))
def group_centred(s: Signals) -> Float[Tensor, "n t"]:
    """R − mean over the rows that share a prompt. Dr. GRPO, arXiv 2503.20783, sec. 3.

    Its mean is (G−1)/G of the exact gradient: same direction. Raises `GroupError` for one row.

    >>> from logpi.core.examples import signals
    >>> group_centred(signals()).tolist()
    [[-0.5, -0.5], [0.5, 0.5]]
    """
    total, group = _row_return(s), s.need("group")
    group_sizes(group, at_least=2)
    return _spread_over_row(s, total - group_mean(total, group))


@traits(reads=("group",))
def leave_one_out(s: Signals) -> Float[Tensor, "n t"]:
    """R_i − the mean return of the other rows of its group. RLOO, arXiv 2402.14740, section 2.

        cᵢ = Rᵢ − (1/(G−1)) Σⱼ≠ᵢ Rⱼ = G/(G−1) · (Rᵢ − mean)

    Unbiased for any G ≥ 2: the baseline never sees row i. Raises `GroupError` for one row.

    >>> from logpi.core.examples import signals
    >>> leave_one_out(signals()).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    total, group = _row_return(s), s.need("group")
    size = group_sizes(group, at_least=2).to(total.dtype)
    return _spread_over_row(s, size / (size - 1) * (total - group_mean(total, group)))


@traits(reads=("group",))
def group_over_mean(s: Signals) -> Float[Tensor, "n t"]:
    """(R − mean) / mean over the rows that share a prompt; 0 where nothing was earned.

    MaxRL, arXiv 2602.02710. Returns must not be negative: raises `ConfigError` if one is, and
    `GroupError` for a group of one row.

    >>> from logpi.core.examples import signals
    >>> group_over_mean(signals()).round(decimals=4).tolist()
    [[-0.3333, -0.3333], [0.3333, 0.3333]]
    """
    total, group = _row_return(s), s.need("group")
    group_sizes(group, at_least=2)
    if (total < 0).any():
        raise ConfigError(
            f"a return of {total.min().item()} reached max_rl, which divides by the group's mean "
            "return and so needs rewards of at least 0. Shift the reward, or take `grpo`."
        )
    mean = group_mean(total, group)
    return _spread_over_row(s, torch.where(mean > 0, (total - mean) / mean.clamp(min=1e-30), 0.0))


@traits(reads=("baseline",))
def above_greedy(s: Signals) -> Float[Tensor, "n t"]:
    """R − R(greedy rollout from the same start). ReMax, arXiv 2310.10505, algorithm 1.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> above_greedy(signals(baseline=torch.ones(2))).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    return _spread_over_row(s, _row_return(s) - s.need("baseline"))


@traits(reads=("group",))
def preference_sign(s: Signals) -> Float[Tensor, "n t"]:
    """+1 for the row of a pair with the higher reward, −1 for the other. DPO, 2305.18290, eq. 7.

    Raises `PairError` unless every group has exactly two rows with different rewards.

    >>> from logpi.core.examples import signals
    >>> preference_sign(signals()).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    total, group = _row_return(s), s.need("group")
    index, count = group_index(group)
    sizes = torch.bincount(index, minlength=count)
    if (sizes != 2).any():
        raise PairError(
            f"a preference needs two rows per group, chosen and rejected, but the groups have "
            f"{sorted({int(x) for x in sizes})} rows. Give data with `chosen` and `rejected`."
        )
    gap = total - group_mean(total, group)
    if (gap == 0).any():
        raise PairError(
            "both rows of a pair have the same reward, so neither is chosen. Drop the pair."
        )
    return _spread_over_row(s, gap.sign())


def _row_return(s: Signals) -> Tensor:
    _one_trajectory(s)
    return trajectory_return(s.reward, s.discount, s.end)


def _one_trajectory(s: Signals) -> None:
    ends = (s.end & s.mask).sum(1)
    many = (ends > 1).nonzero()
    if len(many):
        raise TrajectoryError(
            f"row {int(many[0])} holds {int(ends[int(many[0])])} trajectories, but this credit "
            "compares whole trajectories: draw one a row, or take `gae`, which reads streams."
        )


def _spread_over_row(s: Signals, row: Tensor) -> Tensor:
    return row[:, None].expand(s.mask.shape).clone()
