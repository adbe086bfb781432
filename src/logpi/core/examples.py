"""A batch small enough to read: two rows of two decisions, for the examples in the docstrings."""

from __future__ import annotations

import torch
from torch import Tensor

from logpi.core.types import Signals

__all__ = ["signals"]


def signals(**known: Tensor) -> Signals:
    """Two rows of one group; the rewards 1 and 2 come at the end, γ = 1, V = ½ everywhere.

    >>> signals().reward.tolist()
    [[0.0, 1.0], [0.0, 2.0]]
    """
    facts = Signals(
        mask=torch.ones(2, 2, dtype=torch.bool),
        reward=torch.tensor([[0.0, 1.0], [0.0, 2.0]]),
        discount=torch.tensor([[1.0, 0.0], [1.0, 0.0]]),
        end=torch.tensor([[False, True], [False, True]]),
        weight=torch.full((2,), 0.5),
        group=torch.tensor([0, 0]),
        value=torch.full((2, 2), 0.5),
        next_value=torch.full((2, 2), 0.5),
    )
    return facts.having(**known)
