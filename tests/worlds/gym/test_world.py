"""Recipes in Gymnasium's environments, through the one loop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import logpi
from logpi.core.errors import ConfigError
from logpi.recipes import RECIPES
from logpi.worlds.gym.normalise import Normaliser, RewardScale
from logpi.worlds.gym.normalised import NormalisedSource, rescaling
from worlds.gym.scripted import Scripted

STREAMS = ["reinforce_baseline", "qac", "a2c", "off_policy_ac", "ppo", "ppo_dual_clip", "trpo"]
EPISODES = [
    "reinforce_total",
    "reinforce",
    "rft",
    "online_rft",
    "remax",
    "rloo",
    "reinforce_pp",
    "reinforce_pp_baseline",
    "grpo",
    "grpo_process",
    "dr_grpo",
    "dapo",
    "gspo",
    "cispo",
    "sapo",
    "max_rl",
]
REFUSED = {
    "sft": "demonstrations",
    "dpo": "preferences",
    "dpo_mean": "preferences",
    "ipo": "preferences",
    "simpo": "preferences",
}


def trained(recipe, path, *, env="CartPole-v1", iterations=2, world=None, **told):
    given = {"num_envs": 2, "steps": 32, "episodes": 2, "group_size": 2, "evaluate_episodes": 2}
    return logpi.train(
        recipe=recipe,
        world=logpi.Gym(env, **{**given, **(world or {})}),
        iterations=iterations,
        directory=path / "run",
        quiet=True,
        **told,
    )


def test_every_row_of_the_table_runs_or_is_refused():
    assert {*STREAMS, *EPISODES, *REFUSED} == set(RECIPES)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_recipe_that_needs_what_others_wrote_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=rf"`{name}` learns from {REFUSED[name]}"):
        logpi.Gym("CartPole-v1", group_size=2).check(name, RECIPES[name])


@pytest.mark.parametrize("name", [*STREAMS, *EPISODES])
def test_every_recipe_that_samples_takes_two_steps(name, tmp_path):
    run = trained(name, tmp_path)
    assert all(np.isfinite(v) for line in run.metrics for v in line.values())
    assert run.evaluate()["return"] == run.metrics[-1]["eval/return"]


@pytest.mark.parametrize("name", ["ppo", "trpo", "reinforce"])
def test_continuous_actions(name, tmp_path):
    world = {"normalise_observations": True, "normalise_rewards": True, "options": {"g": 9.81}}
    run = trained(name, tmp_path, env="Pendulum-v1", world=world)
    assert np.isfinite(run.metrics[-1]["eval/return"])


@pytest.mark.parametrize("mode", ["auto", "sync"])
@pytest.mark.parametrize("recipe", ["ppo", "off_policy_ac", "reinforce_pp", "remax", "dapo", "rft"])
def test_a_run_goes_on_bit_for_bit(recipe, mode, tmp_path):
    told = {"minibatches": 2, "world": {"mode": mode, "normalise_observations": True}}
    whole = trained(recipe, tmp_path / "whole", iterations=4, **told)
    trained(recipe, tmp_path / "part", iterations=2, **told)
    resumed = trained(recipe, tmp_path / "part", iterations=4, resume=True, **told)
    a, b = (load_file(r.model_dir / "policy.safetensors") for r in (whole, resumed))
    assert a.keys() == b.keys()
    assert all((a[name] == b[name]).all() for name in a)


def test_the_reference_is_the_initial_policy(tmp_path):
    run = trained("grpo", tmp_path, iterations=3, optim={"lr": 0.01})
    first, *_, last = (m["kl_reference"] for m in run.metrics)
    assert first == pytest.approx(0, abs=1e-6)
    assert last > 1e-4


@pytest.mark.parametrize(
    ("world", "said"),
    [(logpi.Gym(Scripted, num_envs=2, steps=4), "Scripted: "), (logpi.MDP("cliff"), None)],
)
def test_a_recorded_row_says_apart_where_it_was_and_what_was_done(world, said, tmp_path):
    run = logpi.train(recipe="a2c", world=world, iterations=1, directory=tmp_path / "a", quiet=True)
    line = json.loads((run.directory / "decisions.jsonl").read_text().splitlines()[0])
    assert line["prompt"].endswith(": ")
    assert said in (None, line["prompt"])


def test_modes_walk_the_same_streams(tmp_path):
    a, b = (
        trained("ppo", tmp_path / mode, world={"mode": mode, "num_envs": 2})
        for mode in ("sync", "async")
    )
    x, y = (load_file(r.model_dir / "policy.safetensors") for r in (a, b))
    assert all((x[name] == y[name]).all() for name in x)


def test_statistics_travel_with_the_source(tmp_path):
    world = logpi.Gym("Pendulum-v1", num_envs=2, steps=8, normalise_observations=True)
    opened = world.open("ppo", RECIPES["ppo"], seed=0, scratch=tmp_path)
    opened.source.draw(opened.policy, 0)
    told = opened.source.state()
    other = world.open("ppo", RECIPES["ppo"], seed=0, scratch=tmp_path)
    other.source.restore(told)
    for x in (opened, other):
        x.policy.normaliser.adopt()
    assert float(opened.policy.normaliser.moments.count) == 16
    assert (opened.policy.normaliser.shift == other.policy.normaliser.shift).all()
    a, b = (x.source.draw(x.policy, 1).inputs.observation for x in (opened, other))
    assert (a == b).all()
    assert isinstance(opened.source, NormalisedSource)
    for x in (opened, other):
        x.close()


def test_rewards_are_divided_by_the_spread_of_returns():
    scale = RewardScale(1, discount=0.5)
    rewards = np.array([[1.0, -1.0, 3.0]])
    nowhere, here = np.zeros((1, 3), dtype=bool), np.ones((1, 3), dtype=bool)
    found = rescaling(scale)(rewards, nowhere, here)
    spread = np.std([1.0, -0.5, 2.75])
    assert found == pytest.approx(rewards / spread)
    assert Normaliser((2,)).shape == (2,)


@pytest.mark.parametrize(
    ("recipe", "world", "message"),
    [
        ("ppo", {"env": "CartPole-v7"}, "Did you mean"),
        ("dpo", {"env": "CartPole-v1"}, "learns from preferences"),
        ("remax", {"env": "CartPole-v1", "normalise_rewards": True}, "normalise_rewards=false"),
        ("qac", {"env": "CartPole-v1", "shared": True}, "no critic of states"),
        ("qac", {"env": "Pendulum-v1"}, "Take a recipe with a critic of states"),
        ("rloo", {"env": "CartPole-v1"}, "group_size is 1"),
        ("ppo", {"env": "CartPole-v1", "stepz": 3}, "unknown key `world.stepz`"),
        ("ppo", {"env": "CartPole-v1", "mode": "fast"}, "mode"),
    ],
)
def test_what_cannot_be_is_refused(recipe, world, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        logpi.train(
            recipe=recipe,
            world={"kind": "gym", **world},
            iterations=1,
            directory=tmp_path / "run",
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def test_what_was_trained_acts_and_is_measured(tmp_path):
    run = logpi.train(
        recipe="ppo",
        world=logpi.Gym("CartPole-v1", num_envs=2, steps=16),
        total_steps=50,
        directory=tmp_path / "run",
        quiet=True,
    )
    assert run.done == 2
    assert run.evaluate(episodes=3).mean_return == run.evaluate(episodes=3)["return"]
    others = run.evaluate(episodes=3, seed=1)
    assert others == run.evaluate(episodes=3, seed=1) != run.evaluate(episodes=3)
    assert run.policy.act(np.zeros(4, dtype=np.float32)) in (0, 1)
    with pytest.raises(ConfigError, match="how long shall it train"):
        logpi.train(recipe="ppo", world=logpi.Gym("CartPole-v1"))
    with pytest.raises(ConfigError, match="whose decisions nobody can count"):
        logpi.train(recipe="reinforce", world=logpi.Gym("CartPole-v1"), total_steps=50)


def test_the_documentation_lists_every_recipe_as_it_is():
    page = (Path(__file__).parents[3] / "docs" / "environments.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    told = {
        name: what.strip()
        for row in rows
        for name in re.findall(r"`(\w+)`", row[1])
        for what in row[3:4]
    }
    for name in RECIPES:
        assert told[name].startswith("refused" if name in REFUSED else "runs"), name
