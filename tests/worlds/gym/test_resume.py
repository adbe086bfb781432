"""A run that stops and goes on ends with the weights of one that never stopped, to the last bit."""

from __future__ import annotations

import importlib.util
import json

import pytest
from safetensors.torch import load_file

import logpi
from worlds.gym.scripted import Scripted

PARTS = ("policy", "critic", "optimizer", "critic_optimizer")


def trained(directory, env, recipe, mode, iterations, *, resume=False, **told):
    world = {"num_envs": 3, "steps": 24, "episodes": 2, "group_size": 2, "evaluate_episodes": 1}
    world |= {"normalise_observations": True, "normalise_rewards": True, "hidden": (8,)}
    world |= {k: told.pop(k) for k in ("squash", "std", "options") if k in told}
    return logpi.train(
        recipe={"name": recipe, "beta": 0.0} if recipe == "grpo" else recipe,
        world=logpi.Gym(env, mode=mode, **world),
        iterations=iterations,
        directory=directory,
        resume=resume,
        quiet=True,
        minibatches=1 if recipe == "trpo" else 2,
        **told,
    )


def left(run):
    """Everything that the last checkpoint holds."""
    folder = run.directory / "checkpoints" / str(run.done)
    state = json.loads((folder / "state.json").read_text())
    return [load_file(p) for n in PARTS if (p := folder / f"{n}.safetensors").exists()], state


def equal(a, b):
    (x, state), (y, other) = left(a), left(b)
    assert state == other
    assert len(x) == len(y)
    for p, q in zip(x, y, strict=True):
        assert p.keys() == q.keys()
        assert all((p[name] == q[name]).all() for name in p)


def figures(run):
    """What was recorded, less what a clock says."""
    timed = ("seconds", "share")
    return [{k: v for k, v in line.items() if not any(t in k for t in timed)}
            for line in run.metrics]  # fmt: skip


RUNS = [
    ("CartPole-v1", "ppo", "auto", {}),
    ("CartPole-v1", "a2c", "sync", {}),
    ("CartPole-v1", "grpo", "sync", {}),
    ("CartPole-v1", "off_policy_ac", "sync", {}),
    ("CartPole-v1", "trpo", "async", {}),
    ("Pendulum-v1", "reinforce", "sync", {"squash": True, "options": {"max_episode_steps": 30}}),
    ("LunarLander-v3", "ppo", "sync", {}),
    ("BipedalWalker-v3", "ppo", "sync", {}),
    ("Hopper-v5", "trpo", "sync", {"std": "state"}),
    ("Hopper-v5", "ppo", "async", {"squash": True}),
]
NEEDS = {"LunarLander-v3": "Box2D", "BipedalWalker-v3": "Box2D", "Hopper-v5": "mujoco"}


# SWIG's modules warn when they are imported, and die of it where warnings are errors.
@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")
@pytest.mark.parametrize(("env", "recipe", "mode", "told"), RUNS)
def test_a_run_that_stops_goes_on_bit_for_bit(env, recipe, mode, told, tmp_path):
    if (needed := NEEDS.get(env)) and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    whole = trained(tmp_path / "whole", env, recipe, mode, 5, **told)
    trained(tmp_path / "part", env, recipe, mode, 2, **told)
    part = trained(tmp_path / "part", env, recipe, mode, 5, resume=True, **told)
    equal(whole, part)
    assert [x["return"] for x in figures(part) if "return" in x] == [
        x["return"] for x in figures(whole) if "return" in x
    ]


def test_it_may_stop_after_any_iteration(tmp_path):
    told = {"env": Scripted, "recipe": "ppo", "mode": "sync"}
    whole = trained(tmp_path / "whole", iterations=6, **told)
    trained(tmp_path / "part", iterations=1, **told)
    for k in range(2, 7):
        part = trained(tmp_path / "part", iterations=k, resume=True, **told)
    equal(whole, part)


@pytest.mark.parametrize("recipe", ["ppo", "reinforce"])
def test_every_mode_that_resets_one_by_one_gives_the_same_run(recipe, tmp_path):
    runs = [trained(tmp_path / mode, "CartPole-v1", recipe, mode, 3) for mode in ("sync", "async")]
    equal(*runs)
    again = trained(tmp_path / "again", "CartPole-v1", recipe, "sync", 3)
    equal(runs[0], again)
    assert figures(again) == figures(runs[0])
