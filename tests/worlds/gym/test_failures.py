"""An environment that fails stops the run after a checkpoint; mended, the run goes on."""

from __future__ import annotations

import json
import os
import time
from functools import partial

import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from safetensors.torch import load_file

import logpi
from logpi.core.errors import EnvironmentFailure, RunError
from logpi.core.seeds import mix
from logpi.train.rundir import RunDirectory
from worlds.gym.scripted import Scripted


class Brittle(Scripted):
    """Does what it should not in episode steps beyond the fifth, until `mended` exists."""

    def __init__(self, mended, how):
        super().__init__(longest=7)
        self.mended, self.how = mended, how

    def step(self, action):
        found = super().step(action)
        broken = self.at > 5 and self.number % 3 == 0 and not os.path.exists(self.mended)
        return HOW[self.how](found) if broken else found


HOW = {
    "raises": lambda found: 1 / 0,
    "reward": lambda found: (found[0], np.nan, *found[2:]),
    "observation": lambda found: (found[0] * np.nan, *found[1:]),
    "nothing": lambda found: None,
    "two rewards": lambda found: (found[0], np.ones(2), *found[2:]),
    "hangs": lambda found: time.sleep(60),
    "leaves": lambda found: os._exit(7),
}
SAYS = {
    "raises": "raised ZeroDivisionError",
    "reward": "gave the reward nan",
    "observation": "gave an observation that is NaN",
    "nothing": "raised TypeError: cannot unpack",
    "two rewards": "raised TypeError: only",
    "hangs": r".*took longer than 1 s \(world.step_timeout\)",
    "leaves": r"ended its process \(exit code 7\)",
}


def trained(directory, env, *, recipe="ppo", mode="sync", resume=False, **world):
    given = {"num_envs": 3, "steps": 8, "episodes": 4, "evaluate_episodes": 2, "step_timeout": 1.0}
    return logpi.train(
        recipe=recipe,
        world=logpi.Gym(env, mode=mode, **{**given, **world}),
        iterations=7,
        directory=directory,
        resume=resume,
        quiet=True,
    )


def same(a, b):
    x, y = (load_file(run.model_dir / "policy.safetensors") for run in (a, b))
    return x.keys() == y.keys() and all((x[k] == y[k]).all() for k in x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "how", "normalised"),
    [
        ("sync", "raises", True),
        ("sync", "reward", False),
        ("sync", "observation", False),
        ("sync", "nothing", False),
        ("sync", "two rewards", False),
        ("watched", "hangs", False),
        ("async", "raises", True),
        ("async", "hangs", False),
        ("async", "leaves", False),
    ],
)
def test_a_failure_keeps_what_was_learned_and_a_mended_run_goes_on(mode, how, normalised, tmp_path):
    mended = tmp_path / "mended"
    env = partial(Brittle, str(mended), how)
    told = {"normalise_observations": normalised, "normalise_rewards": normalised}
    if mode == "watched":
        mode, told["watch"] = "sync", True
    part = partial(trained, tmp_path / "part", env, mode=mode, **told)
    with pytest.raises(EnvironmentFailure, match=rf"environment \d {SAYS[how]}") as found:
        part()
    error = found.value
    assert f"at step {error.step} after `reset(seed={error.seed})`" in str(error)
    run = logpi.Run(tmp_path / "part")
    assert 0 < run.done < 7, "the test needs a failure on the way"
    assert (tmp_path / "part" / "checkpoints" / str(run.done)).is_dir()
    with pytest.raises(EnvironmentFailure) as again:  # nothing was mended: the same once more
        part(resume=True)
    assert str(again.value) == str(error)
    mended.touch()
    assert same(part(resume=True), trained(tmp_path / "whole", env, **told))


def test_a_full_disk_does_not_hide_the_failure(tmp_path, monkeypatch):
    def full(*_):
        raise RunError("there is no space left.")

    monkeypatch.setattr(RunDirectory, "dump", full)
    with pytest.raises(EnvironmentFailure, match=r"raised .* And there is no space left\.$"):
        trained(tmp_path / "run", partial(Brittle, str(tmp_path / "mended"), "raises"))


