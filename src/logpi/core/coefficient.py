"""How strongly each log-probability is pushed now: read at every gradient step.

A coefficient is local to a row, or to a preference pair; it may never look across the batch. All of
them are for ascent: ∇J = Σ weight · coefficient · ∇logp. With ρ = exp(logp − logp_old), u =
exp(logp_ref − logp) and A the credit.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from logpi.core.groups import group_sum
from logpi.core.traits import factory, preferring, traits
from logpi.core.types import Coefficient, Signals

__all__ = [
    "clipped_importance",
    "clipped_ratio",
    "dual_clipped_ratio",
    "identity_margin",
    "importance",
    "mean_preference_margin",
    "plain",
    "preference_margin",
    "reference_free_margin",
    "reference_k1",
    "reference_k2",
    "sequence_ratio",
    "soft_gate",
    "total",
    "toward_reference",
    "truncated_importance",
]


@traits(proportional=True)
def plain(s: Signals) -> Float[Tensor, "n t"]:
    """A: the policy gradient as the theorem states it. Sutton et al. 1999.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> plain(signals(credit=torch.ones(2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return s.need("credit")


@traits(reads=("logp", "logp_old"), proportional=True)
def importance(s: Signals) -> Float[Tensor, "n t"]:
    """ρ A: behaviour data under another policy; ρ is a number here, never differentiated.

    Off-PAC, Degris et al. 2012, arXiv 1205.4839, section 2.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> importance(signals(credit=z + 2, logp=z, logp_old=z)).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    return s.need("credit") * _ratio(s)


@factory(reads=("logp", "logp_old"), proportional=True)
def clipped_ratio(low: float = 0.2, high: float = 0.2) -> Coefficient:
    """A ρ, and 0 where A > 0 and ρ > 1 + high, or A < 0 and ρ < 1 − low.

    The gradient of min(ρA, clip(ρ, 1−low, 1+high) A): PPO, arXiv 1707.06347, eq. 7; with high > low
    the "clip higher" of DAPO, arXiv 2503.14476, eq. 10.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> r = torch.tensor([[1.0, 1.3], [0.7, 1.0]])
    >>> a = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    >>> clipped_ratio()(signals(credit=a, logp=r.log(), logp_old=torch.zeros(2, 2))).tolist()
    [[1.0, 0.0], [0.0, -1.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        return _gated(s.need("credit"), _ratio(s), low, high)

    return coefficient


@factory(reads=("logp", "logp_old"), proportional=True)
def dual_clipped_ratio(low: float = 0.2, high: float = 0.2, cap: float = 3.0) -> Coefficient:
    """`clipped_ratio`, and 0 where A < 0 and ρ > cap. Dual-clip PPO, arXiv 1912.09729, eq. 5.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> r = torch.tensor([[4.0, 2.0], [1.0, 1.0]])
    >>> s = signals(credit=-torch.ones(2, 2), logp=r.log(), logp_old=torch.zeros(2, 2))
    >>> dual_clipped_ratio()(s).tolist()
    [[0.0, -2.0], [-1.0, -1.0]]
    """
    clipped = clipped_ratio(low, high)

    def coefficient(s: Signals) -> Tensor:
        runaway = (s.need("credit") < 0) & (_ratio(s) > cap)
        return torch.where(runaway, 0.0, clipped(s))

    return coefficient


@factory(reads=("logp", "logp_old"), proportional=True)
def clipped_importance(low: float = 1.0, high: float = 4.0) -> Coefficient:
    """clip(ρ, 1 − low, 1 + high) A: the weight is clipped, the gradient never gated.

    CISPO, MiniMax-M1, arXiv 2506.13585, eq. 4 and 5.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> r = torch.tensor([[9.0, 1.0], [1.0, 1.0]])
    >>> s = signals(credit=torch.ones(2, 2), logp=r.log(), logp_old=torch.zeros(2, 2))
    >>> clipped_importance()(s).tolist()
    [[5.0, 1.0], [1.0, 1.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        return s.need("credit") * _ratio(s).clamp(1 - low, 1 + high)

    return coefficient


@factory(reads=("logp", "logp_old"), proportional=True, whole_row=True)
def sequence_ratio(low: float = 3e-4, high: float = 4e-4) -> Coefficient:
    """s A with s = exp(mean over the row of logp − logp_old), gated where PPO's clip would gate s.

    GSPO, arXiv 2507.18071, eq. 5–7.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> s = signals(credit=z + 1, logp=torch.tensor([[0.1, -0.1], [0.1, 0.1]]), logp_old=z)
    >>> sequence_ratio()(s).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        credit = s.need("credit")
        ratio = _finite_exp(_row_mean(s, s.need("logp") - s.need("logp_old")))[:, None]
        return _gated(credit, ratio, low, high)

    return coefficient


@factory(reads=("logp", "logp_old"), proportional=True)
def soft_gate(tau_positive: float = 1.0, tau_negative: float = 1.05) -> Coefficient:
    """A · 4σ(z)(1 − σ(z)) · ρ with z = τ (ρ − 1): a gate that closes smoothly.

    SAPO, arXiv 2511.20347, eq. 5–6 differentiated; τ is larger for negative credits.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> soft_gate()(signals(credit=z + 1, logp=z, logp_old=z)).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        credit, ratio = s.need("credit"), _ratio(s)
        z = torch.where(credit > 0, tau_positive * (ratio - 1), tau_negative * (ratio - 1))
        return credit * 4 * torch.sigmoid(z) * torch.sigmoid(-z) * ratio

    return coefficient


@factory(reads=("logp", "logp_ref"))
def toward_reference(beta: float = 0.04) -> Coefficient:
    """β (u − 1): the estimator k3 = u − log u − 1 in the loss. DeepSeekMath, eq. 4 and 21.

    On-policy its mean is the gradient of the *forward* KL(π_ref‖π), not of the reverse one.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> toward_reference(beta=0.5)(signals(logp=z, logp_ref=z)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        return beta * torch.expm1(s.need("logp_ref") - s.need("logp"))

    return coefficient


@factory(reads=("logp", "logp_ref"))
def reference_k2(beta: float = 0.04) -> Coefficient:
    """−β (logp − logp_ref): the estimator k2 in the loss: on average the gradient of reverse KL.

    Schulman 2020, "Approximating KL divergence".

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> reference_k2(beta=0.5)(signals(logp=z, logp_ref=z - 1)).tolist()
    [[-0.5, -0.5], [-0.5, -0.5]]
    """

    def coefficient(s: Signals) -> Tensor:
        return -beta * (s.need("logp") - s.need("logp_ref"))

    return coefficient


@factory(reads=("logp",))
def reference_k1(beta: float = 0.04) -> Coefficient:
    """−β: the estimator k1 in the loss. Its mean is the gradient of nothing: E[∇logp] = 0.

    Schulman 2020, "Approximating KL divergence".

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> reference_k1(beta=0.5)(signals(logp=z, logp_ref=z)).tolist()
    [[-0.5, -0.5], [-0.5, -0.5]]
    """

    def coefficient(s: Signals) -> Tensor:
        return torch.full_like(s.need("logp"), -beta)

    return coefficient


@factory(reads=("logp", "logp_ref", "group"), proportional=True, whole_row=True)
def preference_margin(beta: float = 0.1) -> Coefficient:
    """A β σ(−m), m = β (Δ_chosen − Δ_rejected), Δ = Σ_t (logp − logp_ref). DPO, 2305.18290, eq. 7.

    A is +1 on the chosen row and −1 on the rejected one.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z, a = torch.zeros(2, 2), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    >>> preference_margin(beta=0.5)(signals(credit=a, logp=z, logp_ref=z)).tolist()
    [[-0.25, -0.25], [0.25, 0.25]]
    """

    def coefficient(s: Signals) -> Tensor:
        return s.need("credit") * (beta * torch.sigmoid(-beta * _total_lead(s)))[:, None]

    return preferring(coefficient, _total_lead)


@factory(reads=("logp", "logp_ref", "group"), proportional=True, whole_row=True)
def mean_preference_margin(beta: float = 0.1) -> Coefficient:
    """A (β/len) σ(−m), m = β (Δ_chosen − Δ_rejected), Δ the *mean* of logp − logp_ref over the row.

    DPO as DeepSeekMath writes it (arXiv 2402.03300, eq. 12, differentiated; its eq. 14 drops β and
    the mean).

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z, a = torch.zeros(2, 2), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    >>> mean_preference_margin(beta=0.5)(signals(credit=a, logp=z, logp_ref=z)).tolist()
    [[-0.125, -0.125], [0.125, 0.125]]
    """

    def coefficient(s: Signals) -> Tensor:
        push = beta * torch.sigmoid(-beta * _mean_lead(s)) / _lengths(s)
        return s.need("credit") * push[:, None]

    return preferring(coefficient, _mean_lead)


@factory(reads=("logp", "logp_ref", "group"), proportional=True, whole_row=True)
def identity_margin(beta: float = 0.1) -> Coefficient:
    """A · 2 (1/(2β) − (Δ_chosen − Δ_rejected)): IPO, arXiv 2310.12036, eq. 17, with β its τ.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z, a = torch.zeros(2, 2), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    >>> identity_margin(beta=0.5)(signals(credit=a, logp=z, logp_ref=z)).tolist()
    [[-2.0, -2.0], [2.0, 2.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        return s.need("credit") * (2 * (1 / (2 * beta) - _total_lead(s)))[:, None]

    return preferring(coefficient, _total_lead)


@factory(reads=("logp", "group"), proportional=True, whole_row=True)
def reference_free_margin(beta: float = 2.0, gamma: float = 1.0) -> Coefficient:
    """A (β/len) σ(−m), m = β (mean logp_chosen − mean logp_rejected) − γ: SimPO, 2405.14734, eq. 6.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z, a = torch.zeros(2, 2), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    >>> reference_free_margin(beta=2.0, gamma=0.0)(signals(credit=a, logp=z)).tolist()
    [[-0.5, -0.5], [0.5, 0.5]]
    """

    def coefficient(s: Signals) -> Tensor:
        margin = beta * _own_lead(s) - gamma
        return s.need("credit") * (beta * torch.sigmoid(-margin) / _lengths(s))[:, None]

    return preferring(coefficient, _own_lead)


@factory(reads=("logp_old", "logp_sampler"))
def truncated_importance(coefficient: Coefficient, cap: float = 2.0) -> Coefficient:
    """Another coefficient times min(π_old / π_sampler, cap): a sampler that is not the policy.

    Truncated importance sampling (Ionides 2008; for LLM trainers, Yao et al. 2025). After top-k,
    top-p or min-p the factor is the kept probability mass, at most 1, so the cap never binds and
    the estimate is right over what could be sampled.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> z = torch.zeros(2, 2)
    >>> s = signals(credit=z + 1, logp_old=z - 1, logp_sampler=z - 1)
    >>> truncated_importance(plain)(s).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def corrected(s: Signals) -> Tensor:
        gap = torch.where(s.mask, s.need("logp_old") - s.need("logp_sampler"), 0.0)
        return coefficient(s) * gap.exp().clamp(max=cap)

    return corrected


@factory()
def total(*terms: Coefficient) -> Coefficient:
    """The sum of several coefficients: a policy term and a pull toward the reference, say.

    >>> import torch
    >>> from logpi.core.examples import signals
    >>> total(plain, plain)(signals(credit=torch.ones(2, 2))).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    def coefficient(s: Signals) -> Tensor:
        return torch.stack([term(s) for term in terms]).sum(0)

    return coefficient


def _gated(credit: Tensor, ratio: Tensor, low: float, high: float) -> Tensor:
    """A ρ, and 0 where the clipped one is the smaller: min(ρA, clip(ρ)A) then has no slope."""
    pushed = credit * ratio
    return pushed.masked_fill(pushed > credit * ratio.clamp(1 - low, 1 + high), 0.0)


def _ratio(s: Signals) -> Tensor:
    gap = s.need("logp") - s.need("logp_old")
    return _finite_exp(torch.where(s.mask, gap, 0.0))


def _finite_exp(x: Tensor) -> Tensor:
    # Never inf: where the credit is 0 or the gate is shut, 0 · inf would be NaN.
    return x.exp().clamp(max=torch.finfo(x.dtype).max)


def _row_sum(s: Signals, x: Tensor) -> Tensor:
    return torch.where(s.mask, x, 0.0).sum(1)


def _lengths(s: Signals) -> Tensor:
    return s.mask.sum(1).clamp(min=1).to(s.reward.dtype)


def _row_mean(s: Signals, x: Tensor) -> Tensor:
    return _row_sum(s, x) / _lengths(s)


def _total_lead(s: Signals) -> Tensor:
    return _lead(s, _row_sum(s, s.need("logp") - s.need("logp_ref")))


def _mean_lead(s: Signals) -> Tensor:
    return _lead(s, _row_mean(s, s.need("logp") - s.need("logp_ref")))


def _own_lead(s: Signals) -> Tensor:
    return _lead(s, _row_mean(s, s.need("logp")))


def _lead(s: Signals, gap: Tensor) -> Tensor:
    """The chosen row's gap minus the rejected row's, on both rows of the pair."""
    decided = torch.where(s.mask, s.need("credit"), 0.0)
    return group_sum(decided.sum(1) / _lengths(s) * gap, s.need("group"))
