"""The presets of environments: each opens, says where its settings come from, and trains."""

from __future__ import annotations

import re
import warnings

import pytest

from logpi.named import recipe_of, world_of
from logpi.run import train_config
from logpi.train.config import build_config, load_config, presets
from logpi.train.loop import Trainer

OURS = {name: what for name, what in presets().items() if "arithmetic" not in name}
OURS.pop("reinforce/capital")
ENVIRONMENTS = (
    "cartpole",
    "acrobot",
    "mountaincar",
    "lunarlander",
    "pendulum",
    "bipedalwalker",
    "hopper",
    "halfcheetah",
    "walker2d",
)


def need_package(env):
    """Skip where what simulates the environment is not installed."""
    package = {"LunarLander-v3": "Box2D", "BipedalWalker-v3": "Box2D"}.get(env)
    package = "mujoco" if env.endswith("-v5") else package
    if package is not None:
        with warnings.catch_warnings():  # SWIG's own; raised inside of it, it ends the process
            warnings.simplefilter("ignore", DeprecationWarning)
            pytest.importorskip(package)


def test_every_environment_has_its_presets():
    for environment in ENVIRONMENTS:
        assert {f"ppo/{environment}", f"trpo/{environment}"} <= set(OURS)
    assert {"a2c/cartpole", "reinforce/cartpole"} <= set(OURS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_preset_opens_with_the_settings_of_its_source(name, tmp_path):
    config = load_config(name)
    world, recipe = world_of(config), recipe_of(config)
    assert re.search(r"rl-baselines3-zoo|CleanRL|PyTorch's example", OURS[name])
    told = re.search(r", ([\d ]+) decisions", OURS[name])
    if told:
        asked = int(told[1].replace(" ", ""))
        assert abs(config.iterations * world.steps_an_iteration - asked) < world.steps_an_iteration
        assert world.steps_an_iteration % config.minibatches == 0
    need_package(world.env)
    opened = world.open(config.recipe_name, recipe, seed=0, scratch=tmp_path)
    try:
        trainer = Trainer(config, recipe, opened)
        assert trainer.trained.optimizer.param_groups[0]["lr"] == config.optim.lr
    finally:
        opened.close()


@pytest.mark.parametrize("name", ["ppo/mountaincar", "trpo/cartpole", "a2c/cartpole"])
def test_a_preset_trains(name, tmp_path):
    config = load_config(name, ["iterations=2", "evaluate.examples=1"])
    run = train_config(config, directory=tmp_path / "run", quiet=True)
    assert run.done == 2
    assert build_config(run.config.model_dump()) == run.config
