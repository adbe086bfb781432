"""The equation: the only line of the library that is differentiated."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["surrogate", "surrogate_slope"]


def surrogate(
    logp: Float[Tensor, "n t"], coefficient: Float[Tensor, "n t"], weight: Float[Tensor, "n t"]
) -> Float[Tensor, ""]:
    """A scalar whose gradient is −Σ weight · coefficient · ∇logp; its value means nothing.

        ∇J(θ) = E_data[ coefficient · ∇ log π_θ(action | state) ]

    The common gradient coefficient is the unified paradigm of DeepSeekMath (arXiv 2402.03300, A.1,
    eq. 5). The coefficient is detached here, and nowhere else.

    >>> import torch
    >>> logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    >>> surrogate(logp, torch.tensor([[3.0, 0.0]]), torch.tensor([[0.5, 0.5]])).backward()
    >>> logp.grad.tolist()
    [[-1.5, -0.0]]
    """
    return -(weight * coefficient.detach() * logp).sum()


def surrogate_slope(
    coefficient: Float[Tensor, "n t"], weight: Float[Tensor, "n t"]
) -> Float[Tensor, "n t"]:
    """∂ surrogate/∂logp = −weight · coefficient, for a policy that differentiates itself.

    >>> import torch
    >>> surrogate_slope(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.5, 0.5]])).tolist()
    [[-1.5, 0.0]]
    """
    return -weight * coefficient
