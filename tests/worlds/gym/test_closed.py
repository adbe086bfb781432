"""Iterations in closed form are autograd's, whatever the recipe and its options are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.worlds.gym.test_published import Streams, trainer
from torch.testing import assert_close

import logpi
from logpi.core.closed import ClosedForm, ClosedWorld
from logpi.core.coefficient import clipped_ratio, plain, total, toward_reference
from logpi.core.errors import NonFiniteError
from logpi.train.autograd import AutogradUpdate
from logpi.train.closed import ClosedUpdate, closed_update
from logpi.train.config import RunConfig
from logpi.train.loop import Trainer
from logpi.train.work import Work
from logpi.worlds.gym.closed import ClosedNets

BOX = spaces.Box(-1, 1, (2,))


class Watched(Streams):
    """Streams that remember what the loop was given to learn with."""

    def __init__(self, *, closed: bool, **options) -> None:
        super().__init__(**options)
        self.closed, self.given = closed, []

    def describe(self, batch, row):
        return {"actions": [str(a) for a in batch.inputs.action[row].tolist()]}

    def closed_form(self, inputs, *, entropy):
        self.given.append(super().closed_form(inputs, entropy=entropy))
        return self.given[-1]


def run(*, closed, recipe="ppo", constants=None, actions=None, iterations=3, **told):
    world = Watched(closed=closed, actions=actions)
    loop = trainer(world, recipe=recipe, constants=constants, **told)
    return world, loop, [loop.iterate(records=4) for _ in range(iterations)]


def assert_alike(**options):
    known, _, told = run(closed=False, **options)
    found, _, ours = run(closed=True, **options)
    assert all(isinstance(form, ClosedNets) for form in found.given)
    assert not any(known.given)
    pairs = [(known.policy, found.policy)]
    pairs += [(known.critic, found.critic)]
    for a, b in pairs:
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert_close(q, p, rtol=1e-9, atol=1e-11)
    for a, b in zip(told, ours, strict=True):
        figures = {k: v for k, v in a.metrics.items() if not k.startswith("seconds")}
        again = {k: v for k, v in b.metrics.items() if not k.startswith("seconds")}
        assert again == pytest.approx(figures, rel=1e-7, abs=1e-9)
        for x, y in zip(a.decisions, b.decisions, strict=True):
            assert x.keys() == y.keys()
            for name in ("logp", "coefficient", "clipped", "credit"):
                assert y[name] == pytest.approx(x[name], rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("actions", [None, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "constants",
    [
        {"epochs": 3},
        {"epochs": 3, "entropy": 0.02, "normalise": True},
        {"epochs": 6, "target_kl": 0.02},
        {"epochs": 2, "clip_decay": "linear"},
    ],
    ids=["plain", "entropy", "target_kl", "clip_decay"],
)
def test_ppo_in_closed_form_is_autograds(constants, together, actions):
    optim = {"lr": 3e-3, "critic_lr": 2e-3, "clip": 0.1, "clip_together": together}
    optim |= {"value_clip": 0.2, "critic_weight": 0.5}
    assert_alike(constants=constants, actions=actions, minibatches=4, optim=optim)


@pytest.mark.parametrize("recipe", ["a2c", "ppo_dual_clip", "reinforce_baseline", "reinforce"])
@pytest.mark.parametrize("minibatches", [1, 3])
def test_other_recipes_in_closed_form_are_autograds(recipe, minibatches):
    optim = {"lr": 3e-3} | ({} if recipe == "reinforce" else {"critic_lr": 2e-3})
    assert_alike(recipe=recipe, minibatches=minibatches, optim=optim)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 9),
    st.integers(1, 3),
    st.booleans(),
    st.floats(1e-3, 10),
    st.sampled_from([None, BOX]),
)
def test_any_split_and_any_clipping_are_autograds(minibatches, epochs, normalise, clip, actions):
    constants = {"epochs": epochs, "normalise": normalise}
    optim = {"lr": 3e-3, "critic_lr": 3e-3, "clip": clip}
    assert_alike(
        constants=constants, actions=actions, minibatches=minibatches, optim=optim, iterations=2
    )


def test_what_is_left_to_autograd():
    for constants, options in [
        ({}, {"shared": True}),  # a critic on the policy's own layers
        ({}, {"several": 2}),  # a critic with steps of its own
    ]:
        several = options.pop("several", 1)
        world = Watched(closed=True, **options)
        loop = trainer(world, constants=constants, optim={"critic_steps": several})
        loop.iterate()
        assert not any(world.given)
    natural = Watched(closed=True)
    trainer(natural, recipe="trpo").iterate()
    assert natural.given == []
    loop = trainer(natural)
    work = Work(None, None, None, None, None)
    assert closed_update(object(), loop.trained, work, loop.recipe, loop.config) is None


def test_both_are_updates_and_the_nets_a_closed_form():
    world = Watched(closed=True)
    trainer(world).iterate()
    assert isinstance(world, ClosedWorld)
    assert isinstance(world.given[0], ClosedForm)
    assert AutogradUpdate.learn.__annotations__ == ClosedUpdate.learn.__annotations__


class Poisoned(Watched):
    """Once the batch was drawn and observed, one weight is no number."""

    whose: str | None = None

    def closed_form(self, inputs, *, entropy):
        if self.whose is not None:
            with torch.no_grad():
                getattr(self, self.whose).net.layers[0].weight[0, 0] = torch.nan
        return super().closed_form(inputs, entropy=entropy)


@pytest.mark.parametrize(
    ("whose", "what"), [("policy", r"log-probability .* \(rows \["), ("critic", r"critic.* is nan")]
)
@pytest.mark.parametrize("together", [True, False])
def test_neither_moves_where_one_is_not_finite(whose, what, together):
    world = Poisoned(closed=True)
    loop = trainer(world, minibatches=2, optim={"clip_together": together})
    loop.iterate()
    world.whose = whose
    before = [p.detach().clone() for p in [*world.policy.parameters(), *world.critic.parameters()]]
    with pytest.raises(NonFiniteError, match=what):
        loop.iterate()
    after = [*world.policy.parameters(), *world.critic.parameters()]
    kept = [torch.equal(p, q.detach()) for p, q in zip(before, after, strict=True)]
    assert kept.count(False) == 1  # the one that was poisoned


@pytest.mark.parametrize("closed", [True, False])
def test_a_gradient_too_long_for_its_numbers_is_refused(closed):
    world = Watched(closed=closed)
    loop = trainer(world, recipe="a2c", optim={"lr": 1e-3, "clip": 1.0})
    draw = world.draw

    def huge(policy, iteration):
        batch = draw(policy, iteration)
        batch.reward.mul_(1e200)
        return batch

    world.draw = huge
    with pytest.raises(NonFiniteError, match="policy's gradient is inf") as stopped:
        loop.iterate()
    assert [r["row"] for r in stopped.value.records] == list(stopped.value.rows) != []


class Weighted(Watched):
    """Rows that count nothing stand among the others."""

    def draw(self, policy, iteration):
        batch = super().draw(policy, iteration)
        return replace(batch, weight=torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("target_kl", [None, 0.02, 0.08])
def test_decisions_that_count_nothing_end_nothing(target_kl):
    runs = []
    for closed in (True, False):
        world = Weighted(closed=closed)
        loop = trainer(world, constants={"epochs": 6, "target_kl": target_kl}, minibatches=3)
        runs.append((world, [loop.iterate().metrics for _ in range(2)]))
    (found, ours), (known, told) = runs
    assert [m["steps"] for m in ours] == [m["steps"] for m in told]
    assert [m["kl_old"] for m in ours] == pytest.approx([m["kl_old"] for m in told])
    for p, q in zip(known.policy.parameters(), found.policy.parameters(), strict=True):
        assert_close(q, p, rtol=1e-9, atol=1e-11)


class Nothing(Watched):
    def draw(self, policy, iteration):
        batch = super().draw(policy, iteration)
        return replace(batch, mask=torch.zeros_like(batch.mask))


@pytest.mark.parametrize("minibatches", [1, 2])
def test_a_batch_without_decisions_moves_nothing_twice(minibatches):
    moved = []
    for closed in (True, False):
        world = Nothing(closed=closed)
        start = [p.detach().clone() for p in world.policy.parameters()]
        trainer(world, minibatches=minibatches).iterate()
        pairs = zip(start, world.policy.parameters(), strict=True)
        moved.append([bool((a != b).any()) for a, b in pairs])
    assert moved[0] == moved[1]


class Referred(Watched):
    """The reference is the policy as it began, and no decision earned anything."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.initial = self.policy.copy()

    def draw(self, policy, iteration):
        batch = super().draw(policy, iteration)
        return replace(batch, reward=torch.zeros_like(batch.reward))

    def reference_log_prob(self, inputs):
        return self.initial.log_prob(inputs)


