"""The update: one surrogate, any split, nothing moved by what is not finite."""

from __future__ import annotations

import pytest
import torch
from tests.train.bandits import Bandit, batch_of

import logpi
from logpi.core import Signals
from logpi.core.errors import NonFiniteError
from logpi.train.observe import credited, observe
from logpi.train.update import accumulate, clip_gradient, clipped, minibatches, take_step

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
    assert clip_gradient(world.named_parameters(), None, what="policy") > 0
    take_step(optimizer)
    before = world.logits.detach().clone()
    assert clip_gradient(world.named_parameters(), None, what="policy") == 0
    take_step(optimizer)
    assert not torch.equal(before, world.logits)  # AdamW's momentum goes on


def test_a_gradient_is_clipped_to_its_length():
    world = Bandit()
    world.logits.grad = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64)
    assert clip_gradient(world.named_parameters(), 1.0, what="policy") == 5.0
    assert world.logits.grad.norm().item() == pytest.approx(1.0, abs=1e-6)


def test_a_gradient_that_is_not_finite_is_refused_and_gone():
    world = Bandit()
    world.logits.grad = torch.tensor([float("nan"), 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(NonFiniteError, match=r"critic's gradient is nan .*logits"):
        clip_gradient(world.named_parameters(), 1.0, what="critic")
    assert world.logits.grad is None


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


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_minibatches_part_the_rows_and_keep_groups(count):
    world = Bandit()
    signals = Signals.of(batch_of(world, ARMS))
    parts = list(minibatches(signals, count, seed=1))
    assert torch.stack(parts).sum(0).tolist() == [1] * 6
    assert all(bool((rows[0::2] == rows[1::2]).all()) for rows in parts)
    again = list(minibatches(signals, count, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
