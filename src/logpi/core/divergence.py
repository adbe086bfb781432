"""How far two policies are apart: KL estimators, exact KL and entropy, effective sample size."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["effective_sample_size", "entropy", "k1", "k2", "k3", "kl"]


def k1(logp: Float[Tensor, "*s"], logp_ref: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """logp − logp_ref: unbiased for KL(π‖π_ref) under samples of π, often negative. Schulman 2020.

    >>> k1(torch.tensor([-1.0]), torch.tensor([-2.0])).tolist()
    [1.0]
    """
    return logp - logp_ref


def k2(logp: Float[Tensor, "*s"], logp_ref: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """½ (logp − logp_ref)²: biased, never negative. Schulman 2020.

    >>> k2(torch.tensor([-1.0]), torch.tensor([-3.0])).tolist()
    [2.0]
    """
    return 0.5 * (logp - logp_ref) ** 2


def k3(logp: Float[Tensor, "*s"], logp_ref: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """u − log u − 1 with u = π_ref/π: unbiased for KL(π‖π_ref) and never negative. Schulman 2020.

    Unbiased as a *value*; as a loss its gradient is that of another divergence: see
    `toward_reference`.

    >>> k3(torch.tensor([-1.0]), torch.tensor([-1.0])).tolist()
    [0.0]
    """
    return torch.expm1(logp_ref - logp) - (logp_ref - logp)


def entropy(logits: Float[Tensor, "*s v"]) -> Float[Tensor, "*s"]:
    """−Σ_a π(a) log π(a) of softmax(logits), in nats.

    >>> entropy(torch.zeros(1, 4)).exp().round().tolist()
    [4.0]
    """
    logp = logits.log_softmax(-1)
    return -torch.where(logp > -torch.inf, logp.exp() * logp, 0.0).sum(-1)


def kl(logits: Float[Tensor, "*s v"], logits_ref: Float[Tensor, "*s v"]) -> Float[Tensor, "*s"]:
    """KL(π‖π_ref) = Σ_a π(a) (log π(a) − log π_ref(a)) of two softmax policies, in nats, exactly.

    >>> kl(torch.zeros(1, 4), torch.zeros(1, 4)).tolist()
    [0.0]
    """
    logp, logp_ref = logits.log_softmax(-1), logits_ref.log_softmax(-1)
    return torch.where(logp > -torch.inf, logp.exp() * (logp - logp_ref), 0.0).sum(-1)


def effective_sample_size(log_ratio: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """(Σρ)² / Σρ² of the importance ratios ρ = exp(log_ratio): n where all are equal. Kong 1992.

    >>> round(effective_sample_size(torch.zeros(8)).item(), 6)
    8.0
    """
    return torch.exp(2 * log_ratio.logsumexp(0) - (2 * log_ratio).logsumexp(0))
