"""The natural step: along F⁻¹g, as far as a trust region in KL allows.

TRPO, arXiv 1502.05477, appendix C: F x = g by conjugate gradients, the step √(2δ / xᵀFx) · x, then
backtracking until the surrogate has grown and the KL is at most δ. Where no step does, the
parameters are what they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from logpi.core.aggregate import per_token
from logpi.core.types import Signals, TrustPolicy
from logpi.train.sections import NaturalConfig

__all__ = ["conjugate_gradients", "natural_step", "step_length"]


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], g: Tensor, *, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """x with F x ≈ g, for a positive F that is known only by its `product` with a vector.

    Hestenes and Stiefel 1952. Ends after `iterations`, or once |F x − g|² < tolerance · |g|².

    >>> F = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradients(lambda v: F @ v, torch.tensor([1.0, 2.0]), iterations=2).tolist()
    [0.0909, 0.6363]
    """
    x, r = torch.zeros_like(g), g.clone()
    p, rr = r.clone(), r @ r
    enough = tolerance * rr
    for _ in range(iterations):
        if rr <= enough:
            break
        Fp = product(p)
        curvature = p @ Fp
        if curvature <= 0:  # rounding, or a direction that changes no probability
            break
        alpha = rr / curvature
        x, r = x + alpha * p, r - alpha * Fp
        rr, before = r @ r, rr
        p = r + (rr / before) * p
    return x


def step_length(delta: float, curvature: float) -> float:
    """√(2δ / xᵀFx): how far along x the quadratic model of the KL reaches δ; 0 where it is flat.

    >>> step_length(0.01, 0.5)
    0.2
    """
    return math.sqrt(2 * delta / curvature) if curvature > 0 else 0.0


def natural_step(
    policy: TrustPolicy,
    inputs: Any,
    signals: Signals,
    weight: Tensor,
    *,
    config: NaturalConfig,
) -> dict[str, float]:
    """Figures of the step: KL, its share of the full step, and whether it was taken.

    Expects −∇J in the parameters' gradients, where `accumulate` leaves it, and empties them. The
    KL is the mean over the batch's decisions of KL(π_before ‖ π_after).
    """
    parameters = [p for _, p in policy.named_parameters()]
    g = -torch.cat([_gradient(p).reshape(-1) for p in parameters])
    for p in parameters:
        p.grad = None
    mean = per_token(signals.mask, signals.weight)
    before = policy.snapshot(inputs)

    def kl() -> Tensor:
        return (mean * torch.where(signals.mask, policy.kl_from(inputs, before), 0.0)).sum()

    product = _fisher_product(kl, parameters, config.damping)
    x = conjugate_gradients(product, g, iterations=config.cg_iterations)
    length = step_length(config.delta, float(x @ product(x)))
    if not (length > 0 and math.isfinite(length)):
        return {"kl": 0.0, "step_share": 0.0, "step_taken": 0.0}
    search = _Search(policy, inputs, signals, weight)
    return search.backtrack(parameters, length * x, kl, config)


def _gradient(p: Parameter) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad


def _fisher_product(
    kl: Callable[[], Tensor], parameters: list[Parameter], damping: float
) -> Callable[[Tensor], Tensor]:
    """v ↦ (F + damping) v: at the policy itself the KL's Hessian is the Fisher information."""
    first = torch.autograd.grad(kl(), parameters, create_graph=True)
    slope = torch.cat([d.reshape(-1) for d in first])

    def product(v: Tensor) -> Tensor:
        second = torch.autograd.grad(slope @ v, parameters, retain_graph=True)
        return torch.cat([d.reshape(-1) for d in second]) + damping * v

    return product


class _Search:
    """The line search: what the surrogate promises at the parameters as they stand."""

    def __init__(self, policy: TrustPolicy, inputs: Any, signals: Signals, weight: Tensor) -> None:
        self.policy, self.inputs = policy, inputs
        self.earned = weight * signals.need("credit")
        self.mask, self.logp = signals.mask, policy.log_prob(inputs)
        self.here = float(torch.where(self.mask, self.earned, 0.0).sum())

    def gain(self) -> float:
        """Σ weight · ρ · A, less what it was at ρ = 1."""
        ratio = (self.policy.log_prob(self.inputs) - self.logp).exp()
        return float(torch.where(self.mask, self.earned * ratio, 0.0).sum()) - self.here

    def backtrack(
        self,
        parameters: list[Parameter],
        step: Tensor,
        kl: Callable[[], Tensor],
        config: NaturalConfig,
    ) -> dict[str, float]:
        start = [p.detach().clone() for p in parameters]
        pieces = step.split([p.numel() for p in parameters])
        for k in range(config.backtracks):
            share = config.shrink**k
            with torch.no_grad():
                for p, old, piece in zip(parameters, start, pieces, strict=True):
                    p.copy_(old + share * piece.view_as(p))
                far = float(kl())
            if self.gain() > 0 and far <= config.delta:
                return {"kl": far, "step_share": share, "step_taken": 1.0}
        with torch.no_grad():
            for p, old in zip(parameters, start, strict=True):
                p.copy_(old)
        return {"kl": 0.0, "step_share": 0.0, "step_taken": 0.0}
