"""The update: one surrogate, any split, nothing moved by what is not finite."""

from __future__ import annotations

import pytest
import torch
from tests.train.bandits import Bandit, batch_of

import logpi
from logpi.core import Signals
from logpi.core.errors import NonFiniteError
from logpi.train.observe import credited, observe
from logpi.train.update import accumulate, adam_step, clipped, critic_step, minibatches

ARMS = torch.tensor([0, 2, 1, 1, 0, 1])


def pushed(name, world, arms=ARMS, **constants):
    recipe = logpi.recipe(name, **constants)
    batch = batch_of(world, arms)
    signals = observe(batch, recipe, world, reference=world.reference_log_prob, critic=None)
    signals = credited(signals, recipe)
    weight = recipe.aggregate(batch.mask, batch.weight)
    live = recipe.live(batch.mask, signals.credit, weight)
    return accumulate(world, batch.inputs, signals, weight, recipe=recipe, live=live), signals, live


@pytest.mark.parametrize("parts", [1, 2, 6])
def test_the_gradient_is_worked_out_by_hand(parts):
    world = Bandit(parts=parts)
    pushed("rloo", world)
    # Leave-one-out: (1, -1) differ by 2, (0, 0) by 0, (1, 0) by 1; ∇logπ(k) = e_k − (⅓, ⅓, ⅓).
    credit = torch.tensor([2.0, -2.0, 0.0, 0.0, 1.0, -1.0], dtype=torch.float64)
    score = torch.eye(3, dtype=torch.float64)[ARMS] - 1 / 3
    assert torch.allclose(world.logits.grad, -(credit[:, None] * score).mean(0), atol=1e-15)


def test_what_is_known_to_be_zero_is_not_run():
    run, signals, live = pushed("rloo", Bandit())
    assert live[:, 0].tolist() == [True, True, False, False, True, True]
    assert run.logp.isnan()[:, 0].tolist() == [False, False, True, True, False, False]
    assert (run.coefficient[~live] == 0).all()
    assert not clipped(logpi.recipe("rloo"), run.coefficient, signals.credit, live).any()


def test_with_a_pull_to_the_reference_everything_is_run():
    world = Bandit()
    with torch.no_grad():
        world.logits[0] = 1.0
    _, _, live = pushed("grpo", world, beta=0.1)
    assert live.all()


def test_the_entropy_bonus_ascends_the_entropy():
    world = Bandit()
    with torch.no_grad():
        world.logits[0] = 2.0
    run, _, _ = pushed("grpo", world, arms=torch.tensor([1, 1]), beta=0.0, entropy=0.5)
    logp = world.logits.detach().log_softmax(0)
    entropy = -(logp.exp() * logp).sum()
    by_hand = -0.5 * -logp.exp() * (logp + entropy)
    assert torch.allclose(world.logits.grad, by_hand, atol=1e-14)
    assert run.figures["entropy"] == pytest.approx(float(entropy))


def test_a_step_without_gradient_is_a_step():
    world = Bandit()
    optimizer = torch.optim.AdamW([world.logits], lr=0.1, weight_decay=0.0)
    pushed("rloo", world)
    adam_step(world, optimizer, clip=None)
    before = world.logits.detach().clone()
    assert adam_step(world, optimizer, clip=None) == {"gradient_norm": 0.0}
    assert not torch.equal(before, world.logits)  # AdamW's momentum goes on


def test_nothing_moves_on_a_gradient_that_is_not_finite():
    world = Bandit()
    optimizer = torch.optim.AdamW([world.logits], lr=0.1)
    world.logits.grad = torch.tensor([float("nan"), 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(NonFiniteError, match="logits"):
        adam_step(world, optimizer, clip=1.0)
    assert (world.logits == 0).all()


def test_a_reward_that_is_not_finite_is_named_by_row():
    world = Bandit(rewards=(1.0, float("nan"), 0.0))
    with pytest.raises(NonFiniteError, match=r"rows \[2, 3, 5\]"):
        pushed("reinforce", world)


def test_a_log_probability_that_is_not_finite_is_named_by_row():
    world = Bandit(parts=1)
    arms = torch.tensor([0, 1])
    recipe = logpi.recipe("reinforce")
    batch = batch_of(world, arms)
    signals = Signals.of(batch, credit=batch.reward + 1)
    with torch.no_grad():
        world.logits[1] = -torch.inf
    with pytest.raises(NonFiniteError, match=r"rows \[1\]"):
        accumulate(world, arms, signals, batch.weight[:, None], recipe=recipe, live=batch.mask)


class Constant:
    """A critic of one number."""

    def __init__(self) -> None:
        self.value = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def named_parameters(self):
        return iter([("value", self.value)])

    def loss(self, inputs, target, weight):
        loss = (weight * (self.value - target) ** 2).sum()
        loss.backward()
        return loss.detach()


def test_a_critic_moves_toward_its_target():
    critic = Constant()
    optimizer = torch.optim.SGD([critic.value], lr=0.25)
    one = torch.ones(2, 1, dtype=torch.float64)
    figures = critic_step(critic, optimizer, None, one, one / 2)
    assert figures == {"critic_loss": 1.0}
    assert critic.value.item() == pytest.approx(
        0.25
    )  # the norm of its gradient, 2, is clipped to 1
    with pytest.raises(NonFiniteError, match="critic"):
        critic_step(critic, optimizer, None, one * torch.nan, one)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_minibatches_part_the_rows_and_keep_groups(count):
    world = Bandit()
    signals = Signals.of(batch_of(world, ARMS))
    parts = list(minibatches(signals, count, seed=1))
    assert torch.stack(parts).sum(0).tolist() == [1] * 6
    assert all(bool((rows[0::2] == rows[1::2]).all()) for rows in parts)
    again = list(minibatches(signals, count, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
