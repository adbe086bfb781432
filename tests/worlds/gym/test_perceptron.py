"""The closed form of small perceptrons, against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from logpi.worlds.gym.columns import Pushes, columns_of
from logpi.worlds.gym.heads import head_of
from logpi.worlds.gym.nets import MLP
from logpi.worlds.gym.perceptron import Perceptron, qualifies, squared_error, with_ones
from logpi.worlds.gym.spaces import Actions

BOX = Actions("box", (3,), -2 * np.ones(3, np.float32), 3 * np.ones(3, np.float32), shape=(3,))
HEADS = {
    "discrete": (Actions("discrete", (5,)), {}),
    "multidiscrete": (Actions("multidiscrete", (3, 2, 4)), {}),
    "multibinary": (Actions("multibinary", (3,)), {}),
    "free": (BOX, {"std": "free", "log_std": -0.5}),
    "state": (BOX, {"std": "state"}),
    "squashed": (BOX, {"std": "state", "squash": True}),
}
EXACT = {torch.float64: 2e-15, torch.float32: 1e-6}


def setting(name, dtype, *, k=64, masked=False, activation="tanh", seed=0):
    actions, options = HEADS[name]
    g = torch.Generator().manual_seed(seed)
    head = head_of(actions, **options).to(dtype)
    net = MLP(4, head.outputs, hidden=(64, 64), activation=activation, generator=g).to(dtype)
    x = torch.randn(k, 4, generator=g, dtype=dtype)
    mask = None
    if masked:
        mask = torch.rand(k, actions.choices, generator=g) < 0.6
    with torch.no_grad():
        d = head.distribution(net(x), mask)
        u = torch.rand(k, actions.draws, generator=g, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        action = head.sample(d, u)
    return net, head, (x, action, mask)


def closed(net, head, decisions, weights, *, entropy):
    x, action, mask = (None if a is None else a.numpy() for a in decisions)
    known, columns = Perceptron(net), columns_of(head)
    logp, surprise, saved = columns.log_prob(
        known.forward(with_ones(x)), action, mask, entropy=entropy
    )
    w, v = (a.numpy() for a in weights)
    slope, along = columns.slope(saved, Pushes(w, v if entropy else None))
    found = [np.empty_like(p.detach().numpy()) for p in net.parameters()]
    known.backward(slope, found)
    found += [] if along is None else [along]
    numbers = (logp, surprise, *found)
    return [None if f is None else torch.from_numpy(np.asarray(f)) for f in numbers]


def by_autograd(net, head, decisions, weights, *, entropy):
    x, action, mask = decisions
    for p in [*net.parameters(), *head.parameters()]:
        p.grad = None
    d = head.distribution(net(x), mask)
    logp, surprise = head.log_prob(d, action), head.entropy(d) if entropy else None
    loss = (weights[0] * logp).sum()
    if surprise is not None:
        loss = loss + (weights[1] * surprise).sum()
    loss.backward()
    gradients = [p.grad for p in [*net.parameters(), *head.parameters()]]
    return [logp.detach(), None if surprise is None else surprise.detach(), *gradients]


def gradients(of, net, head, decisions, *, entropy):
    """Log-probabilities, entropies, and the slopes of Σ w log π + 0.1 w² H along the parameters."""
    g = torch.Generator().manual_seed(9)
    w = torch.randn(len(decisions[0]), generator=g, dtype=decisions[0].dtype)
    found = of(net, head, decisions, (w, 0.1 * w.square()), entropy=entropy)
    return found[0], found[1], found[2:]


def far(a, b):
    """How far two tensors are apart, of the size of the second."""
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


CASES = [
    (name, masked, entropy)
    for name in HEADS
    for masked in ([False, True] if name in ("discrete", "multidiscrete") else [False])
    for entropy in ([False] if name == "squashed" else [False, True])  # that is left to autograd
]


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize(("name", "masked", "entropy"), CASES)
def test_it_is_autograd_to_rounding(name, masked, entropy, dtype):
    net, head, decisions = setting(name, dtype, masked=masked)
    known = gradients(by_autograd, net, head, decisions, entropy=entropy)
    found = gradients(closed, net, head, decisions, entropy=entropy)
    assert far(found[0], known[0]) < EXACT[dtype]
    if entropy:
        assert far(found[1], known[1]) < EXACT[dtype]
    for a, b in zip(found[2], known[2], strict=True):
        assert a.dtype == b.dtype
        assert far(a, b) < EXACT[dtype]


@given(
    st.integers(0, 10**6),
    st.sampled_from(sorted(HEADS)),
    st.integers(1, 9),
    st.sampled_from(["tanh", "relu"]),
)
@settings(max_examples=25, deadline=None)
def test_it_is_autograd_for_any_seed(seed, name, k, activation):
    entropy = name != "squashed"
    net, head, decisions = setting(name, torch.float64, k=k, seed=seed, activation=activation)
    known = gradients(by_autograd, net, head, decisions, entropy=entropy)
    found = gradients(closed, net, head, decisions, entropy=entropy)
    size = max(float(g.norm()) for g in known[2])
    assert_close(found[0], known[0], rtol=1e-12, atol=1e-12)
    for a, b in zip(found[2], known[2], strict=True):
        assert float((a - b).norm()) < 1e-13 * size


def test_blocks_and_what_was_written_before_make_no_difference():
    net, head, decisions = setting("discrete", torch.float64, k=1500)
    known = gradients(by_autograd, net, head, decisions, entropy=True)
    one = Perceptron(net)
    for _ in range(2):  # the second time every array holds the numbers of the first
        out = one.forward(with_ones(decisions[0].numpy()))
        again = one.numbers(with_ones(decisions[0].numpy()))
        assert np.array_equal(out, again)
    assert far(torch.from_numpy(out.T), net(decisions[0]).detach()) < 1e-14
    found = gradients(closed, net, head, decisions, entropy=True)
    for a, b in zip(found[2], known[2], strict=True):
        assert far(a, b) < 1e-13


def test_no_observation_gives_no_number():
    assert Perceptron(MLP(3, 2)).numbers(with_ones(np.empty((0, 3), np.float32))).shape == (2, 0)


def test_log_probabilities_far_from_zero_stay_finite():
    for name in ("discrete", "multibinary"):
        net, head, (x, action, mask) = setting(name, torch.float32)
        with torch.no_grad():
            net.layers[-1].bias.mul_(0).add_(torch.linspace(-300, 300, head.outputs))
        found = gradients(closed, net, head, (x, action, mask), entropy=True)
        assert all(part.isfinite().all() for part in [*found[:2], *found[2]])


def test_a_clamped_deviation_has_no_gradient():
    net, head, decisions = setting("state", torch.float64)
    with torch.no_grad():
        net.layers[-1].bias[3:] = torch.tensor([-30.0, 0.0, 9.0])
    known = gradients(by_autograd, net, head, decisions, entropy=True)
    found = gradients(closed, net, head, decisions, entropy=True)
    for a, b in zip(found[2], known[2], strict=True):
        assert far(a, b) < 1e-13
    assert found[2][-1][[3, 5]].eq(0).all()


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_squared_error_is_autograds(dtype, outputs):
    g = torch.Generator().manual_seed(0)
    net = MLP(4, outputs, generator=g).to(dtype)
    x = torch.randn(50, 4, generator=g, dtype=dtype)
    target, weight = torch.randn(2, 50, generator=g, dtype=dtype)
    chosen = torch.randint(outputs, (50,), generator=g)
    loss = (weight * (net(x)[torch.arange(50), chosen] - target).square()).sum()
    loss.backward()
    output = None if outputs == 1 else chosen.numpy()
    arrays = (x.numpy(), target.numpy(), weight.numpy())
    known = Perceptron(net)
    right = [p.grad for p in net.parameters()]
    net.zero_grad()
    for times in (1, 2):  # it adds to what is there
        value = squared_error(known, *arrays, output=output)
        assert abs(value - loss.item()) < 10 * EXACT[dtype] * abs(loss.item())
        for p, b in zip(net.parameters(), right, strict=True):
            assert far(p.grad, times * b) < EXACT[dtype]


def test_plain_perceptrons_on_the_cpu_qualify_and_others_do_not():
    assert qualifies(MLP(2, 2))
    assert not qualifies(MLP(2, 2).half())
    assert not qualifies(nn.Sequential(nn.Linear(2, 2)))
    changed = MLP(2, 2)
    nn.utils.parametrizations.weight_norm(changed.layers[0])
    assert not qualifies(changed)
    assert not qualifies(MLP(2, 2).to("meta"))


def test_one_layer_is_a_product():
    net = MLP(3, 2, hidden=()).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    one = Perceptron(net)
    out = one.forward(with_ones(x.numpy()))
    assert_close(torch.from_numpy(out.T.copy()), net(x).detach())
    slopes = [np.empty((2, 3)), np.empty(2)]
    one.backward(np.ones((2, 5)), slopes)
    assert_close(torch.from_numpy(slopes[0]), x.sum(0).expand(2, 3))
    assert slopes[1].tolist() == [5, 5]


@pytest.mark.parametrize("k", [1, 1023, 1024, 1300])
def test_blocks_change_nothing(k):
    net, head, decisions = setting("discrete", torch.float64, k=k)
    known = gradients(by_autograd, net, head, decisions, entropy=True)
    found = gradients(closed, net, head, decisions, entropy=True)
    assert far(found[0], known[0]) < 1e-14
    for a, b in zip(found[2], known[2], strict=True):
        assert far(a, b) < 1e-13


def test_it_serves_as_long_as_the_parameters_are_where_they_were():
    net = MLP(2, 2)
    known = Perceptron(net)
    with torch.no_grad():
        net.layers[0].weight += 1
    assert known.serves(net)
    x = torch.ones(1, 2)
    out = known.forward(with_ones(x.numpy()))
    assert_close(torch.from_numpy(out.T.copy()), net(x).detach())
    assert not known.serves(MLP(2, 2))
    net.double()
    assert not known.serves(net)
    known = Perceptron(net)
    nn.utils.parametrizations.weight_norm(net.layers[0])
    assert not known.serves(net)
