"""Every preset of the language world trains as it stands, but for its size."""

from __future__ import annotations

import math

import pytest

import logpi
from logpi.run import train_config
from logpi.train.config import load_config, presets
from logpi.worlds.lm.arithmetic import ALPHABET
from logpi.worlds.lm.tiny import tiny

LANGUAGE = sorted(name for name in presets() if load_config(name).world["kind"] == "lm")
SMALL = {
    "iterations": 2,
    "optim.warmup": 0,
    "world.prompts_per_batch": 4,
    "evaluate.every": 1,
    "evaluate.examples": 8,
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("model"), alphabet=ALPHABET, hidden=32, layers=1, heads=2)


def test_every_language_recipe_has_one():
    elsewhere = {"qac", "off_policy_ac", "trpo"}  # what `LM.check` refuses
    wanted = {f"{name}/arithmetic" for name in set(logpi.RECIPES) - elsewhere}
    assert wanted <= set(LANGUAGE)


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE)
def test_a_preset_takes_two_steps(name, folder, tmp_path):
    changed = SMALL | ({"world.model": folder} if name.endswith("/arithmetic") else {})
    if name == "rft/arithmetic":  # an untrained model's wrong answers would all be filtered away
        changed["recipe.threshold"] = -1.0
    config = load_config(name, [f"{key}={value}" for key, value in changed.items()])
    done = train_config(config, directory=tmp_path / "run", quiet=True)
    last = done.metrics[-1]
    assert last["iteration"] == 2
    assert all(math.isfinite(v) for v in last.values() if isinstance(v, float))
    assert name == "reinforce/capital" or "eval/reward" in last
    assert (done.model_dir / "config.json").exists()
