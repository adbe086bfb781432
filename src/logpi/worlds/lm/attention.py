"""Attention over packed rows: rows of a block see their stem and themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig

from logpi.worlds.lm.packed import Block, Layout

__all__ = ["packed_attention", "supported", "using"]

_NAME = "logpi_packed"
_LAYERS = {"full_attention", "sliding_attention"}
_SHORT = 1 << 13
"""Queries times keys of a row up to which, on a CPU, batched products beat the fused kernel."""

_current: ContextVar[Layout] = ContextVar("logpi_packed_layout")


def supported(config: PreTrainedConfig) -> bool:
    """Whether every layer of such a model is attention that `packed_attention` can mask."""
    layers = getattr(config.get_text_config(), "layer_types", None)
    return layers is None or set(layers) <= _LAYERS


@contextlib.contextmanager
def using(packed: Layout, config: PreTrainedConfig) -> Iterator[None]:
    """The model of this configuration attends as `packed` says, while the context lasts."""
    previous = config._attn_implementation
    token = _current.set(packed)
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = previous
        _current.reset(token)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, N, heads, d] attention of a packed row, from q, k and v of [1, heads, N, d]."""
    packed = _current.get()
    q, k, v = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = _How(packed, sliding_window, scale)
    if softcap is None and _short(packed, q):
        return _ShortRows.apply(q, k, v, how)[None], None  # type: ignore[index]
    return _fused(q, k, v, how, softcap=softcap)[None], None


class _How(NamedTuple):
    packed: Layout
    window: int | None
    scale: float


def _short(packed: Layout, q: Tensor) -> bool:
    if q.device.type != "cpu" or q.dtype not in (torch.float32, torch.float64):
        return False
    return all(block.width * block.keys <= _SHORT for block in packed.all_blocks)


def _fused(q: Tensor, k: Tensor, v: Tensor, how: _How, *, softcap: float | None) -> Tensor:
    """[N, heads, d] by torch's fused attention, block by block."""
    stems, outputs, stem_keys = how.packed.stems, [], None
    if stems is not None:
        stem_keys = stems.pad(k), stems.pad(v)
    for block in how.packed.all_blocks:
        keys, values = block.pad(k), block.pad(v)
        if block.stem_index is not None and stem_keys is not None:
            keys, values = (
                torch.cat([stem.index_select(0, block.stem_index), own], 1)
                for stem, own in zip(stem_keys, (keys, values), strict=True)
            )
        mask = None if block.causal(how.window) else block.mask(stems, how.window, q)
        outputs.append(block.unpad(_attend((block.pad(q), keys, values), mask, how.scale, softcap)))
    return torch.cat(outputs)


def _attend(
    qkv: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, scale: float, softcap: float | None
) -> Tensor:
    """[rows, width, heads, d] from q, k and v of that order; causal where mask is None."""
    q, k, v = (x.transpose(1, 2) for x in qkv)
    if softcap is None:
        out = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return out.transpose(1, 2)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    score = softcap * torch.tanh(q @ k.transpose(2, 3) * scale / softcap)
    if mask is None:
        causal = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).tril()
        score = score.masked_fill(~causal, float("-inf"))
    else:
        score = score + mask
    wide = score.dtype if score.dtype == torch.float64 else torch.float32
    return (score.softmax(-1, dtype=wide).to(v.dtype) @ v).transpose(1, 2)


