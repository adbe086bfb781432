"""How rows of text become rows of decisions, and several draws one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logpi.core.types import Batch
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import LanguageModel

__all__ = ["batch_of_completions", "completions_of", "joined"]


def completions_of(
    prompts: Sequence[Tensor], completions: Sequence[Tensor], lm: LanguageModel, *, copies: int = 1
) -> Completions:
    """`copies` completions for each prompt, in order, padded on the right, where the model is."""
    tokens = torch.nn.utils.rnn.pad_sequence(
        list(completions), batch_first=True, padding_value=lm.pad
    )
    return Completions(
        prompts=tuple(prompt.to(lm.device) for prompt in prompts),
        prompt_of=torch.arange(len(prompts), device=lm.device).repeat_interleave(copies),
        tokens=tokens.to(lm.device),
        length=torch.tensor([len(c) for c in completions], device=lm.device),
    )


def batch_of_completions(
    inputs: Completions, reward: Tensor, *, group: Tensor | None = None, **known: Any
) -> Batch:
    """Rows of one completion each, every one an episode that its last token ends.

    Running into the limit of new tokens ends it too: the limit is part of the task, and the reward
    that was given for the text as it stands is all that follows. So the last discount is 0, and all
    others are 1.
    """
    mask = inputs.mask
    rows, width = mask.shape
    last = torch.arange(width, device=mask.device) == (inputs.length - 1)[:, None]
    return Batch(
        inputs=inputs,
        mask=mask,
        reward=reward,
        discount=(~last).to(reward.dtype),
        end=last,
        weight=torch.full((rows,), 1 / max(rows, 1), dtype=reward.dtype, device=mask.device),
        group=group,
        **known,
    )


def joined(draws: Sequence[Batch], groups: int | None = None) -> Batch:
    """The rows of several draws as one batch, at most `groups` groups of them."""
    if len(draws) == 1 and groups is None:
        return draws[0]
    return _joined(draws, groups)


def _joined(draws: Sequence[Batch], groups: int | None) -> Batch:
    width = max(b.mask.shape[1] for b in draws)
    offsets = [sum(len(b.inputs.prompts) for b in draws[:k]) for k in range(len(draws))]
    inputs = Completions(
        prompts=tuple(p for b in draws for p in b.inputs.prompts),
        prompt_of=torch.cat([b.inputs.prompt_of + k for b, k in zip(draws, offsets, strict=True)]),
        tokens=torch.cat([_widened(b.inputs.tokens, width) for b in draws]),
        length=torch.cat([b.inputs.length for b in draws]),
        temperature=draws[0].inputs.temperature,
    )
    group = inputs.prompt_of
    _, order = torch.unique(group, return_inverse=True)
    rows = (order < (groups if groups is not None else len(group))).nonzero()[:, 0]

    def column(name: str) -> Tensor | None:
        parts = [getattr(b, name) for b in draws]
        return None if parts[0] is None else torch.cat([_widened(p, width) for p in parts])[rows]

    facts = {
        key: sum(b.facts.get(key, 0.0) for b in draws) / (1 if key in _SUMMED else len(draws))
        for key in draws[0].facts
    }
    return batch_of_completions(
        inputs.take(rows),
        column("reward"),  # type: ignore[arg-type]  # a batch always has rewards
        group=group[rows],
        logp_old=column("logp_old"),
        logp_sampler=column("logp_sampler"),
        scored=column("scored"),
        facts={
            **facts,
            "draws": float(len(draws)),
            "groups": float(len(torch.unique(group[rows]))),
        },
    )


_SUMMED = {"sampled_tokens", "missing", "judged", "rows_dropped"}


def _widened(x: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, width - x.shape[1]))
