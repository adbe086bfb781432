"""AdamW over many small parameters as one: their numbers, gradients and moments lie in one piece.

A step of a small net is some five thousand numbers, a few microseconds of work. AdamW over a list
of parameters takes ten times as long to look at the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

__all__ = ["FlatAdamW", "may_be_flat", "whole_vectors"]

_LARGEST = 2**20  # numbers; beyond, the kernels take the time


def may_be_flat(parameters: Sequence[Parameter]) -> bool:
    """Whether these are few numbers of one dtype on the CPU, each in memory of its own.

    >>> may_be_flat([Parameter(torch.zeros(3)), Parameter(torch.zeros(2, 2))])
    True
    """
    first = parameters[0]
    return (
        first.dtype in (torch.float32, torch.float64)
        and sum(p.numel() for p in parameters) <= _LARGEST
        and all(p.is_cpu and p.dtype == first.dtype and p.is_contiguous() for p in parameters)
        and len({p.untyped_storage().data_ptr() for p in parameters}) == len(parameters)
        and all(p.numel() for p in parameters)
    )


def whole_vectors(tensors: Sequence[Tensor]) -> list[Tensor] | None:
    """The vectors that these are the pieces of, if they are all of them; a copy is never made.

    >>> a, b = torch.arange(4.0), torch.arange(2.0)
    >>> [len(v) for v in whole_vectors([a[:1], a[1:], b[:]])], whole_vectors([a[:1]]) is None
    ([4, 2], True)
    """
    found: dict[int, Tensor] = {}
    count = 0
    for t in tensors:
        whole = t._base
        if whole is None:
            return None
        found[id(whole)] = whole
        count += t.numel()
    return list(found.values()) if count == sum(v.numel() for v in found.values()) else None


class FlatAdamW(torch.optim.AdamW):
    """AdamW, the same numbers: its parameters become pieces of one vector when it is made.

    Its state is by parameter, as AdamW's is, and may be replaced. Where the parameters or their
    state are no longer what it made, a step is AdamW's own.
    """

    def __init__(self, named: Sequence[tuple[str, Parameter]], **how: Any) -> None:
        """`named` parameters for which `may_be_flat` is true; `how` is what AdamW is told."""
        super().__init__(named, **how)
        self._parameters = [p for _, p in named]
        shapes = [p.shape for p in self._parameters]
        self._numbers = torch.cat([p.detach().reshape(-1) for p in self._parameters])
        moments = [torch.zeros_like(self._numbers) for _ in range(3)]
        self._gradient, self._mean, self._square = moments
        self._counts = torch.zeros(len(shapes))  # of steps, the same for all
        self._count, self._counted = self._counts[0], self._counts.numpy()
        pieces = [_pieces(x, shapes) for x in (self._numbers, *moments)]
        self._gradients, self._means, self._squares = pieces[1:]
        for p, numbers, gradient in zip(self._parameters, pieces[0], pieces[1], strict=True):
            p.data, p.grad = numbers, gradient
        self._at = self._parameters[0].data_ptr()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add it without the compiler, whose import costs more than a small run."""
        torch.optim.AdamW.add_param_group.__wrapped__(self, param_group)  # type: ignore[attr-defined] # what it wraps

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override] # AdamW's has overloads
        """Move along the gradients."""
        if closure is not None or not self.whole():
            self._release()
            return super().step(closure)  # type: ignore[arg-type] # none where there is none
        self.advance()
        return None

    step.hooked = True  # type: ignore[attr-defined] # no profiler's hook, which takes longer

    @property
    def gradient(self) -> Tensor:
        """The gradients of all parameters, one after the other, where they are `whole`."""
        return self._gradient

    def advance(self) -> None:
        """Move along the gradients, which are known to be `whole`."""
        (group,) = self.param_groups
        beta1, beta2 = group["betas"]
        self._counted += 1  # through NumPy, a third of the time
        torch._fused_adamw_(  # type: ignore[attr-defined] # the kernel of AdamW itself
            [self._numbers],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._count],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The gradients are 0, and stay where they are."""
        del set_to_none
        self._gradient.zero_()
        for p, piece in zip(self._parameters, self._gradients, strict=True):
            p.grad = piece

    def whole(self) -> bool:
        """Whether everything lies in one piece, after what may be brought there was."""
        if self._parameters[0].data_ptr() != self._at or len(self.param_groups) != 1:
            return False
        for p, piece in zip(self._parameters, self._gradients, strict=True):
            if p.grad is piece:
                continue
            if p.grad is None:
                return False
            piece.copy_(p.grad)
            p.grad = piece
        known = self.state.get(self._parameters[0])
        return bool(known and known["exp_avg"] is self._means[0]) or self._adopt()

    def _adopt(self) -> bool:
        """Whether the state, if there is any, is now in one piece: all have taken as many steps."""
        states = [self.state.get(p) for p in self._parameters]
        steps = {float(s["step"]) if s else 0.0 for s in states}
        if len(steps) != 1:
            return False
        self._counts.fill_(steps.pop())
        pieces = zip(self._parameters, self._counts, self._means, self._squares, strict=True)
        for (p, count, mean, square), state in zip(pieces, states, strict=True):
            mean.copy_(state["exp_avg"]) if state else mean.zero_()
            square.copy_(state["exp_avg_sq"]) if state else square.zero_()
            self.state[p] = {"step": count, "exp_avg": mean, "exp_avg_sq": square}
        return True

    def _release(self) -> None:
        """Let every parameter have a state of its own: they may not all move now."""
        for p, state in self.state.items():
            self.state[p] = {name: x.clone() for name, x in state.items()}


def _pieces(whole: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = whole.split([s.numel() for s in shapes])
    return [part.view(s) for part, s in zip(parts, shapes, strict=True)]
