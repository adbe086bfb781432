"""Batches, episodes and rewards at the ends of what there is: nothing is NaN, and weights move."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from gymnasium import spaces
from safetensors.torch import load_file

import logpi
from logpi.core.errors import ConfigError
from worlds.gym.scripted import Scripted


class Scaled(Scripted):
    """Rewards as large or small as one likes, of what is chosen."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, ends, scale=1.0, box=False):
        super().__init__(ends)
        self.scale = scale
        self.action_space = spaces.Box(-1, 1, (2,), np.float32) if box else spaces.Discrete(3)

    def seen(self):
        return np.array([self.at / 9 - 0.5, self.number / 1000 - 0.5], np.float32)

    def step(self, action):
        found = super().step(action)
        return (found[0], self.scale * found[1] / 10, *found[2:])


def trained(directory, recipe, env, *, iterations=4, **world):
    given = {"num_envs": 2, "steps": 12, "episodes": 3, "hidden": (8,), "evaluate_episodes": 1}
    return logpi.train(
        recipe=recipe,
        world=logpi.Gym(env, mode="sync", **{**given, **world}),
        iterations=iterations,
        directory=directory,
        quiet=True,
    )


def finite(run):
    for line in run.metrics:
        assert all(v is not None and math.isfinite(v) for v in line.values()), line
    weights = load_file(run.model_dir / "policy.safetensors")
    assert all(x.isfinite().all() for x in weights.values())
    return weights


RECIPES = ["ppo", "a2c", "trpo", "reinforce"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("scale", [1e6, 1e-6])
@pytest.mark.parametrize("box", [False, True])
def test_rewards_of_any_scale(recipe, scale, box, tmp_path):
    run = trained(tmp_path / "run", recipe, partial(Scaled, (5, True), scale, box))
    weights = finite(run)
    assert run.metrics[-1]["return"] != 0
    fresh = logpi.Gym(partial(Scaled, (5, True), scale, box), hidden=(8,))
    vector = fresh.vector(seed=0, num_envs=1)
    begin = fresh.policy_of(vector.observations, vector.actions, seed=0).state_dict()
    assert any((weights[name] != begin[name]).any() for name in weights), "nothing was learned"


@pytest.mark.parametrize("recipe", RECIPES)
def test_normalised_rewards_of_any_scale(recipe, tmp_path):
    told = {"normalise_rewards": True, "normalise_observations": True}
    large, one, small = (
        finite(trained(tmp_path / str(s), recipe, partial(Scaled, (5, True), s), **told))
        for s in (1e6, 1.0, 1e-6)
    )
    assert small.keys() == one.keys()
    for name in one:  # the scale is gone; what guards a division by zero hides the smallest
        assert np.allclose(large[name], one[name], rtol=1e-3, atol=1e-3), name


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("ends", "world"),
    [
        ((1, True), {"num_envs": 1, "steps": 1, "episodes": 1}),  # a batch of one decision
        ((1, False), {"num_envs": 1, "steps": 1, "episodes": 1}),
        ((50, True), {"steps": 7}),  # episodes longer than a rollout
        ((4, True), {"num_envs": 4, "steps": 8}),  # all end on the same step
        ((4, False), {"num_envs": 4, "steps": 8}),
        ((4, True), {"num_envs": 4, "steps": 4}),  # ... which is the rollout's last
    ],
)
def test_batches_and_episodes_of_any_length(recipe, ends, world, tmp_path):
    finite(trained(tmp_path / "run", recipe, partial(Scaled, ends), **world))


@pytest.mark.parametrize("constant", [0.0, 1.0])
@pytest.mark.parametrize("recipe", RECIPES)
def test_rewards_that_never_differ(recipe, constant, tmp_path):
    class Same(Scaled):
        def step(self, action):
            found = super().step(action)
            return (found[0], constant, *found[2:])

    finite(trained(tmp_path / "run", recipe, partial(Same, (3, True)), normalise_rewards=True))


def test_rollouts_of_no_steps_are_refused():
    told = {"kind": "gym", "env": "CartPole-v1", "steps": 0}
    with pytest.raises(ConfigError, match=r"world\.steps"):
        logpi.train(recipe="ppo", world=told, iterations=1, quiet=True)
    with pytest.raises(ValueError, match="steps"):
        logpi.Gym("CartPole-v1", steps=0)
