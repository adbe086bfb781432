"""PPO's options, each against the loss that CleanRL writes out (ppo_continuous_action.py)."""

from __future__ import annotations

import copy

import pytest
import torch
from gymnasium import spaces
from torch.testing import assert_close

import logpi
from logpi.core import Batch
from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.train.config import RunConfig
from logpi.train.loop import Trainer
from logpi.train.update import minibatches
from logpi.worlds.gym.closed import closed_nets
from logpi.worlds.gym.critic import ValueNet
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.shared import SharedValue
from logpi.worlds.gym.steps import Steps

ROWS, LENGTH = 4, 16
GAMMA = 0.97


class Streams:
    """Streams of made-up experience in double precision; world and source in one."""

    closed = True

    def __init__(self, *, shared: bool = False, actions=None) -> None:
        chosen = spaces.Discrete(3) if actions is None else actions
        told = {"hidden": (8, 8), "dtype": torch.float64}
        self.policy = GymPolicy(spaces.Box(-3, 3, (4,)), chosen, seed=1, **told)
        self.critic = SharedValue(self.policy, seed=2) if shared else ValueNet((4,), seed=2, **told)
        self.source = self

    def draw(self, policy, iteration):
        g = torch.Generator().manual_seed(mix(5, iteration))
        x = torch.randn(ROWS, LENGTH + 1, 4, generator=g, dtype=torch.float64)
        end = torch.rand(ROWS, LENGTH, generator=g) < 0.1
        end[:, -1] = True
        over = end & (torch.rand(ROWS, LENGTH, generator=g) < 0.5)
        if self.policy.actions.kind == "discrete":
            action = torch.randint(3, (ROWS, LENGTH), generator=g)
        else:
            action = torch.randn(ROWS, LENGTH, 2, generator=g, dtype=torch.float64)
        inputs = Steps(x[:, :-1], action, None, x[:, 1:])
        drift = 0.4 * torch.randn(ROWS, LENGTH, generator=g, dtype=torch.float64)
        return Batch(
            inputs=inputs,
            mask=torch.ones(ROWS, LENGTH, dtype=torch.bool),
            reward=torch.randn(ROWS, LENGTH, generator=g, dtype=torch.float64),
            discount=torch.where(over, 0.0, GAMMA).double(),
            end=end,
            weight=torch.full((ROWS,), 1 / ROWS, dtype=torch.float64),
            logp_old=policy.log_prob(inputs) + drift,
        )

    def closed_form(self, inputs, *, entropy):
        return (
            closed_nets(self.policy, self.critic, inputs, entropy=entropy) if self.closed else None
        )

    def state(self):
        return {}

    def restore(self, state):
        pass

    def reference_log_prob(self, inputs):
        raise AssertionError("nobody asks")


def trainer(world, *, recipe="ppo", constants=None, iterations=5, **settings):
    told = {"name": recipe, **(constants or {})}
    config = RunConfig(recipe=told, world={"kind": "gym"}, iterations=iterations, **settings)
    return Trainer(config, logpi.recipe(recipe, **(constants or {})), world)


class Written:
    """CleanRL's update, written out: one Adam for two nets, one loss, one norm."""

    def __init__(self, world, *, lr, eps):
        self.policy, self.critic = copy.deepcopy(world.policy), copy.deepcopy(world.critic)
        if isinstance(self.critic, SharedValue):
            self.critic = SharedValue(self.policy)
            self.critic.head.load_state_dict(world.critic.head.state_dict())
        self.parameters = [*self.policy.parameters(), *self.critic.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=lr, eps=eps)

    def value(self, inputs):
        return self.critic.values(inputs)[0]

    def live_value(self, x):
        if isinstance(self.critic, SharedValue):
            return self.critic.value(x)[..., 0]
        return self.critic.net(x)[..., 0]

    def advantages(self, batch, lam):
        value, after = self.critic.values(batch.inputs)
        delta = batch.reward + batch.discount * after - value
        found, last = torch.zeros_like(delta), torch.zeros(ROWS, dtype=torch.float64)
        for t in reversed(range(LENGTH)):
            last = delta[:, t] + batch.discount[:, t] * lam * ~batch.end[:, t] * last
            found[:, t] = last
        return found, found + value, value

    def step(self, batch, facts, chosen, *, clip, coefficients, norm):
        """One step on the decisions `chosen` of the batch, flat."""
        advantage, target, before = (x.flatten()[chosen] for x in facts)
        x = batch.inputs.observation.flatten(0, 1)[chosen]
        action = batch.inputs.action.flatten(0, 1)[chosen]
        d = self.policy.distribution(Steps(x[None], action[None], None, x[None]))[0]
        logp = self.policy.head.log_prob(d, action)
        ratio = (logp - batch.logp_old.flatten()[chosen]).exp()
        pushed = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))
        v = self.live_value(x)
        near = before + (v - before).clamp(-clip, clip)
        value_loss = 0.5 * torch.max((v - target) ** 2, (near - target) ** 2).mean()
        entropy = self.policy.head.entropy(d).mean()
        of_value, of_entropy = coefficients
        self.adam.zero_grad()
        (pushed.mean() - of_entropy * entropy + of_value * value_loss).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, norm)
        self.adam.step()


