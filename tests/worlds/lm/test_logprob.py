"""`linear_log_prob` against the plain expression: values, gradients, chunks, memory."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from logpi.worlds.lm.head import Head
from logpi.worlds.lm.logprob import LogProb, linear_log_prob

POSITIONS, SIZE, VOCABULARY = 23, 7, 11


def case(dtype, *, softcap=None, bias=False, plain=False):
    g = torch.Generator().manual_seed(0)

    def leaf(*shape):
        return (
            (0.7 * torch.randn(shape, generator=g, dtype=torch.float64)).to(dtype).requires_grad_()
        )

    hidden = leaf(POSITIONS, VOCABULARY if plain else SIZE)
    weight = None if plain else leaf(VOCABULARY, SIZE)
    head = Head(weight, leaf(VOCABULARY) if bias else None, softcap, 1.3)
    targets = torch.randint(0, VOCABULARY, (POSITIONS,), generator=g)
    return hidden, head, targets


def leaves(hidden, head):
    return [x for x in (hidden, head.weight, head.bias) if x is not None]


def written_out(hidden, head, targets, temperature):
    every = (head.logits(hidden) / temperature).log_softmax(-1)
    return LogProb(every.gather(1, targets[:, None])[:, 0], -(every.exp() * every).sum(1))


def pulled(found: LogProb, inputs):
    g = torch.Generator().manual_seed(1)
    a, b = (torch.randn(POSITIONS, generator=g, dtype=torch.float64) for _ in range(2))
    loss = (found.logp * a).sum()
    if found.entropy is not None:
        loss = loss + (found.entropy * b).sum()
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize(
    "options", [{}, {"bias": True}, {"softcap": 2.0}, {"softcap": 2.0, "plain": True}]
)
@pytest.mark.parametrize("chunk", [1, 5, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_is_the_plain_one(dtype, chunk, options):
    hidden, head, targets = case(dtype, **options)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    for entropy in (False, True):
        found = linear_log_prob(
            hidden, head, targets, temperature=0.7, chunk=chunk, entropy=entropy
        )
        exact, exact_head, _ = case(torch.float64, **options)
        expected = written_out(exact, exact_head, targets, 0.7)
        assert torch.allclose(found.logp.double(), expected.logp, rtol=tolerance, atol=tolerance)
        if not entropy:
            expected = LogProb(expected.logp, None)
        assert (found.entropy is None) == (expected.entropy is None)
        pairs = zip(
            pulled(found, leaves(hidden, head)),
            pulled(expected, leaves(exact, exact_head)),
            strict=True,
        )
        for ours, theirs in pairs:
            assert ours.dtype == dtype
            assert (ours.double() - theirs).norm() <= tolerance * theirs.norm()


def test_what_needs_no_gradient_gets_none():
    hidden, head, targets = case(torch.float64)
    frozen = Head(head.weight.detach())
    (g,) = torch.autograd.grad(linear_log_prob(hidden, frozen, targets).logp.sum(), [hidden])
    assert torch.isfinite(g).all()
    still = linear_log_prob(hidden.detach(), frozen, targets)
    assert not still.logp.requires_grad


class Largest(TorchDispatchMode):
    """The most elements that any tensor had."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, torch.Tensor):
                self.most = max(self.most, x.numel())
        return out


def test_memory_is_that_of_a_chunk():
    hidden = torch.randn(500, 8, requires_grad=True)
    weight = torch.randn(300, 8, requires_grad=True)
    targets = torch.randint(0, 300, (500,))
    with Largest() as seen:
        linear_log_prob(hidden, Head(weight), targets, chunk=20, entropy=True).logp.sum().backward()
    assert seen.most <= 20 * 300


def test_bfloat16_accumulates_in_float32():
    hidden, head, targets = case(torch.float32)
    low = Head(head.weight.detach().bfloat16().requires_grad_(), None, None, 1.3)
    h = hidden.detach().bfloat16().requires_grad_()
    found = linear_log_prob(h, low, targets, chunk=4)
    assert found.logp.dtype == torch.float32
    expected = written_out(
        h.detach().float().requires_grad_(), Head(low.weight.float(), None, None, 1.3), targets, 1.0
    )
    assert torch.allclose(found.logp, expected.logp, atol=0.05)
    g_h, g_w = torch.autograd.grad(found.logp.sum(), [h, low.weight])
    assert g_h.dtype == g_w.dtype == torch.bfloat16
