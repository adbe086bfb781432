"""AdamW in one piece: the same steps, whatever is done to gradients, parameters and state."""

import subprocess
import sys

import pytest
import torch
from torch.nn import Parameter

from logpi.train.flat import FlatAdamW, may_be_flat, whole_vectors
from logpi.train.optimizer import load_optimizer, optimizer_tensors

HOW = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-5, "weight_decay": 0.1, "fused": True}
SHAPES = [(64, 4), (64,), (3, 64), (3,), ()]


def twins(dtype=torch.float32):
    """The same parameters twice, with each optimizer."""
    g = torch.Generator().manual_seed(0)
    numbers = [torch.randn(s, generator=g, dtype=dtype) for s in SHAPES]
    made = []
    for kind in (FlatAdamW, torch.optim.AdamW):
        named = [(f"p{i}", Parameter(x.clone())) for i, x in enumerate(numbers)]
        made.append((named, kind(named, **HOW)))
    return made


def push(named, seed, skip=()):
    g = torch.Generator().manual_seed(seed)
    for name, p in named:
        slope = torch.randn(p.shape, generator=g, dtype=p.dtype)
        if name not in skip:
            (p * slope).sum().backward()


def move(pair, seed, skip=()):
    for named, optimizer in pair:
        push(named, seed, skip)
        optimizer.step()
        optimizer.zero_grad()


def close(a, b):
    """To the rounding of an operation: at a vector's end the kernel rounds once more."""
    return torch.allclose(a, b, rtol=4 * torch.finfo(a.dtype).eps, atol=1e-30)


def same(pair):
    """Whether parameters and state are; where they are not, an assertion says which."""
    (one, flat), (two, plain) = pair
    for (_, a), (_, b) in zip(one, two, strict=True):
        assert close(a, b)
    told = optimizer_tensors(flat), optimizer_tensors(plain)
    assert told[0].keys() == told[1].keys()
    for name, x in told[0].items():
        assert close(x, told[1][name]), name
        assert x.dtype == told[1][name].dtype
    return True


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_step_is_that_of_adamw(dtype):
    pair = twins(dtype)
    for seed in range(5):
        move(pair, seed)
        assert same(pair)


def test_gradients_of_ones_own_are_read():
    pair = twins()
    for seed in range(3):
        for named, optimizer in pair:
            push(named, seed)
            for _, p in named:
                p.grad = p.grad * 3
            optimizer.step()
            for _, p in named:
                p.grad = None
        assert same(pair)


def test_a_parameter_without_a_gradient_stays():
    pair = twins()
    move(pair, 0)
    for named, optimizer in pair:
        for _, p in named:
            p.grad = None
        push(named, 1, skip={"p1"})
        optimizer.step()
    assert same(pair)
    for named, optimizer in pair:
        for _, p in named:
            p.grad = None
        push(named, 2)
        optimizer.step()
    assert same(pair)  # their numbers of steps differ now


def test_a_loaded_state_is_gone_on_from():
    pair, others = twins(), twins()
    move(pair, 0)
    move(pair, 1)
    for (named, known), (fresh, optimizer) in zip(pair, others, strict=True):
        load_optimizer(optimizer, {k: x.clone() for k, x in optimizer_tensors(known).items()})
        with torch.no_grad():
            for (_, p), (_, q) in zip(fresh, named, strict=True):
                p.copy_(q)
    move(pair, 2)
    move(others, 2)
    assert same(others)
    assert same([pair[0], others[1]])


def test_parameters_that_were_replaced_are_moved_where_they_are():
    (named, optimizer), (other, plain) = twins()
    for _, p in named:
        p.data = p.data.clone()
    move([(named, optimizer), (other, plain)], 0)
    assert same([(named, optimizer), (other, plain)])


def test_numbers_gradients_and_moments_are_pieces_of_one():
    named, _ = twins()[0]
    (whole,) = whole_vectors([p.grad for _, p in named])
    assert whole.shape == (sum(p.numel() for _, p in named),)
    assert whole_vectors([p.grad for _, p in named[:-1]]) is None
    assert whole_vectors([torch.zeros(2), torch.zeros(2)]) is None
    assert not may_be_flat([p for _, p in named])  # they share memory already
    assert len({p.untyped_storage().data_ptr() for _, p in named}) == 1


def test_other_parameters_are_not_flat():
    assert not may_be_flat([Parameter(torch.zeros(2)), Parameter(torch.zeros(2).double())])
    assert not may_be_flat([Parameter(torch.zeros(2**20 + 1))])
    assert not may_be_flat([Parameter(torch.zeros(2).half())])
    tied = Parameter(torch.zeros(2, 2))
    assert not may_be_flat([tied, tied])


def test_making_one_does_not_import_the_compiler():
    made = (
        "import sys, torch; from logpi.train.flat import FlatAdamW; "
        "p = torch.nn.Parameter(torch.ones(2)); o = FlatAdamW([('p', p)]); "
        "o.step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", made], check=False).returncode == 0