def test_what_is_left_behind_shows_the_failure_again(tmp_path):
    env = partial(Brittle, str(tmp_path / "mended"), "raises")
    with pytest.raises(EnvironmentFailure):
        trained(tmp_path / "run", env)
    told = json.loads((tmp_path / "run" / "failure.json").read_text())
    alone = env()
    alone.reset(seed=told["seed"])
    *before, last = told["actions"]
    for action in before:
        alone.step(action)
    with pytest.raises(ZeroDivisionError):
        alone.step(last)
    assert told["step"] == len(told["actions"])
    assert "ZeroDivisionError" in told["what"]


def test_whole_episodes_go_on_too(tmp_path):
    mended = tmp_path / "mended"
    env = partial(Brittle, str(mended), "raises")
    part = partial(trained, tmp_path / "part", env, recipe="reinforce", episodes=9)
    with pytest.raises(EnvironmentFailure, match="environment"):
        part()
    mended.touch()
    whole = trained(tmp_path / "whole", env, recipe="reinforce", episodes=9)
    assert same(part(resume=True), whole)


class ManyPoles(CartPoleVectorEnv):
    """Raises at its 30th step, until `mended` exists."""

    def __init__(self, mended, num_envs):
        super().__init__(num_envs)
        self.mended, self.at = mended, 0

    def step(self, actions):
        self.at += 1
        if self.at > 29 and not os.path.exists(self.mended):
            raise ZeroDivisionError
        return super().step(actions)


def test_vector_environments_go_on_too(tmp_path):
    mended = tmp_path / "mended"
    env = partial(ManyPoles, str(mended))
    part = partial(trained, tmp_path / "part", env, mode="vector_entry_point")
    with pytest.raises(EnvironmentFailure, match=r"environment 0\.\.2 raised Zero") as found:
        part()
    assert str(found.value).endswith("failure.json holds no actions: world.mode=sync keeps them.")
    assert logpi.Run(tmp_path / "part").done == 3
    mended.touch()
    assert same(part(resume=True), trained(tmp_path / "whole", env, mode="vector_entry_point"))


def test_one_that_is_only_slow_goes_on_with_more_time(tmp_path):
    class Slow(Scripted):
        def step(self, action):
            if self.number % 3 == 0 and self.at == 2:
                time.sleep(0.3)
            return super().step(action)

    part = partial(trained, tmp_path / "part", Slow, mode="async")
    with pytest.raises(EnvironmentFailure, match=r"longer than 0\.1 s \(world\.step_timeout\)"):
        part(step_timeout=0.1)
    assert part(step_timeout=9.0, resume=True).done == 7


def test_one_that_fails_at_once_leaves_a_run_that_begins_once_it_is_mended(tmp_path):
    mended = tmp_path / "mended"

    class Stillborn(Scripted):
        def reset(self, *, seed=None, options=None):
            if not mended.exists():
                raise OSError("no such file")
            return super().reset(seed=seed)

    part = partial(trained, tmp_path / "part", Stillborn)
    with pytest.raises(EnvironmentFailure, match=r"raised OSError: no such file at step 0"):
        part()
    mended.touch()
    assert part(resume=True).done == 7


def test_one_that_fails_in_an_evaluation_keeps_what_was_learned(tmp_path):
    mended = tmp_path / "mended"

    class Shy(Scripted):
        def reset(self, *, seed=None, options=None):
            if seed == mix(0, 0xE7A2, 1) % 2**31 and not mended.exists():
                raise OSError("no such file")
            return super().reset(seed=seed)

    told = tmp_path / "part" / "failure.json"
    with pytest.raises(EnvironmentFailure, match="environment 1 raised OSError") as found:
        trained(tmp_path / "part", Shy)
    assert f"`logpi train --resume {tmp_path / 'part'}`; {told} holds" in str(found.value)
    assert json.loads(told.read_text())["seed"] == mix(0, 0xE7A2, 1) % 2**31
    assert logpi.Run(tmp_path / "part").done == 7
    mended.touch()
    whole, part = trained(tmp_path / "whole", Shy), trained(tmp_path / "part", Shy, resume=True)
    assert same(part, whole)
    assert not told.exists()  # it went well in the end
    mended.unlink()
    with pytest.raises(EnvironmentFailure) as alone:  # of no run that could be gone on with
        part.evaluate()
    assert "--resume" not in str(alone.value)
