"""Matrix products of a model's linear layers through oneDNN, where torch would use MKL.

In float32 on a CPU torch multiplies with MKL, which runs below the processor's peak on large
products wherever the processor is not Intel's. oneDNN is part of the same torch build.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["OneDNNLinear", "use_onednn"]

_FEWEST_WEIGHTS = 1 << 18
"""Of a layer that gains by it: below, calling through Python costs what the product saves."""


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        flat = g.reshape(-1, g.shape[-1])
        return (
            _product(g, weight.t(), None) if for_x else None,
            flat.t() @ x.reshape(-1, x.shape[-1]) if for_weight else None,
            flat.sum(0) if for_bias and ctx.biased else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class OneDNNLinear(nn.Linear):
    """A linear layer whose products oneDNN computes, where all is plain float32 on a CPU.

    >>> layer = OneDNNLinear(4, 3)
    >>> layer(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        """[..., out] from [..., in]."""
        plain = input.dtype == self.weight.dtype == torch.float32 and input.device.type == "cpu"
        if not plain or torch.is_autocast_enabled("cpu") or input.dim() < 2 or not input.numel():
            return super().forward(input)
        if torch.is_grad_enabled():
            return _Linear.apply(input, self.weight, self.bias)
        return _product(input, self.weight, self.bias)


def use_onednn(model: nn.Module) -> None:
    """Let oneDNN compute the products of the model's large linear layers, where this torch has it.

    >>> model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 4))
    >>> use_onednn(model)
    >>> isinstance(model[0], OneDNNLinear), isinstance(model[1], OneDNNLinear)
    (True, False)
    """
    if not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.numel() >= _FEWEST_WEIGHTS:
            module.__class__ = OneDNNLinear
