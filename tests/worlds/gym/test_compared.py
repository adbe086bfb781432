"""What whole episodes are compared with, and who plays them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import logpi
from logpi.core.credit import above_greedy
from logpi.core.types import Signals
from logpi.recipes import RECIPES
from logpi.worlds.gym.episodes import likeliest, play
from logpi.worlds.gym.rollout import randomness


def opened(name, env="CartPole-v1", **told):
    given = {"num_envs": 3, "episodes": 4, "group_size": 2, "discount": 0.9, **told}
    return logpi.Gym(env, **given).open(name, RECIPES[name], seed=0, scratch=None)


def test_the_baseline_is_the_return_of_the_greedy_episode_from_the_same_seed():
    world = opened("remax")
    batch = world.source.draw(world.policy, 0)
    assert batch.baseline.shape == (8,)
    assert torch.equal(batch.baseline[::2], batch.baseline[1::2])
    # The same seed shows the same first observation: find each group's, and play it greedily.
    for row in range(0, 8, 2):
        first = batch.inputs.observation[row, 0].numpy()
        seed = next(
            s for s in world.source._source._seeds(0) if np.allclose(start(world, s), first)
        )
        e = play(world.vector, likeliest(world.policy), [seed], randomness(1))
        wanted = float((e.reward[0] * 0.9 ** np.arange(e.length[0])).sum())
        assert batch.baseline[row] == pytest.approx(wanted, rel=1e-6)
    credit = above_greedy(Signals.of(batch))
    powers = 0.9 ** torch.arange(batch.mask.shape[1])
    total = (batch.reward * batch.mask * powers).sum(1)
    assert torch.allclose(credit[:, 0], total - batch.baseline, atol=1e-4)
    world.close()


def start(world, seed):
    observation, _ = world.vector.reset([[seed], [seed], [seed]])
    return observation[0]


def test_groups_that_do_not_differ_are_played_again_for():
    world = opened("dapo", episodes=6)
    batch = world.source.draw(world.policy, 0)
    total = batch.reward.sum(1).reshape(-1, 2)
    assert len(total) == 6
    assert (total[:, 0] != total[:, 1]).all()
    assert 0 < batch.facts["mixed_groups"] <= 1
    world.close()


def test_where_no_group_differs_nothing_is_learned(tmp_path):
    """Within five steps no pole falls, so every return is 5."""
    run = logpi.train(
        recipe={"name": "dapo"},
        world=logpi.Gym("CartPole-v1", episodes=2, group_size=2, options={"max_episode_steps": 5}),
        iterations=1,
        directory=tmp_path / "run",
        quiet=True,
    )
    assert run.metrics[0]["rows"] == 0
    assert run.metrics[0]["mixed_groups"] == 0


def test_rejection_fine_tuning_learns_from_the_initial_policy():
    world = opened("rft")
    with torch.no_grad():
        for p in world.policy.parameters():
            p += 3.0
    batch = world.source.draw(world.policy, 0)
    other = opened("rft")
    same = other.source.draw(other.policy, 0)
    assert batch.logp_old is None
    assert torch.equal(batch.inputs.action, same.inputs.action)
    for w in (world, other):
        w.close()
