"""Critics: values of what truly followed, and the gradient of the squared error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.testing import assert_close

from logpi.core.errors import ConfigError
from logpi.core.types import Critic
from logpi.worlds.gym.critic import QNet, ValueNet
from logpi.worlds.gym.normalise import Normaliser
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.steps import Steps

SEEN = spaces.Box(-3, 3, (4,))


def steps_of(*, n=3, t=6, actions=3, masked=False, seed=0):
    """Streams that an episode's end cuts after decision 2: what followed is not what is shown."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, t + 1, 4, generator=g)
    final = x[:, 1:].clone()
    final[:, 2] = torch.randn(n, 4, generator=g)
    mask = None
    if masked:
        mask = torch.rand(n, t, actions, generator=g) < 0.6
        mask[..., 0] = True
    return Steps(x[:, :-1], torch.randint(actions, (n, t), generator=g), mask, final)


def autograd(net):
    """The same net, not recognised as one that is done in closed form."""

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            return self.inner(x)

    return Wrapped()


@pytest.mark.parametrize("plain", [True, False])
def test_values_are_of_what_truly_followed(plain):
    critic = ValueNet((4,), seed=1)
    if not plain:
        critic.net = autograd(critic.net)
    assert isinstance(critic, Critic)
    inputs = steps_of()
    value, after = critic.values(inputs)
    assert not value.requires_grad
    assert_close(value, critic.net(inputs.observation.flatten(0, 1)).detach().view(3, 6))
    assert_close(after, critic.net(inputs.final.flatten(0, 1)).detach().view(3, 6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_actions", [False, True])
def test_the_loss_adds_its_gradient(of_actions, dtype):
    policy = GymPolicy(SEEN, spaces.Discrete(3))
    critic = QNet((4,), policy, dtype=dtype) if of_actions else ValueNet((4,), dtype=dtype)
    inputs = steps_of()
    g = torch.Generator().manual_seed(2)
    target, weight = torch.randn(2, 3, 6, generator=g, dtype=dtype).unbind(0)
    weight = torch.where(torch.rand(3, 6, generator=g) < 0.5, weight.square(), 0.0)
    for _ in range(2):
        loss = critic.loss(inputs, target, weight)
    assert not loss.requires_grad
    found = [p.grad.clone() for _, p in critic.named_parameters()]
    critic.net.zero_grad()
    out = critic.net(inputs.observation.to(dtype).flatten(0, 1)).view(3, 6, -1)
    v = out.gather(-1, inputs.action[..., None])[..., 0] if of_actions else out[..., 0]
    wanted = (weight * (v - target).square()).sum()
    (2 * wanted).backward()
    assert_close(loss, wanted.detach(), rtol=1e-5, atol=1e-6)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for a, p in zip(found, critic.net.parameters(), strict=True):
        assert_close(a, p.grad, rtol=tolerance, atol=tolerance)


def test_the_closed_loss_is_that_of_autograd_in_pieces(monkeypatch):
    monkeypatch.setattr("logpi.worlds.gym.critic._FLOATS_A_PIECE", 4 * 5)
    one, other = ValueNet((4,), dtype=torch.float64), ValueNet((4,), dtype=torch.float64)
    other.net = autograd(other.net)
    inputs = steps_of()
    target, weight = torch.rand(2, 3, 6, dtype=torch.float64).unbind(0)
    assert_close(one.loss(inputs, target, weight), other.loss(inputs, target, weight))
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-14)
    for a, b in zip(one.values(inputs), other.values(inputs), strict=True):
        assert_close(a, b)


def test_no_weight_moves_nothing():
    critic = ValueNet((4,))
    assert critic.loss(steps_of(), torch.zeros(3, 6), torch.zeros(3, 6)) == 0
    assert all(p.grad is None for p in critic.parameters())


@pytest.mark.parametrize("masked", [False, True])
def test_the_value_of_a_state_is_the_policys_mean_of_its_actions(masked):
    policy = GymPolicy(SEEN, spaces.Discrete(3))
    critic = QNet((4,), policy, seed=3)
    inputs = steps_of(masked=masked)
    q, after = critic.values(inputs)
    table = critic.net(inputs.observation.flatten(0, 1)).detach().view(3, 6, 3)
    assert_close(q, table.gather(-1, inputs.action[..., None])[..., 0])
    following = critic.net(inputs.final.flatten(0, 1)).detach().view(3, 6, 3)
    shown = torch.ones(3, 6, 3, dtype=torch.bool)
    if masked:
        shown[:, :-1] = inputs.action_mask[:, 1:]
        shown[:, 2] = True
    out = policy.net(inputs.final.flatten(0, 1)).view(3, 6, 3)
    pi = out.masked_fill(~shown, -torch.inf).softmax(-1).detach()
    assert_close(after, (pi * following).sum(-1))
    names = [name for name, _ in critic.named_parameters()]
    assert len(names) == 6
    assert all(name.startswith("net.layers") for name in names)


def test_a_critic_of_actions_wants_few_of_them():
    policy = GymPolicy(SEEN, spaces.Box(-1, 1, (2,)))
    with pytest.raises(ConfigError, match="these are box"):
        QNet((4,), policy)


def test_the_normaliser_is_shared():
    normaliser = Normaliser((4,))
    policy = GymPolicy(SEEN, spaces.Discrete(2), normaliser=normaliser)
    critic = ValueNet((4,), normaliser=normaliser)
    inputs = steps_of()
    before = critic.values(inputs)[0]
    normaliser.see(np.random.default_rng(0).normal(3, 2, (20, 4)))
    policy.normaliser.adopt()
    after = critic.values(inputs)[0]
    assert not after.equal(before)
    assert_close(
        after, critic.net(normaliser(inputs.observation).flatten(0, 1)).detach().view(3, 6)
    )


def test_images_and_zero_rows():
    critic = ValueNet((36, 36, 1), image=True)
    x = torch.randint(0, 256, (2, 2, 36, 36, 1), dtype=torch.uint8)
    inputs = Steps(x, torch.zeros(2, 2, dtype=torch.long), None, x)
    value, _ = critic.values(inputs)
    assert value.shape == (2, 2)
    loss = critic.loss(inputs, torch.ones(2, 2), torch.full((2, 2), 0.25))
    assert_close(loss, (1 - value).square().mean(), rtol=1e-4, atol=1e-5)
    nothing = torch.zeros(0, 2, 4)
    empty = Steps(nothing, torch.zeros(0, 2, dtype=torch.long), None, nothing)
    assert ValueNet((4,)).values(empty)[1].shape == (0, 2)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("of_actions", [False, True])
def test_the_clipped_loss_has_the_slope_of_the_written_out_one(of_actions, plain):
    policy = GymPolicy(SEEN, spaces.Discrete(3))
    told = {"dtype": torch.float64, "seed": 1}
    critic = QNet((4,), policy, **told) if of_actions else ValueNet((4,), **told)
    net = critic.net
    inputs, reach = steps_of(), 0.2
    g = torch.Generator().manual_seed(3)
    target, weight, drift = torch.randn(3, 3, 6, generator=g, dtype=torch.float64).unbind(0)
    weight = torch.where(torch.rand(3, 6, generator=g) < 0.7, weight.square(), 0.0)
    out = net(inputs.observation.double().flatten(0, 1)).view(3, 6, -1)
    v = out.gather(-1, inputs.action[..., None])[..., 0] if of_actions else out[..., 0]
    before = (v + 0.3 * drift).detach()
    clipped = before + (v - before).clamp(-reach, reach)
    written = torch.maximum((v - target).square(), (clipped - target).square())
    (weight * written).sum().backward()
    wanted = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    if not plain:
        critic.net = autograd(net)
    critic.loss_near(inputs, target, weight, before=before, reach=reach)
    held = (clipped != v) & ((clipped - target).abs() > (v - target).abs())
    assert 0 < int(held.sum()) < 18
    for p, q in zip(net.parameters(), wanted, strict=True):
        assert_close(p.grad, q, rtol=1e-12, atol=1e-14)