def test_nothing_moves_at_the_reference_where_nothing_was_earned():
    world = Referred(closed=True)
    world.critic = None
    start = [p.detach().clone() for p in world.policy.parameters()]
    pulled = total(clipped_ratio(), toward_reference(0.04))
    recipe = replace(logpi.recipe("reinforce"), coefficient=pulled)
    config = RunConfig(recipe={"name": "reinforce"}, world={"kind": "gym"}, iterations=5)
    Trainer(config, recipe, world).iterate()
    assert isinstance(world.given[0], ClosedNets)
    assert all(torch.equal(p, q) for p, q in zip(start, world.policy.parameters(), strict=True))


def test_gradients_are_gone_after_an_error():
    world = Poisoned(closed=True)
    loop = trainer(world, minibatches=2)
    loop.iterate()
    world.whose = "critic"
    with pytest.raises(NonFiniteError):
        loop.iterate()
    both = [*world.policy.parameters(), *world.critic.parameters()]
    assert not any(p.grad is not None and p.grad.any() for p in both)


def test_what_reads_undeclared_facts_reads_them_here_too():
    def of_value(s):
        return s.need("credit") * (1 + 0 * s.need("value"))

    worlds = []
    for coefficient in (of_value, plain):
        world = Watched(closed=True)
        recipe = replace(logpi.recipe("a2c"), coefficient=coefficient)
        config = RunConfig(recipe={"name": "a2c"}, world={"kind": "gym"}, iterations=5)
        Trainer(config, recipe, world).iterate()
        worlds.append(world)
    pairs = zip(*(w.policy.parameters() for w in worlds), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
