"""Worlds from Python: what they are told wrongly is said in our words, once."""

from __future__ import annotations

import copy

import pytest

import logpi
from logpi.core.errors import ConfigError
from logpi.run import Run
from logpi.train.config import validated


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: logpi.Gym("CartPole-v1", num_env=3),
            "unknown key `num_env` in logpi.Gym(...). Did you mean `num_envs`?",
        ),
        (
            lambda: logpi.LM(modl="m", data=[]),
            "unknown key `modl` in logpi.LM(...). Did you mean `model`? "
            "`model` is missing in logpi.LM(...): add `model=...`.",
        ),
        (
            lambda: logpi.MDP("book_grid", discont=0.9),
            "unknown key `discont` in logpi.MDP(...). Did you mean `discount`?",
        ),
        (
            lambda: logpi.Gym("CartPole-v1", num_envs=-1),
            "`num_envs` in logpi.Gym(...) is -1: input should be greater than or equal to 1.",
        ),
        (
            lambda: logpi.Gym(5),
            "`env` in logpi.Gym(...) is 5: input should be a valid string or callable.",
        ),
        (
            lambda: logpi.Gym("Pendulum-v1", log_std=float("nan")),
            "`log_std` in logpi.Gym(...) is nan: input should be a finite number.",
        ),
        (
            lambda: logpi.MDP(5),
            "`model` in logpi.MDP(...) is 5: input should be a valid string, a path or a "
            "dictionary or an instance of FiniteMDP.",
        ),
        (
            lambda: logpi.MDP("cliff", policy="linear", features="abc"),
            "`features` in logpi.MDP(...) is 'abc': must be an array [states, actions, d] of "
            "numbers.",
        ),
    ],
)
def test_what_a_world_cannot_be_told(make, said):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == said
    assert refused.value.__cause__ is None


def test_a_mapping_is_refused_where_it_was_read():
    with pytest.raises(ConfigError) as refused:
        validated(logpi.Gym, {"env": "a", "num_env": 3}, prefix="world.", where="run.yaml")
    assert str(refused.value) == (
        "unknown key `world.num_env` in run.yaml. Did you mean `world.num_envs`?"
    )
    with pytest.raises(ConfigError, match=r"unknown key `world\.3` in run\.yaml"):
        validated(logpi.Gym, {"env": "a", 3: 3}, prefix="world.", where="run.yaml")
    assert validated(logpi.Gym, {"env": "a"}) == logpi.Gym("a")


def test_worlds_are_copied():
    world = logpi.MDP("cliff", discount=0.9)
    assert copy.deepcopy(world) == world.model_copy() == world


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"world": "cliff"}, r"`world` is 'cliff'. Give logpi.LM"),
        ({"world": None}, "`world` is None"),
        ({"world": {"kind": ["mdp"]}}, r"`world.kind` in the arguments is \['mdp'\]"),
        ({"recipe": 3}, "`recipe` in the arguments is 3: must say which recipe"),
        ({"recipe": ["grpo"]}, "must say which recipe"),
        ({"recipe": {"name": "grpo", "beta": "x"}}, "`recipe.beta` in the recipe grpo is 'x'"),
        ({"recipe": {"name": "ppo", "lam": 2}}, "`recipe.lam` in the recipe ppo is 2"),
        ({"iterations": None, "itertions": 3}, "`itertions`.*Did you mean `iterations`"),
        ({"total_steps": 9}, "`iterations` and `total_steps` both say how long"),
        ({"optim": {3: 4}}, r"unknown key `optim.3`"),
        ({"directory": 5}, "`directory` is 5. Give a path"),
        ({"directory": ""}, "`directory` is ''. Give a path"),
        ({"callbacks": print}, "`callbacks` is .* Give a list of functions"),
        ({"callbacks": [3]}, r"`callbacks` is \[3\]"),
    ],
)
def test_what_training_cannot_be_told(told, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"recipe": "reinforce", "world": logpi.MDP("cliff"), "iterations": 1, "quiet": True}
    with pytest.raises(ConfigError, match=said):
        logpi.train(**{**given, **told})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "told", [{"examples": 0}, {"samples": -1}, {"episodes": -3}, {"episodes": 2.5}]
)
def test_an_evaluation_of_nothing_is_refused(told):
    with pytest.raises(ConfigError, match="Give a whole number of at least 1"):
        Run("runs/none").evaluate(**told)
