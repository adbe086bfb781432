"""Samples of a fixed policy, filtered: where none ever passes, the run says so and stops."""

from __future__ import annotations

import contextlib

import pytest

import judges
import logpi
import tasks
from logpi.core.errors import RewardError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tasks.model(tmp_path_factory.mktemp("model"))


def opened(folder, tmp_path, **settings):
    world = tasks.world("rft", folder, **settings)
    return world.open("rft", logpi.RECIPES["rft"], seed=0, scratch=tmp_path)


def test_a_whole_pass_in_which_nothing_passes_ends_the_run(folder, tmp_path):
    with contextlib.closing(opened(folder, tmp_path, reward=judges.nothing)) as world:
        for iteration in range(len(tasks.PROMPTS) // 4 - 1):
            assert world.source.draw(world.policy, iteration).logp_old is None
        with pytest.raises(RewardError, match=r"none of 128 completions .* best reward was 0\)"):
            world.source.draw(world.policy, 7)


def test_one_that_passes_is_enough_for_all_that_follow(folder, tmp_path):
    told = {"reward": {"name": "regex", "pattern": "7"}, "group_size": 8}
    with contextlib.closing(opened(folder, tmp_path, **told)) as world:
        rewarded = [world.source.draw(world.policy, k).reward.sum(1).max() for k in range(9)]
        assert max(rewarded) == 1.0


def test_the_command_ends_with_a_failure_and_no_model(folder, tmp_path):
    world = tasks.world("rft", folder, reward=judges.nothing, prompts_per_batch=32)
    with pytest.raises(RewardError, match=r"threshold"):
        logpi.train(recipe="rft", world=world, iterations=3, directory=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model").exists()
