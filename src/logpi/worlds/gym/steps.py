"""`Steps`: what the decisions of a batch read and chose, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

__all__ = ["Steps"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What this world's policy and critic read; the batch's mask says which entries mean something.

    `action` is [n, t] long of a Discrete space, [n, t, k] long of a MultiDiscrete, [n, t, k]
    floating point of a MultiBinary, and [n, t, d] floating point of a Box: there the sample of the
    Gaussian itself, before it is clipped or squashed.
    """

    observation: Tensor  # [n, t, *shape] float32, images uint8: as given, never normalised
    action: Tensor
    action_mask: Bool[Tensor, "n t A"] | None  # where the environment gives info["action_mask"]
    final: Tensor  # [n, t, *shape] what followed the decision: the true last one at an end

    def split(self, order: Int[Tensor, " n"], sizes: Sequence[int]) -> list[Steps]:
        """The rows in this order, in parts of these sizes."""
        x, a, mask, final = (
            [None] * len(sizes) if part is None else part[order].split(sizes)
            for part in (self.observation, self.action, self.action_mask, self.final)
        )
        return [Steps(*part) for part in zip(x, a, mask, final, strict=True)]  # type: ignore[arg-type] # only masks may be None

    def unroll(self, mask: Bool[Tensor, "n t"]) -> Steps:
        """Each decision of the mask as a row of its own, in order: k rows of one decision.

        >>> import torch
        >>> x, a = torch.arange(4.0).reshape(2, 2, 1), torch.tensor([[0, 1], [1, 0]])
        >>> s = Steps(x, a, None, x + 1).unroll(torch.tensor([[True, False], [True, True]]))
        >>> s.observation.shape, s.action.tolist()
        (torch.Size([3, 1, 1]), [[0], [1], [0]])
        """
        whole = bool(mask.all())

        def rows(x: Tensor) -> Tensor:
            # A view where the memory allows it: most rollouts have no step to drop.
            return x.reshape(-1, 1, *x.shape[2:]) if whole else x[mask][:, None]

        allowed = None if self.action_mask is None else rows(self.action_mask)
        return Steps(rows(self.observation), rows(self.action), allowed, rows(self.final))
