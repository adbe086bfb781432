"""Iterations in closed form are autograd's, whatever the recipe and its options are."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.worlds.gym.test_published import Streams, trainer
from torch.testing import assert_close

from logpi.core.closed import ClosedForm, ClosedWorld
from logpi.core.errors import NonFiniteError
from logpi.train.autograd import AutogradUpdate
from logpi.train.closed import ClosedUpdate, closed_update
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
    if recipe == "reinforce":
        world.critic = None
    loop = trainer(world, recipe=recipe, constants=constants, **told)
    return world, loop, [loop.iterate(records=4) for _ in range(iterations)]


def assert_alike(**options):
    known, _, told = run(closed=False, **options)
    found, _, ours = run(closed=True, **options)
    assert all(isinstance(form, ClosedNets) for form in found.given)
    assert not any(known.given)
    pairs = [(known.policy, found.policy)]
    pairs += [(known.critic, found.critic)] if known.critic is not None else []
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
    with pytest.raises(NonFiniteError, match="policy's gradient is inf"):
        loop.iterate()
