"""Terms whose gradient goes through actions that were not taken: no coefficients, and said so."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from logpi.core.traits import factory
from logpi.core.types import Regulariser

__all__ = ["entropy_bonus"]


@factory()
def entropy_bonus(beta: float = 0.01) -> Regulariser:
    """β H(π(·|s)) for each decision, ascended with the policy's own weights. A3C, arXiv 1602.01783.

    >>> import torch
    >>> entropy_bonus(beta=0.5)(torch.ones(1, 2)).tolist()
    [[0.5, 0.5]]
    """

    def regulariser(entropy: Tensor) -> Float[Tensor, "n t"]:
        return beta * entropy

    return regulariser
