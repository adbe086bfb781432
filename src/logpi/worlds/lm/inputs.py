"""`Completions`: what a batch of the language world holds as its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from logpi.core.errors import ShapeError

__all__ = ["Completions"]


@dataclass(frozen=True, slots=True)
class Completions:
    """N completions of P prompts.

    A decision is a token of a completion, its end-of-sequence token included; the state is
    everything before it. The policy is softmax(logits / temperature).

    Raises `ShapeError` where the fields do not fit together.
    """

    prompts: tuple[Tensor, ...]  # P tensors of token ids, each [length of that prompt], none empty
    prompt_of: Tensor  # [n] int64: which prompt row i continues
    tokens: Tensor  # [n, t] int64: completion ids, padded on the right
    length: Tensor  # [n] int64: how many of them are real
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check that the fields fit together."""
        rows = len(self.tokens)
        if self.prompt_of.shape != (rows,) or self.length.shape != (rows,):
            raise ShapeError(
                f"`tokens` has {rows} rows but `prompt_of` is {list(self.prompt_of.shape)} and "
                f"`length` is {list(self.length.shape)}. Each row needs one prompt and one length."
            )
        if any(len(prompt) == 0 for prompt in self.prompts):
            raise ShapeError(
                "a prompt has no tokens. The first decision needs a state to be taken in."
            )

    @property
    def mask(self) -> Tensor:
        """[n, t] True where there is a token."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.length[:, None]

    def take(self, rows: Tensor) -> Completions:
        """The completions of these rows [k], of the same prompts."""
        return replace(
            self,
            prompt_of=self.prompt_of[rows],
            tokens=self.tokens[rows],
            length=self.length[rows],
        )