class _ShortRows(torch.autograd.Function):
    """The same by batched matrix products that keep the probabilities, and nothing expanded twice.

    P = softmax(s Q Kᵀ + M), O = P V;  dV = Pᵀ dO, dS = P ∘ (dO Vᵀ − rowsum), dQ = s dS K, dK = dSᵀ s Q
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, how: _How) -> Tensor:  # type: ignore[override]
        out = torch.empty(q.shape, dtype=q.dtype)
        kept: list[Tensor] = []
        ctx.how, ctx.shapes = how, (q.shape, k.shape)
        for block in how.packed.all_blocks:
            rows = _Rows(block, how.packed.stems, q.shape[1] // k.shape[1])
            queries = rows.queries(q, how.scale)
            keys, values = rows.keys(k), rows.keys(v)
            bias = block.mask(how.packed.stems, how.window, q)
            p = rows.scores(queries, keys, bias)
            p = torch.softmax(p, -1, out=p)
            rows.put_queries(out, torch.bmm(p, values))
            kept += [queries, keys, values, p]
        ctx.save_for_backward(*kept)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        how, (q_shape, k_shape) = ctx.how, ctx.shapes
        dq, dk, dv = (torch.empty(s, dtype=g.dtype) for s in (q_shape, k_shape, k_shape))
        kept = iter(ctx.saved_tensors)
        for block in how.packed.all_blocks:
            rows = _Rows(block, how.packed.stems, q_shape[1] // k_shape[1])
            queries, keys, values, p = (next(kept) for _ in range(4))
            go = rows.queries(g, None)
            rows.add_keys(dv, torch.bmm(p.transpose(1, 2), go))
            ds = torch.bmm(go, values.transpose(1, 2))
            ds = torch._softmax_backward_data(ds, p, -1, p.dtype)
            rows.add_keys(dk, torch.bmm(ds.transpose(1, 2), queries))
            rows.put_queries(dq, torch.bmm(ds, keys).mul_(how.scale))
        return dq, dk, dv, None


class _Rows(NamedTuple):
    """Between the packed [N, heads, d] and a block's [rows · key heads, ..., d]."""

    block: Block
    stems: Block | None
    share: int  # query heads that share a key head

    def queries(self, x: Tensor, scale: float | None) -> Tensor:
        """[rows · key heads, share · width, d]; slots of padding are 0."""
        y = _spread(self.block, x)
        rows, width, heads, d = y.shape
        y = y.view(rows, width, heads // self.share, self.share, d).permute(0, 2, 3, 1, 4)
        out = torch.empty(y.shape, dtype=x.dtype)
        out = out.copy_(y) if scale is None else torch.mul(y, scale, out=out)
        return out.view(-1, self.share * width, d)

    def keys(self, x: Tensor) -> Tensor:
        """[rows · heads, keys, d]: the stem's, then the row's own."""
        own = _spread(self.block, x)
        rows, width, heads, d = own.shape
        before = self.block.before
        out = torch.empty((rows, heads, before + width, d), dtype=x.dtype)
        out[:, :, before:] = own.transpose(1, 2)
        if self.block.stem_index is not None and self.stems is not None:
            stem = _spread(self.stems, x).transpose(1, 2)
            out[:, :, :before] = stem.index_select(0, self.block.stem_index)
        return out.view(rows * heads, before + width, d)

    def scores(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Queries times keys, plus what the mask adds."""
        keys = keys.transpose(1, 2)
        if len(bias) == 1:
            return torch.baddbmm(bias[0].repeat(1, self.share, 1), queries, keys)
        scores = torch.bmm(queries, keys)
        scores.view(len(bias), -1, self.share, *bias.shape[2:]).add_(bias[:, None])
        return scores

    def put_queries(self, out: Tensor, x: Tensor) -> None:
        """Write a block's rows of the packed `out`."""
        rows, width, heads = len(self.block.length), self.block.width, out.shape[1]
        y = x.view(rows, heads // self.share, self.share, width, -1).permute(0, 3, 1, 2, 4)
        _collect(self.block, out, y.reshape(rows, width, *out.shape[1:]))

    def add_keys(self, out: Tensor, x: Tensor) -> None:
        """Write a block's rows of the packed `out`, and add what came to its stems."""
        heads, before = out.shape[1], self.block.before
        y = x.view(-1, heads, *x.shape[1:])
        _collect(self.block, out, y[:, :, before:].transpose(1, 2))
        if self.block.stem_index is None or self.stems is None:
            return
        total = torch.zeros((len(self.stems.length), heads, before, x.shape[-1]), dtype=x.dtype)
        total.index_add_(0, self.block.stem_index, y[:, :, :before])
        total = total.transpose(1, 2).reshape(-1, *out.shape[1:])
        own = out[self.stems.start : self.stems.stop]
        own += total if self.stems.scatter is None else total.index_select(0, self.stems.scatter)


def _spread(block: Block, x: Tensor) -> Tensor:
    """[rows, width, heads, d] of the packed x; padding is 0."""
    x = x[block.start : block.stop]
    if block.gather is not None and block.hole is not None:
        x = x.index_select(0, block.gather).index_fill_(0, block.hole, 0)
    return x.reshape(len(block.length), block.width, *x.shape[1:])


def _collect(block: Block, out: Tensor, x: Tensor) -> None:
    own = out[block.start : block.stop]
    if block.scatter is None:
        own.view(x.shape).copy_(x)
    else:
        torch.index_select(x.reshape(-1, *out.shape[1:]), 0, block.scatter, out=own)


AttentionInterface.register(_NAME, packed_attention)