def played(world, *, parts, epochs=2, norm=0.05, decay="linear"):
    """Ours and CleanRL's, after two iterations of the same batches."""
    lr, eps, clip, entropy, vf = 3e-3, 1e-5, 0.2, 0.02, 0.5
    written = Written(world, lr=lr, eps=eps)
    ours = trainer(
        world,
        constants={"epochs": epochs, "entropy": entropy, "normalise": True, "lam": 0.9},
        minibatches=parts,
        optim={
            "lr": lr,
            "critic_lr": lr,
            "eps": eps,
            "clip": norm,
            "decay": decay,
            "critic_decay": decay,
            "critic_weight": 0.5 * vf,
            "value_clip": clip,
            "clip_together": True,
        },
    )
    for iteration in range(2):
        batch = world.draw(written.policy, iteration)
        advantage, target, before = written.advantages(batch, 0.9)
        advantage = (advantage - advantage.mean()) / (advantage.std(unbiased=False) + 1e-8)
        written.adam.param_groups[0]["lr"] = lr * (1 - iteration / 5)
        for epoch in range(epochs):
            flat = logpi.core.Signals.of(batch).unrolled()
            for rows in minibatches(flat, parts, seed=mix(0, iteration, epoch)):
                facts = (advantage, target, before)
                how = {"clip": clip, "coefficients": (vf, entropy), "norm": norm}
                written.step(batch, facts, rows.nonzero()[:, 0], **how)
        ours.iterate()
    return written


BOX = spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize("norm", [0.05, 100.0])
@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("actions", [None, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_steps_are_those_of_the_written_out_loss(shared, actions, parts, norm):
    world = Streams(shared=shared, actions=actions)
    start = [p.detach().clone() for p in world.policy.parameters()]
    written = played(world, parts=parts, norm=norm)
    for a, b in zip(world.policy.parameters(), written.policy.parameters(), strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-11)
    for a, b in zip(world.critic.parameters(), written.critic.parameters(), strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-11)
    moved = [(a - b).abs().max() for a, b in zip(world.policy.parameters(), start, strict=True)]
    assert min(moved) > 1e-3


def test_the_learning_rates_of_both_go_to_zero():
    world = Streams()
    rates = {"lr": 0.1, "critic_lr": 0.2, "decay": "linear", "critic_decay": "linear"}
    ours = trainer(world, optim=rates, iterations=4)
    moved = [ours.trained.optimizer, ours.trained.critic_optimizer]
    rates = []
    for _ in range(4):
        ours.iterate()
        rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in moved))
    assert rates == [pytest.approx((0.1 * s, 0.2 * s)) for s in (1.0, 0.75, 0.5, 0.25)]


def test_epochs_end_early_at_the_target_kl():
    told = {"minibatches": 4, "optim": {"lr": 0.03, "critic_lr": 1e-3, "clip": None}}
    whole = trainer(Streams(), constants={"epochs": 6}, **told).iterate().metrics
    assert whole["steps"] == 24
    world = Streams()
    far = whole["kl_old"] / 2
    short = trainer(world, constants={"epochs": 6, "target_kl": far}, **told).iterate().metrics
    assert 0 < short["steps"] < 24
    assert not any(p.grad is not None and p.grad.any() for p in world.policy.parameters())
    never = trainer(Streams(), constants={"epochs": 6, "target_kl": 1e9}, **told)
    assert never.iterate().metrics["steps"] == 24


def test_the_clip_narrows_to_zero():
    made = logpi.recipe("ppo", clip_decay="linear", low=0.2, high=0.4)
    one = torch.ones(1, 1)
    signals = logpi.core.Signals(
        mask=one.bool(), reward=one, discount=one, end=one.bool(), weight=one[0], credit=one,
        logp=torch.tensor([[1.25]]).log(), logp_old=0 * one,
    )  # fmt: skip
    pushes = [float(made.at(left).coefficient(signals)) for left in (1.0, 0.7, 0.6, 0.1)]
    assert pushes == [pytest.approx(1.25), pytest.approx(1.25), 0.0, 0.0]
    assert logpi.recipe("ppo").at(0.1).coefficient(signals) == pytest.approx(0.0)


def test_a_shared_net_shares_its_step():
    with pytest.raises(ConfigError, match="a net of its own"):
        trainer(Streams(shared=True), recipe="trpo")
    with pytest.raises(ConfigError, match="clip_together is one step"):
        logpi.train.config.build_config(
            {
                "recipe": "ppo",
                "world": {"kind": "gym"},
                "iterations": 1,
                "optim": {"clip_together": True, "critic_steps": 2},
            }
        )


def test_the_critics_own_steps_go_through_the_batch_in_parts():
    world = Streams()
    seen = []
    inner = world.critic.loss
    world.critic.loss = lambda inputs, target, weight: (
        seen.append((weight > 0).sum().item()),
        inner(inputs, target, weight),
    )[1]
    told = {"critic_lr": 1e-3, "critic_steps": 2, "critic_minibatches": 4}
    trainer(world, recipe="trpo", optim=told).iterate()
    assert seen == [ROWS * LENGTH / 4] * 8
