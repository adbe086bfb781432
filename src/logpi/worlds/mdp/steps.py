"""`Steps`: the decisions of a batch of trajectories, as state, action and successor numbers."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

__all__ = ["Steps"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What an MDP's policy and critic read: [n, t] each, 0 where the batch's mask is False."""

    state: Int[Tensor, "n t"]
    action: Int[Tensor, "n t"]
    next_state: Int[Tensor, "n t"]
