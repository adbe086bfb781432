"""The critic's part of a step, on tables of values that are worked out by hand."""

from __future__ import annotations

import pytest
import torch

from logpi.core import Signals
from logpi.core.errors import ConfigError
from logpi.train.fit import AnchoredCritic, critic_gradient, fit_critic, shares_policy
from logpi.train.sections import OptimConfig
from logpi.train.work import Work


class Table:
    """V of two states; a row is one decision in a state."""

    def __init__(self) -> None:
        self.v = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def named_parameters(self):
        return iter([("v", self.v)])

    def values(self, inputs):
        v = self.v.detach()[inputs][:, None]
        return v, 0 * v

    def loss(self, inputs, target, weight):
        loss = (weight * (self.v[inputs][:, None] - target).square()).sum()
        loss.backward()
        return loss.detach()


def work(states=(0, 1, 1, 0), target=(1.0, 2.0, 2.0, 1.0)):
    state = torch.tensor(states)
    one = torch.ones(len(state), 1, dtype=torch.float64)
    signals = Signals(
        mask=one.bool(), reward=one, discount=0 * one, end=one.bool(), weight=one[:, 0] / len(state)
    )
    wanted = torch.tensor(target, dtype=torch.float64)[:, None]
    return Work(state, signals, one / len(state), one.bool(), wanted)


def test_the_gradient_is_the_weighted_one_and_the_loss_is_not():
    once, thrice = Table(), Table()
    told = work()
    a = critic_gradient(once, told, told.weight, OptimConfig())
    b = critic_gradient(thrice, told, told.weight, OptimConfig(critic_weight=3.0))
    assert a == b == 2.5
    assert once.v.grad.tolist() == [-1.0, -2.0]
    assert thrice.v.grad.tolist() == [-3.0, -6.0]


def test_the_critics_own_steps():
    critic, told = Table(), work()
    optimizer = torch.optim.SGD([("v", critic.v)], lr=0.25)
    optim = OptimConfig(critic_steps=3, clip=None)
    loss = fit_critic(critic, optimizer, told, told.weight, optim=optim, seed=0)
    # v ← v − ¼ · (v − target): ¾ of the gap is left after each.
    left = torch.tensor([1.0, 2.0], dtype=torch.float64) * 0.75**3
    assert torch.allclose(critic.v.detach(), torch.tensor([1.0, 2.0]).double() - left)
    assert loss == pytest.approx(2.5 * 0.75**4)


def test_in_parts_every_decision_is_read_once_a_pass():
    critic, told = Table(), work()
    optimizer = torch.optim.SGD([("v", critic.v)], lr=0.0)
    seen = []
    inner = critic.loss
    critic.loss = lambda i, t, w: (seen.append(w[:, 0].tolist()), inner(i, t, w))[1]
    optim = OptimConfig(critic_minibatches=2, clip=None)
    fit_critic(critic, optimizer, told, told.weight, optim=optim, seed=0)
    assert [sum(w > 0 for w in part) for part in seen] == [2, 2]
    assert [sum(column) for column in zip(*seen, strict=True)] == [0.5] * 4


def test_a_critic_that_cannot_clip_says_so():
    critic, told = Table(), work()
    assert not isinstance(critic, AnchoredCritic)
    assert not shares_policy(critic)
    with pytest.raises(ConfigError, match="leave out"):
        critic_gradient(critic, told, told.weight, OptimConfig(value_clip=0.2))
