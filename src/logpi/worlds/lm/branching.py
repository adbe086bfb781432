"""Attention of new tokens, where all branches of a prompt read its keys and values in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from logpi.worlds.lm.cache import BranchCache, BranchLayer

__all__ = ["Branching", "Forest", "attend"]

_NAME = "logpi_branches"


@dataclass(slots=True)
class Forest:
    """Which branch continues which prompt, and how far all are: what attention needs of a step."""

    cache: BranchCache
    prompt: np.ndarray  # [branches]: index of each branch's prompt among the cache's
    lengths: np.ndarray  # [prompts]: tokens of each prompt in the cache
    written: int  # tokens that every branch holds of its own, the one being run included
    device: torch.device
    _grids: dict[int, _Grid] = field(default_factory=dict)
    _masks: dict[tuple[int | None, int], Tensor | None] = field(default_factory=dict)

    def grid(self, heads: int) -> _Grid:
        """How branches are laid out prompt by prompt, for this many key-value heads."""
        if heads not in self._grids:
            self._grids[heads] = _grid(self.prompt, len(self.lengths), heads, self.device)
        return self._grids[heads]

    def mask(self, window: int | None, longest: int, room: int) -> Tensor | None:
        """[branches or 1, 1, 1, longest + room] 0 where a branch sees a key, else -inf.

        None where all see all.
        """
        key = (window, room)
        if key not in self._masks:
            seen = self._seen(window, longest, room)
            if seen.all():
                self._masks[key] = None
            else:
                mask = torch.from_numpy(np.where(seen, np.float32(0), np.float32(-np.inf)))
                self._masks[key] = mask[:, None, None].to(self.device, non_blocking=True)
        return self._masks[key]

    def _seen(self, window: int | None, longest: int, room: int) -> np.ndarray:
        alike = (self.lengths == self.lengths[0]).all()
        lengths = self.lengths[:1] if alike else self.lengths[self.prompt]
        # The last position behind the prompt that the window leaves out.
        first = -1 if window is None else self.written - 1 - window
        prompt = np.arange(longest)
        own = np.arange(room)
        of_prompt = prompt < lengths[:, None]
        if window is not None:
            of_prompt &= prompt > (lengths + first)[:, None]
        of_own = (own < self.written) & (own > first)
        return np.concatenate([of_prompt, np.broadcast_to(of_own, (len(lengths), room))], axis=1)


@dataclass(frozen=True, slots=True)
class _Grid:
    """[prompts, heads, slots] places for [branches, heads]; no index where all is in place."""

    prompts: int
    slots: int
    heads: int
    take: Tensor | None  # [prompts · heads · slots]: which (branch, head) goes there
    put: Tensor | None  # [branches · heads]: the place of each (branch, head)

    def spread(self, x: Tensor) -> Tensor:
        """[branches, heads, r, c] as [prompts, heads, slots · r, c]."""
        r, c = x.shape[2:]
        flat = x.reshape(-1, r * c)
        laid = flat if self.take is None else flat.index_select(0, self.take)
        return laid.view(self.prompts, self.heads, self.slots * r, c)

    def gather(self, x: Tensor) -> Tensor:
        """[prompts, heads, slots · r, c] as [branches, heads, r, c]."""
        r, c = x.shape[2] // self.slots, x.shape[3]
        flat = x.reshape(-1, r * c)
        laid = flat if self.put is None else flat.index_select(0, self.put)
        return laid.view(-1, self.heads, r, c)


def _grid(prompt: np.ndarray, prompts: int, heads: int, device: torch.device) -> _Grid:
    branches = len(prompt)
    if branches == prompts and (prompt == np.arange(prompts)).all():
        return _Grid(prompts, 1, heads, None, None)
    order = np.argsort(prompt, kind="stable")
    count = np.bincount(prompt, minlength=prompts)
    slots = int(count.max())
    slot = np.empty(branches, dtype=np.int64)
    slot[order] = np.arange(branches) - np.repeat(np.cumsum(count) - count, count)
    head = np.arange(heads)
    put = (prompt[:, None] * heads + head) * slots + slot[:, None]
    take = np.zeros(prompts * heads * slots, dtype=np.int64)
    take[put] = np.arange(branches)[:, None] * heads + head
    to_device = [torch.from_numpy(x.reshape(-1)).to(device, non_blocking=True) for x in (take, put)]
    return _Grid(prompts, slots, heads, *to_device)


_shown: ContextVar[Forest | None] = ContextVar("logpi_forest", default=None)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """[branches, 1, heads, size] attention outputs, as `AttentionInterface` wants them.

    One softmax runs over a prompt's keys and a branch's own. The prompt's are multiplied with the
    queries of all its branches at once, so that they are stored and read once a prompt.
    """
    forest = _shown.get()
    assert forest is not None
    assert query.shape[2] == 1
    layer = forest.cache.layers[module.layer_idx]  # type: ignore[index]  # set where there is a cache
    assert isinstance(layer, BranchLayer)
    branches, heads, _, size = query.shape
    grid = forest.grid(key.shape[1])
    query = query.view(branches, key.shape[1], heads // key.shape[1], size)
    query = query * (size**-0.5 if scaling is None else scaling)
    of_prompt = torch.matmul(grid.spread(query), layer.prompt_keys.transpose(2, 3))
    scores = torch.cat([grid.gather(of_prompt), torch.matmul(query, key.transpose(2, 3))], dim=-1)
    longest, room = layer.prompt_keys.shape[2], key.shape[2]
    weights = _softmax(scores, softcap, forest.mask(sliding_window, longest, room)).to(value.dtype)
    of_prompt, own = weights.split([longest, room], dim=-1)
    output = torch.matmul(own, value)
    output += grid.gather(torch.matmul(grid.spread(of_prompt), layer.prompt_values))
    return output.view(branches, 1, heads, value.shape[3]), None


def _softmax(scores: Tensor, softcap: float | None, mask: Tensor | None) -> Tensor:
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))


AttentionInterface.register(_NAME, attend)


class Branching:
    """Lets a model attend to a forest, for one forward pass at a time.

    transformers makes no mask for an attention that it knows no mask function for, which is what
    is wanted here.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        modules = [m for m in model.modules() if isinstance(m, PreTrainedModel)]
        self._configs = list({id(m.config): m.config for m in modules}.values())

    @contextlib.contextmanager
    def __call__(self, forest: Forest) -> Iterator[None]:
        """The model attends to this forest while the context lasts."""
        before = [config._attn_implementation for config in self._configs]
        token = _shown.set(forest)
        try:
            for config in self._configs:
                config._attn_implementation = _NAME
            yield
        finally:
            _shown.reset(token)
            for config, name in zip(self._configs, before, strict=True):
                config._attn_implementation = name
