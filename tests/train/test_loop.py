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
    assert stopped.value.records[0]["prompt"] == "pull"
