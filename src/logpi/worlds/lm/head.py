"""`Head`: how a causal language model's last hidden states become logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["Head", "head_of"]


@dataclass(frozen=True, slots=True)
class Head:
    """logits = softcap(h Wᵀ + b) · scale, softcap(x) = c · tanh(x / c).

    Where a model does something else, `plain` is True, `weight` is None, and what the language
    model calls its hidden states are the logits that the model itself computed.
    """

    weight: Tensor | None  # [V, d]
    bias: Tensor | None = None  # [V]
    softcap: float | None = None
    scale: float = 1.0

    @property
    def plain(self) -> bool:
        """True where the model's own logits are used."""
        return self.weight is None

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 (float64 for a float64 model) logits, not divided by a temperature.

        >>> head = Head(torch.eye(2), softcap=1.0, scale=3.0)
        >>> head.logits(torch.tensor([[0.0, 100.0]]))
        tensor([[0., 3.]])
        """
        raw = (
            hidden if self.weight is None else nn.functional.linear(hidden, self.weight, self.bias)
        )
        raw = raw if raw.dtype == torch.float64 else raw.float()
        if self.softcap is not None:
            raw = self.softcap * torch.tanh(raw / self.softcap)
        return raw if self.scale == 1.0 else raw * self.scale


def head_of(model: PreTrainedModel) -> Head:
    """The head that the model's configuration describes; `plain` where it is no linear layer."""
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear:
        return Head(None)
    config = model.config.get_text_config()
    scale = 1.0
    if (times := getattr(config, "logit_scale", None)) is not None:  # Cohere
        scale = float(times)
    if (divided := getattr(config, "logits_scaling", None)) is not None:  # Granite
        scale = 1.0 / float(divided)
    softcap = getattr(config, "final_logit_softcapping", None)  # Gemma 2 and 3
    return Head(layer.weight, layer.bias, None if softcap is None else float(softcap), scale)
