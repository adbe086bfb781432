"""Packed sequences: a prompt once, its completions attached to it, no padding outside attention.

The positions of a micro-batch go through the trunk as one row [1, N]: first the *stems* (prompts
that several rows continue), then the *branches* (those rows), then the *singles* (a prompt together
with the one row that continues it). Norms and matrix products see no padding, and a prompt's keys
and values are computed once, with gradient. Only attention has to know about it; transformers
chooses a model's attention function by name, so this module registers one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from logpi.worlds.lm.packing import Group, Ids

__all__ = ["Block", "Layout", "layout"]

_CALL = 128
"""What attention to one more block costs, in padded positions: about 0.4 ms of one CPU core."""


@dataclass(slots=True)
class Block:
    """Rows of like length at [start, stop) of the packed row, padded for attention alone."""

    start: int
    stop: int
    length: Ids  # [rows]
    offset: Ids  # [rows] the position that each row's first token has in its sequence
    stem: Ids | None = None  # [rows] which stem a row continues; None where it stands alone
    gather: Tensor | None = None  # [rows * width] into the block; None where rows are equally long
    scatter: Tensor | None = None  # [stop - start] into [rows * width]
    hole: Tensor | None = None  # what of [rows * width] is padding
    stem_index: Tensor | None = None
    masks: dict[Any, Tensor] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """The longest row."""
        return int(self.length.max())

    def to(self, device: torch.device) -> Block:
        """The same block with the indices that its padding needs."""
        if self.stem is not None:
            self.stem_index = torch.from_numpy(self.stem).to(device)
        if (self.length != self.width).any():
            real = np.arange(self.width) < self.length[:, None]
            gather = np.zeros(real.shape, np.int64)
            gather[real] = np.arange(self.stop - self.start)
            self.gather = torch.from_numpy(gather.ravel()).to(device)
            self.scatter = torch.from_numpy(np.flatnonzero(real)).to(device)
            self.hole = torch.from_numpy(np.flatnonzero(~real)).to(device)
        return self

    def pad(self, x: Tensor) -> Tensor:
        """[rows, width, ...] from the block's own [stop - start, ...]."""
        if self.gather is not None:
            x = _Spread.apply(x, self.gather, self.scatter)
        return x.reshape(len(self.length), self.width, *x.shape[1:])

    def unpad(self, x: Tensor) -> Tensor:
        """[stop - start, ...] from [rows, width, ...]."""
        x = x.reshape(len(self.length) * self.width, *x.shape[2:])
        if self.scatter is not None:
            x = _Collect.apply(x, self.scatter, self.gather, self.hole)
        return x

    def causal(self, window: int | None) -> bool:
        """Whether every token sees exactly its row up to itself."""
        return self.stem is None and (window is None or self.width <= window)

    def mask(self, stems: Block | None, window: int | None, like: Tensor) -> Tensor:
        """What is added to the scores, [rows or 1, 1, width, keys]."""
        key = (window, like.dtype)
        if key not in self.masks:
            allowed = self._allowed(stems, window)
            bias = torch.zeros(allowed.shape, dtype=like.dtype)
            bias.masked_fill_(~torch.from_numpy(allowed), float("-inf"))
            self.masks[key] = bias[:, None].to(like.device)
        return self.masks[key]

    def _allowed(self, stems: Block | None, window: int | None) -> np.ndarray:
        step = np.arange(self.width)
        offset = (
            self.offset[:, None] if (self.offset != self.offset[0]).any() else self.offset[:1, None]
        )
        query = key = offset + step
        real = np.ones((1, 1), bool)
        if self.stem is not None and stems is not None:
            stem = np.arange(stems.width)[None]
            real = np.concatenate([stem < offset, np.ones((len(offset), self.width), bool)], 1)
            key = np.concatenate([np.broadcast_to(stem, (len(offset), stems.width)), key], 1)
        allowed = (key[:, None, :] <= query[:, :, None]) & real[:, None, :]
        if window is not None:
            allowed &= query[:, :, None] - key[:, None, :] < window
        return allowed


class _Spread(torch.autograd.Function):
    """Rows of x into slots. A slot of padding holds some row of x; its gradient is dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(scatter)
        return x.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return g.index_select(0, ctx.saved_tensors[0]), None, None


class _Collect(torch.autograd.Function):
    """Rows of x out of padded slots. The gradient of a slot of padding is 0."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, scatter: Tensor, gather: Tensor, hole: Tensor
    ) -> Tensor:
        ctx.save_for_backward(gather, hole)
        return x.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        gather, hole = ctx.saved_tensors
        return g.index_select(0, gather).index_fill_(0, hole, 0), None, None, None


