"""Attention over packed rows: rows of a block see their stem and themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig

from logpi.worlds.lm.packed import Layout

__all__ = ["implementations", "keep_out_of_graphs", "packed_attention", "supported", "using"]

_NAME = "logpi_packed"
_LAYERS = {"full_attention", "sliding_attention"}

_current: ContextVar[Layout] = ContextVar("logpi_packed_layout")


def implementations() -> list[str]:
    """The attention that a model can be loaded with: eager, and what transformers calls by name.

    >>> {"eager", "sdpa"} <= set(implementations())
    True
    """
    # Paged ones read another cache, and ours only what their own contexts put around them.
    known = {"eager", *AttentionInterface().valid_keys()}
    return sorted(name for name in known if not name.startswith(("paged|", "logpi_")))


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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Split once: the gradient of a slice is a whole tensor of zeros around it.
    sizes = [block.stop - block.start for block in packed.all_blocks]
    q, k, v = (x[0].transpose(0, 1).to(value.dtype).split(sizes) for x in (query, key, value))
    stems, outputs, stem_keys = packed.stems, [], ()
    for block, *own in zip(packed.all_blocks, q, k, v, strict=True):
        queries, *keys = (block.pad(x) for x in own)
        if block is stems:
            stem_keys = keys
        if block.stem_index is not None:
            keys = [
                torch.cat([stem.index_select(0, block.stem_index), x], 1)
                for stem, x in zip(stem_keys, keys, strict=True)
            ]
        causal = block.causal(sliding_window)
        mask = None if causal else block.mask(stems, sliding_window, queries)
        outputs.append(block.unpad(_attend((queries, keys[0], keys[1]), mask, scale, softcap)))
    return torch.cat(outputs)[None], None


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


AttentionInterface.register(_NAME, packed_attention)


def keep_out_of_graphs() -> None:
    """Nothing; from now on compiled layers call `packed_attention` as it is.

    How many blocks there are, and how long, is another thing in every micro-batch: traced, each
    would be compiled anew.
    """
    AttentionInterface.register(_NAME, torch.compiler.disable(packed_attention))
