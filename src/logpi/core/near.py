"""Values that may not move far from where a batch found them: PPO's value clipping."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["within_reach"]


def within_reach(
    value: Float[Tensor, "*s"],
    before: Float[Tensor, "*s"],
    target: Float[Tensor, "*s"],
    *,
    reach: float,
) -> Bool[Tensor, "*s"]:
    """Where max((v − G)², (v_clip − G)²) has a slope, v_clip = v_old + clip(v − v_old, ±reach).

    There it is that of (v − G)². Elsewhere the value has come nearer to its target than `reach`
    allows, and is left where it is. PPO's reference implementation (openai/baselines, ppo2), called
    value clipping; Engstrom et al., arXiv 2005.12729, section 3.

    >>> import torch
    >>> v, old = torch.tensor([0.1, 0.5, -0.5]), torch.zeros(3)
    >>> within_reach(v, old, torch.ones(3), reach=0.2).tolist()
    [True, False, True]
    """
    moved = value - before
    clipped = before + moved.clamp(-reach, reach)
    # Asked for apart: before + (value − before) need not be the value to the last bit.
    return (moved.abs() <= reach) | ((clipped - target).abs() <= (value - target).abs())