@dataclass(slots=True)
class Layout:
    """Where everything is in a packed row."""

    ids: Tensor  # [1, N]
    position_ids: Tensor  # [1, N]
    stems: Block | None
    blocks: list[Block]  # branches and singles
    before: list[
        Ids
    ]  # per row of the group: the packed positions whose hidden states decide its tokens

    @property
    def all_blocks(self) -> list[Block]:
        """Every block, in the order of the packed row."""
        return ([self.stems] if self.stems else []) + self.blocks


def layout(group: Group, prompts: Sequence[Ids], device: torch.device) -> Layout:
    """The packed form of a micro-batch: stems, branches by length, singles by length."""
    uses: dict[int, int] = {}
    for row in group:
        uses[row.prompt] = uses.get(row.prompt, 0) + 1
    shared = [p for p, times in uses.items() if times > 1]
    build = _Builder()
    if shared:
        build.block([prompts[p] for p in shared], np.zeros(len(shared), np.int64))
    stem_of = {p: i for i, p in enumerate(shared)}
    stem_end = np.cumsum([len(prompts[p]) for p in shared]) - 1
    before: list[Ids] = [np.empty(0, np.int64)] * len(group)
    branches = [i for i, row in enumerate(group) if row.prompt in stem_of]
    for i in branches:
        before[i] = stem_end[[stem_of[group[i].prompt]]]
    long = [i for i in branches if len(group[i].tokens) > 1]
    for chosen in _by_length(long, [len(row.tokens) - 1 for row in group]):
        stem = np.array([stem_of[group[i].prompt] for i in chosen])
        offset = np.array([len(prompts[group[i].prompt]) for i in chosen])
        spans = build.block([group[i].tokens[:-1] for i in chosen], offset, stem)
        for i, span in zip(chosen, spans, strict=True):
            before[i] = np.concatenate([before[i], span])
    singles = [i for i, row in enumerate(group) if row.prompt not in stem_of]
    whole = {i: np.concatenate([prompts[group[i].prompt], group[i].tokens[:-1]]) for i in singles}
    for chosen in _by_length(singles, [len(whole.get(i, ())) for i in range(len(group))]):
        spans = build.block([whole[i] for i in chosen], np.zeros(len(chosen), np.int64))
        for i, span in zip(chosen, spans, strict=True):
            before[i] = span[len(prompts[group[i].prompt]) - 1 :]
    blocks = [block.to(device) for block in build.blocks]
    ids, at = (torch.from_numpy(np.concatenate(x))[None].to(device) for x in (build.ids, build.at))
    return Layout(ids, at, blocks[0] if shared else None, blocks[1 if shared else 0 :], before)


@dataclass(slots=True)
class _Builder:
    ids: list[Ids] = field(default_factory=list)
    at: list[Ids] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def block(self, rows: list[Ids], offset: Ids, stem: Ids | None = None) -> list[Ids]:
        """Add a block; return where its rows lie in the packed row."""
        start = self.blocks[-1].stop if self.blocks else 0
        length = np.array([len(row) for row in rows])
        ends = start + np.cumsum(length)
        self.ids += rows
        self.at += [o + np.arange(n) for o, n in zip(offset, length, strict=True)]
        self.blocks.append(Block(start, int(ends[-1]), length, offset, stem))
        return [np.arange(e - n, e) for e, n in zip(ends, length, strict=True)]


def _by_length(rows: list[int], length: list[int]) -> list[list[int]]:
    """Rows in runs of like length, cut where padding would cost more than another call does.

    The cut is the cheapest: best[k] = min over j of best[j] + (k - j) · longest + cost of a call.
    """
    if not rows:
        return []
    ordered = sorted(rows, key=lambda i: -length[i])
    ends = [k for k in range(1, len(ordered)) if length[ordered[k]] != length[ordered[k - 1]]]
    best, since = {0: 0}, {0: 0}
    for k in [*ends, len(ordered)]:
        costs = [(cost + (k - j) * length[ordered[j]] + _CALL, j) for j, cost in best.items()]
        best[k], since[k] = min(costs)
    runs = []
    k = len(ordered)
    while k:
        runs.append(ordered[since[k] : k])
        k = since[k]
    return runs[::-1]
