"""Nets: shapes, orthogonal weights, seeds, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.gym.nets import CNN, MLP, net_of


def test_an_mlp_is_its_formula():
    net = MLP(3, 2, hidden=(5, 4), generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 3)
    first, second, last = net.layers
    h = torch.tanh(x @ first.weight.T + first.bias)
    h = torch.tanh(h @ second.weight.T + second.bias)
    assert_close(net(x), h @ last.weight.T + last.bias)


def test_weights_are_orthogonal_and_as_long_as_asked():
    net = net_of("auto", (4,), 2, gain=0.01)
    for layer, gain in zip(net.layers, (2**0.5, 2**0.5, 0.01), strict=True):
        w = layer.weight.double()
        square = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        assert_close(square, gain**2 * torch.eye(len(square)).double(), rtol=1e-4, atol=1e-5)
        assert layer.bias.eq(0).all()


def test_a_seed_gives_the_same_net_and_moves_no_other_randomness():
    before = torch.get_rng_state()
    one, two = net_of("mlp", (4,), 2, seed=7), net_of("mlp", (4,), 2, seed=7)
    other = net_of("mlp", (4,), 2, seed=8)
    x = torch.ones(1, 4)
    assert one(x).equal(two(x))
    assert not one(x).equal(other(x))
    assert torch.get_rng_state().equal(before)


def test_images_get_a_cnn_of_nature():
    net = net_of("auto", (84, 84, 4), 6, image=True)
    assert isinstance(net, CNN)
    assert net(torch.rand(2, 84, 84, 4)).shape == (2, 6)
    assert net.layers[0].in_features == 64 * 7 * 7
    small = net_of("cnn", (36, 40, 1), 3, image=True)
    assert small(torch.rand(1, 36, 40, 1)).shape == (1, 3)
    assert isinstance(net_of("mlp", (8, 8, 1), 2, image=True), MLP)


def test_a_net_of_ones_own_must_give_what_is_read():
    own = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    assert net_of(own, (2, 3), 2) is own
    with pytest.raises(ShapeError, match=r"but must give \[2, 3\]"):
        net_of(own, (2, 3), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "mpl"}, "Did you mean `mlp`"),
        ({"net": "cnn"}, "reads images"),
        ({"activation": "tan"}, "Did you mean `tanh`"),
        ({"hidden": (64, 0)}, "every layer needs a unit"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        net_of(**{"net": "auto", "shape": (4,), "outputs": 2, **options})


def test_images_too_small_for_the_cnn_are_refused():
    with pytest.raises(ConfigError, match="36 × 36"):
        net_of("auto", (35, 84, 1), 2, image=True)


def test_weights_may_begin_as_pytorch_has_them():
    def first(init, seed=3):
        return net_of("mlp", (4,), 2, hidden=(8,), init=init, seed=seed).layers[0].weight.detach()

    torch.manual_seed(3)
    assert torch.equal(first("torch"), torch.nn.Linear(4, 8).weight)
    w = first("orthogonal")
    assert torch.allclose(w.T @ w, 2 * torch.eye(4), atol=1e-5)
    assert not torch.equal(first("torch"), first("torch", seed=4))


def test_a_net_that_cannot_read_the_observations_is_refused():
    with pytest.raises(ShapeError, match=r"cannot read observations \[2, 4\].*3x2"):
        net_of(nn.Linear(3, 2), (4,), 2)
