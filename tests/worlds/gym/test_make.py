"""From a name or a function to environments, and what is said where that cannot be."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import logpi
from logpi.core.errors import ConfigError, EnvironmentFailure
from logpi.recipes import RECIPES
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.envpool import make_envpool
from logpi.worlds.gym.make import findings, make_one, make_vector
from logpi.worlds.gym.vector import Sync
from logpi.worlds.gym.workers import Async
from worlds.gym.scripted import Scripted


def test_auto_takes_the_vector_form_where_there_is_one():
    assert isinstance(make_vector("CartPole-v1", 2, seed=0), Entry)
    assert isinstance(make_vector("Acrobot-v1", 2, seed=0), Sync)
    assert isinstance(make_vector(Scripted, 2, seed=0), Sync)


def test_the_mode_that_is_asked_for_is_taken():
    assert isinstance(make_vector("CartPole-v1", 2, "sync", seed=0), Sync)
    vector = make_vector("CartPole-v1", 2, "async", seed=0)
    assert isinstance(vector, Async)
    assert vector.reset()[0].shape == (2, 4)
    vector.close()


def test_a_vector_form_that_cannot_be_stored_is_refused():
    many = lambda num_envs: SyncVectorEnv([Scripted] * num_envs)  # noqa: E731 - one line says it
    with pytest.raises(ConfigError, match="cannot be stored"):
        make_vector(many, 2, "vector_entry_point", seed=0)
    with pytest.raises(ConfigError, match="has no vector form of its own"):
        make_vector("Acrobot-v1", 2, "vector_entry_point", seed=0)


def test_options_reach_the_environment():
    for mode in ("sync", "auto"):
        vector = make_vector("CartPole-v1", 2, mode, seed=0, options={"max_episode_steps": 3})
        vector.reset()
        ends = [vector.step([0, 1]).truncated.all() for _ in range(3)]
        assert ends == [False, False, True]
    with pytest.raises(ConfigError, match=r"`CartPole-v1` could not be made: .*gravidy"):
        make_one("CartPole-v1", {"gravidy": 3})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CartPool-v1", "knows no `CartPool-v1`. Did you mean `CartPole-v1`?"),
        ("Nowhere/Pong-v5", "nothing has registered its namespace"),
        ("LunarLander-v2", "`LunarLander-v2` is no longer there. .*v3"),
        ("no_such_module_here:Env-v0", "needs what cannot be imported: .*no_such_module_here"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "sync", "async", "vector_entry_point"])
@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
def test_names_that_are_not_known(name, says, mode):
    with pytest.raises(ConfigError, match=says):
        make_vector(name, 2, mode, seed=0)


class Worn(Scripted):
    """Remembers its episodes, and pays by them."""

    episodes = 0

    def reset(self, *, seed=None, options=None):
        self.episodes += 1
        return super().reset(seed=seed)

    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, reward * self.episodes, *rest


def last_episode(vector, seeds, action):
    """What the last of these episodes paid and showed, the same action taken throughout."""
    vector.reset([seeds])
    episodes = [[]]
    while len(episodes) <= len(seeds):
        moved = vector.step([action])
        episodes[-1].append((float(moved.reward[0]), moved.final[0].tolist()))
        if moved.terminated.any() or moved.truncated.any():
            episodes.append([])
    vector.close()
    return episodes[-2]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_environment_made_anew_remembers_no_episode(mode):
    worn = partial(make_vector, Worn, 1, mode, seed=0)
    alone = last_episode(worn(), [3], 1)
    assert last_episode(worn(), [1, 2, 3], 1) != alone
    assert last_episode(worn(renew=True), [1, 2, 3], 1) == alone


@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")
def test_walkers_of_box2d_are_made_anew():
    if importlib.util.find_spec("Box2D") is None:
        pytest.skip("Box2D is not installed")
    walker = partial(make_vector, "BipedalWalker-v3", 1, seed=0)
    action = np.array([0.9, -0.7, -0.8, 0.6], np.float32)
    alone = last_episode(walker(), [3], action)
    assert last_episode(walker(renew=False), [1, 2, 3], action) != alone, "nothing to renew for"
    assert last_episode(walker(), [1, 2, 3], action) == alone


def test_modes_that_make_all_at_once_make_none_anew():
    for mode in ("vector_entry_point", "envpool"):
        with pytest.raises(ConfigError, match="no environment is made anew"):
            make_vector("CartPole-v1", 2, mode, seed=0, renew=True)
        with pytest.raises(ConfigError, match="no environment is watched"):
            make_vector("CartPole-v1", 2, mode, seed=0, watch=True)
    assert isinstance(make_vector("CartPole-v1", 2, seed=0, renew=True), Sync)
    assert isinstance(make_vector("CartPole-v1", 2, seed=0, watch=True), Sync)


def test_what_is_not_installed_is_said_with_what_to_install():
    def make():
        raise gymnasium.error.DependencyNotInstalled('run `pip install "gymnasium[box2d]"`')

    with pytest.raises(
        ConfigError, match=r"`make` needs what is not installed.*gymnasium\[box2d\]"
    ):
        make_vector(make, 1, seed=0)


def test_numbers_and_modes_that_make_no_sense():
    with pytest.raises(ConfigError, match="num_envs is 0"):
        make_vector("CartPole-v1", 0, seed=0)
    with pytest.raises(ConfigError, match=r"unknown mode `asink`\. Did you mean `async`?"):
        make_vector("CartPole-v1", 1, "asink", seed=0)


@pytest.mark.skipif(importlib.util.find_spec("envpool") is not None, reason="envpool is there")
def test_envpool_says_that_it_is_not_installed():
    with pytest.raises(ConfigError, match="`pip install envpool`, or take mode=sync"):
        make_vector("CartPole-v1", 1, "envpool", seed=0)


@pytest.mark.skipif(importlib.util.find_spec("envpool") is not None, reason="envpool is there")
def test_gymnasium_is_not_asked_about_envpools_environments(tmp_path):
    world = logpi.Gym("Pong-v5", mode="envpool", options={"frame_skip": 4})
    with pytest.raises(ConfigError, match="needs the package envpool"):
        world.open("ppo", RECIPES["ppo"], seed=0, scratch=tmp_path)


def test_envpool_needs_a_name():
    with pytest.raises(ConfigError, match="needs the id of an environment"):
        make_envpool(Scripted, 1, options={})


class Blind(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: 3, "`<lambda>` made a int, .* no observation_space, no action_space, no reset"),
        (Blind, "`Blind` made a Blind, .* has no observation_space. Return a gymnasium.Env"),
    ],
)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_is_no_environment_is_refused(made, says, mode, tmp_path):
    with pytest.raises(ConfigError, match=says):
        logpi.train(
            recipe="ppo",
            world=logpi.Gym(made, mode=mode),
            iterations=1,
            directory=tmp_path / "run",
            quiet=True,
        )
    with pytest.raises(ConfigError, match=r"made a int, .* no single_observation_space"):
        make_vector(lambda num_envs: num_envs, 2, "vector_entry_point", seed=0)


def test_a_finding_is_one_line():
    class Wordy(Scripted):
        def step(self, action):
            raise ValueError("two\nlines")

    assert findings(Wordy)[-1] == "two lines"


def test_findings_are_those_of_gymnasiums_checker():
    class Unseeded(Scripted):
        def reset(self, *, seed=None, options=None):
            found = super().reset(seed=seed)
            self.number = np.random.default_rng().integers(1000)
            return self.seen(), found[1]

    assert findings(partial(Scripted, (5, True))) == []
    assert any("Deterministic" in x for x in findings(Unseeded))
    assert any("infinity" in x for x in findings("CartPole-v1"))


def test_a_checker_that_hangs_or_takes_its_process_with_it_is_told_of():
    class Slow(Scripted):
        def step(self, action):
            time.sleep(60)

    class Gone(Scripted):
        def step(self, action):
            os._exit(3)

    assert findings(partial(Scripted, (5, True)), timeout=20) == []
    assert findings("CartPole-v1", timeout=20) == findings("CartPole-v1")
    (told,) = findings(Slow, timeout=0.5)
    assert "took longer than 0.5 s: a reset or a step hangs" in told
    assert findings(Gone, timeout=20) == ["a reset or a step ended the checker's process"]
    with pytest.raises(ConfigError, match="Did you mean"):
        make_vector("CartPool-v1", 1, "async", seed=0)
    assert "Did you mean" in findings("CartPool-v1", timeout=20)[0]


def test_findings_of_ones_own_environment_are_passed_on(tmp_path, capfd):
    class Shapeless(Scripted):
        def info(self):
            return []

    world = logpi.Gym(Shapeless, num_envs=1)
    with contextlib.suppress(EnvironmentFailure, TypeError, AttributeError):
        world.open("ppo", RECIPES["ppo"], seed=0, scratch=tmp_path).close()
    assert "logpi: Gymnasium finds of Shapeless: " in capfd.readouterr().err
