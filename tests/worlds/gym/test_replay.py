"""Recorded behaviour: what is kept, what it was taken with, and that it survives a checkpoint."""

from __future__ import annotations

import pytest
import torch

import logpi
from logpi.core.errors import ConfigError
from logpi.core.types import KeepingSource
from logpi.recipes import RECIPES
from logpi.train.observe import credited, observe
from logpi.worlds.gym.replay import ReplaySource

NUM, STEPS = 3, 16


def opened(tmp_path, *, kept=2, again=2, **told):
    world = logpi.Gym("CartPole-v1", num_envs=NUM, steps=STEPS, replay=kept, replayed=again, **told)
    recipe = RECIPES["off_policy_ac"]
    return world.open("off_policy_ac", recipe, seed=0, scratch=tmp_path)


def moved(policy, seed):
    """The policy, whose parameters are others now."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    return policy


def test_old_rows_keep_the_log_probabilities_of_who_played_them(tmp_path):
    world = opened(tmp_path)
    players, batches = [], []
    for iteration in range(4):
        players.append(moved(world.policy, iteration).copy())
        batches.append(world.source.draw(world.policy, iteration))
    assert [b.rows for b in batches] == [NUM, 3 * NUM, 3 * NUM, 3 * NUM]
    last = batches[-1]
    told = [p.log_prob(last.inputs) for p in players]
    gaps = [torch.where(last.mask, last.logp_old - t, 0.0).abs().amax(1) for t in told]
    behind = [gap < 1e-5 for gap in gaps]
    assert behind[3].tolist() == [True] * NUM + [False] * 2 * NUM
    assert not behind[0].any()  # two rollouts are kept: the first is gone
    assert (behind[1] | behind[2] | behind[3]).all()
    assert behind[1].any()
    assert behind[2].any()
    assert last.weight.sum() == pytest.approx(1)
    assert last.facts["replayed"] == pytest.approx(2 / 3)
    world.close()


def test_what_is_kept_is_drawn_the_same_after_a_restart(tmp_path):
    one, other = opened(tmp_path), opened(tmp_path)
    for iteration in range(3):
        one.source.draw(one.policy, iteration)
    assert isinstance(one.source, KeepingSource)
    other.source.load({name: x.clone() for name, x in one.source.tensors().items()})
    other.source.restore(one.source.state())
    a, b = (w.source.draw(w.policy, 3) for w in (one, other))
    assert torch.equal(a.inputs.observation, b.inputs.observation)
    assert torch.equal(a.logp_old, b.logp_old)
    for w in (one, other):
        w.close()


def test_nothing_drawn_again_is_what_was_played(tmp_path):
    world = opened(tmp_path, again=0)
    assert [world.source.draw(world.policy, i).rows for i in range(3)] == [NUM] * 3
    world.close()
    with pytest.raises(ConfigError, match="holds nothing"):
        ReplaySource(world.source, kept=0, again=1, seed=0)


@pytest.mark.parametrize("rho_max", [None, 1.0])
def test_a_batch_of_the_policy_itself_has_ratios_of_one(rho_max, tmp_path):
    """On-policy, importance coefficients are the plain ones: the first batch has no old rows."""
    world = opened(tmp_path)
    recipe = logpi.recipe("off_policy_ac", rho_max=rho_max)
    batch = world.source.draw(world.policy, 0)
    told = {"reference": world.reference_log_prob, "critic": world.critic}
    signals = credited(observe(batch, recipe, world.policy, **told), recipe)
    gap = torch.where(batch.mask, signals.logp - batch.logp_old, 0.0)
    assert float(gap.abs().max()) < 1e-6
    assert torch.allclose(recipe.coefficient(signals), signals.credit, atol=1e-4)
    world.close()
