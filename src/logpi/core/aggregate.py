"""Averaging weights: constants of the whole batch, fixed before any split: micro-batches just sum.

The row weights are 1/n when rows were sampled and p(trajectory) when they were enumerated.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from logpi.core.traits import factory, traits
from logpi.core.types import Aggregate

__all__ = ["fixed_length", "per_pair", "per_sequence", "per_token", "sum_tokens"]


@traits()
def sum_tokens(mask: Bool[Tensor, "n t"], weight: Float[Tensor, " n"]) -> Float[Tensor, "n t"]:
    """w_i for each decision: a row's sum, then the mean of rows. The policy gradient theorem's own.

    >>> import torch
    >>> sum_tokens(torch.tensor([[True, True], [True, False]]), torch.tensor([0.5, 0.5])).tolist()
    [[0.5, 0.5], [0.5, 0.0]]
    """
    return mask * weight[:, None]


@traits()
def per_sequence(mask: Bool[Tensor, "n t"], weight: Float[Tensor, " n"]) -> Float[Tensor, "n t"]:
    """w_i / |o_i|: a row's mean, then over rows. GRPO, DeepSeekMath, eq. 3. Favours short rows.

    >>> import torch
    >>> per_sequence(torch.tensor([[True, True], [True, False]]), torch.tensor([0.5, 0.5])).tolist()
    [[0.25, 0.25], [0.5, 0.0]]
    """
    return mask * (weight / mask.sum(1).clamp(min=1).to(weight.dtype))[:, None]


@traits()
def per_token(mask: Bool[Tensor, "n t"], weight: Float[Tensor, " n"]) -> Float[Tensor, "n t"]:
    """w_i / Σ_j w_j |o_j|: the mean over the batch's decisions. DAPO, arXiv 2503.14476, eq. 12.

    >>> import torch
    >>> w = per_token(torch.tensor([[True, True], [True, False]]), torch.tensor([0.5, 0.5]))
    >>> w.sum().item(), w[0, 0].item() == w[1, 0].item()
    (1.0, True)
    """
    share = mask * weight[:, None]
    total = share.sum()
    return share / total if total > 0 else share


@factory()
def fixed_length(length: int) -> Aggregate:
    """w_i / length: the sum over a row divided by a constant, so that no length is favoured.

    Dr. GRPO, arXiv 2503.20783, section 3; the constant is the most tokens a completion may have.

    >>> import torch
    >>> fixed_length(4)(
    ...     torch.tensor([[True, True], [True, False]]), torch.tensor([0.5, 0.5])
    ... ).tolist()
    [[0.125, 0.125], [0.125, 0.0]]
    """

    def aggregate(mask: Tensor, weight: Tensor) -> Tensor:
        return mask * (weight / length)[:, None]

    return aggregate


@traits()
def per_pair(mask: Bool[Tensor, "n t"], weight: Float[Tensor, " n"]) -> Float[Tensor, "n t"]:
    """2 w_i: the sum over both rows of a pair, the mean over pairs. DPO, arXiv 2305.18290, eq. 7.

    >>> import torch
    >>> per_pair(torch.tensor([[True, True], [True, False]]), torch.tensor([0.5, 0.5])).tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    return mask * (2 * weight)[:, None]
