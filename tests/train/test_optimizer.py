"""AdamW and its state as named tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch.nn import Parameter

from logpi.core.errors import ConfigError, RunError
from logpi.train.config import OptimConfig
from logpi.train.optimizer import (
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)


def parameters(shapes, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        (f"layer.{i}", Parameter(torch.randn(shape, generator=generator, dtype=dtype)))
        for i, shape in enumerate(shapes)
    ]


def step(named, optimizer, seed, skip=()):
    generator = torch.Generator().manual_seed(seed)
    for name, p in named:
        gradient = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        p.grad = None if name in skip else gradient
    optimizer.step()


@settings(deadline=None, max_examples=25)
@given(
    shapes=st.lists(st.sampled_from([(), (1,), (3,), (2, 5), (4, 1, 3)]), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    before=st.integers(0, 3),
    after=st.integers(1, 3),
    decay=st.sampled_from([0.0, 0.1]),
)
def test_the_state_goes_through_a_file_and_back_bit_for_bit(shapes, dtype, before, after, decay):
    optim = OptimConfig(lr=1e-2, weight_decay=decay)
    straight = parameters(shapes, dtype, seed=0)
    optimizer = make_optimizer(straight, optim)
    for k in range(before):
        step(straight, optimizer, seed=k)
    resumed = [(name, Parameter(p.detach().clone())) for name, p in straight]
    again = make_optimizer(resumed, optim)
    load_optimizer(again, load(save(optimizer_tensors(optimizer))))
    assert optimizer_tensors(again).keys() == optimizer_tensors(optimizer).keys()
    for name, tensor in optimizer_tensors(optimizer).items():
        assert optimizer_tensors(again)[name].dtype == tensor.dtype
        assert torch.equal(optimizer_tensors(again)[name], tensor)
    for k in range(before, before + after):
        step(straight, optimizer, seed=k)
        step(resumed, again, seed=k)
    for (_, one), (_, other) in zip(straight, resumed, strict=True):
        assert torch.equal(one, other)


def test_a_parameter_that_never_had_a_gradient_has_no_state():
    named = parameters([(2,), (3,)], torch.float32, seed=1)
    optimizer = make_optimizer(named, OptimConfig(lr=0.1))
    step(named, optimizer, seed=1, skip={"layer.1"})
    assert {key.partition("/")[2] for key in optimizer_tensors(optimizer)} == {"layer.0"}
    again = make_optimizer(named, OptimConfig(lr=0.1))
    load_optimizer(again, optimizer_tensors(optimizer))
    assert named[1][1] not in again.state


def test_the_loaded_state_is_a_copy():
    named = parameters([(2,)], torch.float32, seed=2)
    optimizer = make_optimizer(named, OptimConfig(lr=0.1))
    step(named, optimizer, seed=1)
    stored = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    load_optimizer(optimizer, stored)
    kept = {name: tensor.clone() for name, tensor in stored.items()}
    step(named, optimizer, seed=2)
    assert all(torch.equal(stored[name], kept[name]) for name in stored)


def test_it_is_plain_adamw():
    named = parameters([(3, 2), (3,)], torch.float64, seed=3)
    twin = [Parameter(p.detach().clone()) for _, p in named]
    optim = OptimConfig(lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2)
    ours = make_optimizer(named, optim)
    theirs = torch.optim.AdamW(
        twin, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2, foreach=False
    )
    for k in range(3):
        step(named, ours, seed=k)
        step([(str(i), p) for i, p in enumerate(twin)], theirs, seed=k)
    for (_, one), other in zip(named, twin, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


def test_the_learning_rate_is_set_everywhere():
    optimizer = make_optimizer(parameters([(2,)], torch.float32, 0), OptimConfig(lr=0.1))
    set_learning_rate(optimizer, 0.7)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7]


def test_frozen_parameters_are_left_out_and_nothing_is_an_error():
    frozen = Parameter(torch.ones(2), requires_grad=False)
    with pytest.raises(ConfigError, match="nothing to train"):
        make_optimizer([("frozen", frozen)], OptimConfig(lr=0.1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t | {"step/other": torch.ones(())}, "which the policy does not have"),
        (lambda t: t | {"exp_avg/layer.0": torch.ones(3)}, r"is \[3\] but the parameter is \[2\]"),
        (lambda t: {k: v for k, v in t.items() if "sq" not in k}, "lacks `exp_avg_sq/layer.0`"),
    ],
)
def test_state_of_another_model_is_refused(change, said):
    named = parameters([(2,)], torch.float32, seed=4)
    optimizer = make_optimizer(named, OptimConfig(lr=0.1))
    step(named, optimizer, seed=1)
    with pytest.raises(RunError, match=said):
        load_optimizer(optimizer, change(optimizer_tensors(optimizer)))
