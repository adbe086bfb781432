"""`linear_log_prob`: log-probabilities from hidden states, in O(chunk × vocabulary) memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from logpi.worlds.lm.head import Head

__all__ = ["LogProb", "linear_log_prob"]

_CHUNK = {"cpu": 1 << 22, "cuda": 1 << 27}
"""How many logits exist at once: 16 MB in float32 on a CPU, 512 MB on a GPU."""


class LogProb(NamedTuple):
    """What `linear_log_prob` returns."""

    logp: Tensor  # [m]
    entropy: Tensor | None  # [m], of the whole distribution


def linear_log_prob(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int | None = None,
    entropy: bool = False,
) -> LogProb:
    """log softmax(z)[target] and entropy of every position.

    z = softcap(h Wᵀ + b) · scale / temperature

    The logits are computed `chunk` positions at a time and again in the backward pass, so memory is
    O(chunk × vocabulary). Gradients are those of the plain expression; the gradient of an input
    that does not require one (a frozen head) is not computed. Sums over the vocabulary are float32
    at least.

    >>> head = Head(torch.eye(3))
    >>> linear_log_prob(torch.zeros(2, 3), head, torch.tensor([0, 2]), entropy=True)
    LogProb(logp=tensor([-1.0986, -1.0986]), entropy=tensor([1.0986, 1.0986]))
    """
    vocabulary = hidden.shape[-1] if head.weight is None else head.weight.shape[0]
    if chunk is None:
        chunk = max(64, _CHUNK.get(hidden.device.type, 1 << 24) // vocabulary)
    constants = _Constants(
        head.softcap, head.scale / temperature, chunk, entropy, _autocast_dtype(hidden.device.type)
    )
    logp, spread = _LinearLogProb.apply(hidden, head.weight, head.bias, targets, constants)
    return LogProb(logp, spread if entropy else None)


class _Constants(NamedTuple):
    softcap: float | None
    scale: float
    chunk: int
    entropy: bool
    dtype: torch.dtype | None  # what autocast asks matrix products to be computed in


def _autocast_dtype(kind: str) -> torch.dtype | None:
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _scaled(h: Tensor, weight: Tensor | None, bias: Tensor | None, c: _Constants) -> Tensor:
    """Logits of some positions, soft-capped, scaled, in float32 or float64."""
    if weight is None:
        raw = h
    elif bias is None:
        raw = h @ weight.T
    else:
        raw = torch.addmm(bias, h, weight.T)
    owned = weight is not None
    if raw.dtype not in (torch.float32, torch.float64):
        raw, owned = raw.float(), True
    if c.softcap is not None:
        return torch.tanh_(raw.div(c.softcap)).mul_(c.softcap * c.scale)
    return raw.mul_(c.scale) if owned else raw * c.scale


class _LinearLogProb(torch.autograd.Function):
    """One chunk after another; what the backward pass needs of a chunk it computes again."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        hidden, weight, bias, targets, c = given
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        m = len(hidden)
        logp, lse = hidden.new_empty(m, dtype=wide), hidden.new_empty(m, dtype=wide)
        spread = hidden.new_empty(m, dtype=wide) if c.entropy else None
        h, w, b = hidden.to(c.dtype or hidden.dtype), _cast(c.dtype, weight), _cast(c.dtype, bias)
        whole = m <= c.chunk and any(ctx.needs_input_grad[:3])
        z = hidden.new_empty(0)
        with torch.autocast(hidden.device.type, enabled=False):
            for at in range(0, m, c.chunk):
                here = slice(at, at + c.chunk)
                z = _scaled(h[here], w, b, c)
                lse[here] = z.logsumexp(-1)
                logp[here] = z.gather(-1, targets[here, None]).squeeze(-1) - lse[here]
                if spread is not None:
                    p = (z - lse[here, None]).exp_()
                    spread[here] = lse[here] - p.mul_(z).sum(-1)
        # All in one chunk: keep what is O(chunk × vocabulary) anyway, and save one matrix product.
        ctx.save_for_backward(hidden, weight, bias, targets, lse, spread, z if whole else None)
        ctx.constants = c
        return logp, spread

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, g_logp: Tensor, g_entropy: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, lse, spread, kept = ctx.saved_tensors
        c: _Constants = ctx.constants
        h, w, b = hidden.to(c.dtype or hidden.dtype), _cast(c.dtype, weight), _cast(c.dtype, bias)
        d_h = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        d_w = torch.zeros_like(weight, dtype=lse.dtype) if ctx.needs_input_grad[1] else None
        d_b = torch.zeros_like(bias, dtype=lse.dtype) if ctx.needs_input_grad[2] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for at in range(0, len(hidden), c.chunk):
                here = slice(at, at + c.chunk)
                z = _scaled(h[here], w, b, c) if kept is None else kept
                extra = None if spread is None else (g_entropy[here], spread[here])  # type: ignore[index]
                d = _d_logits(z, lse[here], targets[here], g_logp[here], extra=extra, c=c)
                if d_b is not None:
                    d_b += d.sum(0)
                d = d.to(h.dtype)
                if d_h is not None:
                    d_h[here] = d if w is None else d @ w
                if d_w is not None:
                    _add_product(d_w, d, h[here])
        cast = [None if x is None else x.to(y.dtype) for x, y in ((d_w, weight), (d_b, bias))]
        return d_h, cast[0], cast[1], None, None


def _d_logits(
    z: Tensor,
    lse: Tensor,
    targets: Tensor,
    g: Tensor,
    *,
    extra: tuple[Tensor, Tensor] | None,
    c: _Constants,
) -> Tensor:
    """The raw logits' gradient: ∂logp/∂z = 1[target] − p, ∂H/∂z = −p (log p + H), then ∂z/∂raw."""
    log_p = z - lse[:, None]
    if extra is None:
        d = log_p.exp_().mul_(-g[:, None])
    else:
        g_entropy, spread = (x[:, None] for x in extra)
        d = log_p.exp().mul_(-(g[:, None] + g_entropy * (log_p + spread)))
    d.scatter_add_(1, targets[:, None], g[:, None].to(d.dtype))
    d.mul_(c.scale)
    if c.softcap is not None:
        d.mul_(1 - (z / (c.softcap * c.scale)).square_())
    return d


def _add_product(total: Tensor, d: Tensor, h: Tensor) -> None:
    if total.dtype == d.dtype:
        total.addmm_(d.T, h)
    else:
        total += d.T @ h


def _cast(dtype: torch.dtype | None, x: Tensor | None) -> Tensor | None:
    return x if x is None or dtype is None else x.to(dtype)
