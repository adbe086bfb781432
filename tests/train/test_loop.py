"""The loop on a bandit: what one iteration does, and that resuming is the same run."""

from __future__ import annotations

import pytest
import torch
from tests.train.bandits import Bandit

import logpi
from logpi.core.errors import NonFiniteError, RunError
from logpi.train.config import RunConfig
from logpi.train.loop import Outcome, Trainer, World


def trainer(world, *, recipe="rloo", **settings):
    config = RunConfig(
        recipe={"name": recipe},
        world={"kind": "lm"},
        iterations=9,
        **{"optim": {"lr": 0.1}, **settings},
    )
    return Trainer(config, logpi.recipe(recipe), world)


def test_a_bandit_is_a_world():
    assert isinstance(Bandit(), World)


def test_the_better_arm_becomes_likelier():
    world = Bandit(rows=16)
    loop = trainer(world)
    for _ in range(9):
        loop.iterate()
    assert world.logits.softmax(0)[0] > 0.6
    assert loop.done == world.drawn == 9


def test_an_iteration_tells_its_figures_and_its_rows():
    outcome = trainer(Bandit()).iterate(records=2)
    assert isinstance(outcome, Outcome)
    assert outcome.metrics["rows"] == outcome.metrics["decisions"] == 6
    assert 0 <= outcome.metrics["skipped"] < 1
    assert [r["row"] for r in outcome.decisions] == [0, 1]
    assert outcome.decisions[0]["iteration"] == 1


@pytest.mark.parametrize("minibatches", [1, 3])
def test_going_on_from_a_checkpoint_is_the_same_run(minibatches):
    whole_world = Bandit()
    whole = trainer(whole_world, minibatches=minibatches)
    for _ in range(2):
        whole.iterate()
    tensors = {k: {n: t.clone() for n, t in v.items()} for k, v in whole.tensors().items()}
    state = whole.state()
    for _ in range(3):
        whole.iterate()
    world = Bandit()
    resumed = trainer(world, minibatches=minibatches)
    resumed.restore(tensors, state)
    assert resumed.done == 2
    for _ in range(3):
        resumed.iterate()
    assert torch.equal(world.logits, whole_world.logits)


def test_a_checkpoint_of_another_model_is_refused():
    loop = trainer(Bandit())
    loop.iterate()
    tensors, state = loop.tensors(), loop.state()
    with pytest.raises(RunError, match="other parameters"):
        trainer(Bandit()).restore({**tensors, "policy": {}}, state)
    wide = {"logits": torch.zeros(4, dtype=torch.float64)}
    with pytest.raises(RunError, match=r"\[4\]"):
        trainer(Bandit()).restore({**tensors, "policy": wide}, state)


def test_what_is_not_finite_leaves_the_policy_and_brings_the_rows():
    world = Bandit(rewards=(float("inf"), 0.0, 1.0))
    loop = trainer(world, recipe="reinforce")
    with pytest.raises(NonFiniteError) as stopped:
        loop.iterate()
    assert (world.logits == 0).all()
    assert loop.done == 0
    records = stopped.value.records
    assert records[0]["prompt"] == "pull"
    assert [r["row"] for r in records] == list(stopped.value.rows)
    assert all(r["reward"] == float("inf") and r["iteration"] == 1 for r in records)
    assert records[0]["coefficient"] == [None]  # it was never computed, which is no 0


def test_a_gradient_that_is_not_finite_brings_the_rows_of_its_step():
    world = Bandit(rewards=(1e200, 1e200, 1e200))
    with pytest.raises(NonFiniteError, match="policy's gradient is inf") as stopped:
        trainer(world, recipe="reinforce", minibatches=3).iterate()
    rows = [r["row"] for r in stopped.value.records]
    assert len(rows) == 2  # of six, in three steps
    assert rows == list(stopped.value.rows) != [0, 1]


class Constant:
    """A critic of one number, which it learns too fast."""

    def __init__(self) -> None:
        self.value = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.scale = 1.0

    def named_parameters(self):
        return iter([("value", self.value)])

    def values(self, inputs):
        value = self.value.detach().expand(len(inputs), 1)
        return value, value

    def loss(self, inputs, target, weight):
        loss = self.scale * (weight * (self.value - target) ** 2).sum()
        loss.backward()
        return loss.detach()


def test_policy_and_critic_move_together():
    world = Bandit(rewards=(1.0, 1.0, 1.0))
    world.critic = Constant()
    loop = trainer(world, recipe="a2c", optim={"lr": 0.1, "critic_lr": 0.25})
    figures = loop.iterate().metrics
    assert figures["critic_loss"] == pytest.approx(1.0)
    assert world.critic.value.item() == pytest.approx(0.25)  # AdamW's first step is its rate
    stored = {k: {n: t.clone() for n, t in v.items()} for k, v in loop.tensors().items()}
    assert set(stored) == {"policy", "optimizer", "critic", "critic_optimizer"}


def test_neither_moves_where_the_critic_is_not_finite():
    world = Bandit()
    world.critic = Constant()
    loop = trainer(world, recipe="a2c")
    loop.iterate()
    before = world.logits.detach().clone()
    world.critic.scale = torch.nan
    with pytest.raises(NonFiniteError, match="critic") as stopped:
        loop.iterate()
    assert torch.equal(before, world.logits)
    assert [r["row"] for r in stopped.value.records] == list(range(6))
    assert {r["iteration"] for r in stopped.value.records} == {2}


def test_an_empty_batch_moves_nothing():
    world = Bandit()
    loop = trainer(world)
    loop.iterate()
    before = world.logits.detach().clone()
    world.rows = 0
    figures = loop.iterate().metrics
    assert figures["rows"] == 0
    assert torch.equal(before, world.logits)
