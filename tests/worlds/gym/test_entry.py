"""Gymnasium's vector environments: idle steps, true last observations, stored attributes."""

from __future__ import annotations

import json
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from logpi.core.errors import ConfigError, EnvironmentFailure
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.make import make_vector
from logpi.worlds.gym.snapshot import put_back, snapshot
from worlds.gym.scripted import Broken, Masked, Scripted, Told

MODES = list(AutoresetMode)


def entry(kinds, mode, **options):
    return Entry(SyncVectorEnv(kinds, autoreset_mode=mode), 0, **options)


@pytest.mark.parametrize("dies", [True, False])
@pytest.mark.parametrize("kind", [Scripted, Told])
@pytest.mark.parametrize("mode", MODES)
def test_an_end_shows_its_last_observation(mode, kind, dies):
    vector = entry([partial(kind, (2, dies)), partial(kind, (3, dies))], mode)
    first, _ = vector.reset()
    vector.step([0, 0])
    moved = vector.step([0, 0])
    assert moved.final[0, :3].tolist() == [first[0, 0], 2, 2]
    assert moved.terminated.tolist() == [dies, False]
    assert moved.truncated.tolist() == [not dies, False]
    assert not moved.idle.any()
    following = vector.step([2, 2])
    waits = mode is AutoresetMode.NEXT_STEP
    assert following.idle.tolist() == [waits, False]
    assert following.reward.tolist() == [0 if waits else 2, 22]
    assert following.observation[0, 1] == (0 if waits else 1)
    assert following.final[1, 1] == 3


@pytest.mark.parametrize("mode", MODES)
def test_masks_are_those_of_the_next_action(mode):
    vector = entry([partial(Masked, (2, True)), partial(Masked, (3, False))], mode)
    mask = vector.reset()[1]
    for _ in range(12):
        moved = vector.step(mask.argmax(1))  # refuses what is not allowed
        mask = moved.action_mask
        assert mask.shape == (2, 3)


@pytest.mark.parametrize("mode", MODES)
def test_a_plan_says_how_many_episodes_each_plays(mode):
    vector = entry([partial(Scripted, (2, True))] * 2, mode)
    vector.reset([[1, 2], [3]])
    moved = [vector.step([0, 0]) for _ in range(8)]
    ends = np.array([m.terminated for m in moved])
    assert ends.sum(0).tolist() == [2, 1]
    idle = np.array([m.idle for m in moved])
    assert (~idle).sum(0).tolist() == [4, 2]
    with pytest.raises(ConfigError, match="share a reset seed"):
        vector.reset([[1], [1]])


def test_observations_that_are_written_over_were_copied():
    vector = Entry(SyncVectorEnv([partial(Scripted, (9, True))] * 2, copy=False), 0)
    first = vector.reset()[0]
    moved = [vector.step([0, 0]) for _ in range(3)]
    assert [x[0, 1] for x in (first, *(m.observation for m in moved))] == [0, 1, 2, 3]


@pytest.mark.parametrize("steps", [0, 1, 17, 60])
def test_cartpoles_vector_form_goes_on_from_its_stored_attributes(steps):
    vector = make_vector("CartPole-v1", 3, "vector_entry_point", seed=4)
    assert isinstance(vector, Entry)
    seen = vector.reset()[0]
    random = np.random.default_rng(0)
    for _ in range(steps):
        seen = vector.step(random.integers(2, size=3)).observation
    vector.mark()
    stored = json.loads(json.dumps(vector.state(), allow_nan=False))
    other = make_vector("CartPole-v1", 3, "vector_entry_point", seed=5)
    assert np.array_equal(other.restore(stored)[0], seen)
    for _ in range(60):  # through several ends, so that the random generator counts
        actions = random.integers(2, size=3)
        a, b = vector.step(actions), other.step(actions)
        for name in ("observation", "final", "reward", "terminated", "truncated", "idle"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for each in (vector, other):
        each.mark()
    assert vector.state() == other.state()


def test_another_number_of_environments_is_refused():
    vector = make_vector("CartPole-v1", 3, seed=4)
    vector.reset()
    vector.mark()
    with pytest.raises(ConfigError, match="has 3 environments, and this run 2"):
        make_vector("CartPole-v1", 2, seed=4).restore(vector.state())


def test_what_cannot_be_stored_is_named():
    vector = entry([Scripted], AutoresetMode.NEXT_STEP)
    vector.reset()
    with pytest.raises(ConfigError, match=r"`SyncVectorEnv.envs\[0\]` is a Scripted"):
        vector.mark()


def test_what_is_not_stored_begins_new_episodes_with_a_warning():
    vector = entry([partial(Scripted, (5, True))], AutoresetMode.NEXT_STEP, stored=False)
    vector.reset()
    vector.step([0])
    vector.mark()
    other = entry([partial(Scripted, (5, True))], AutoresetMode.NEXT_STEP, stored=False)
    with pytest.warns(UserWarning, match="cannot be brought back"):
        seen, _, lost = other.restore(json.loads(json.dumps(vector.state())))
    assert seen[0, 1] == 0
    assert lost == [0]
    stops = [vector.state()["seed"], other.state()["seed"]]
    other.step([0])
    other.mark()
    with pytest.warns(UserWarning, match="cannot be brought back"):
        vector.restore(other.state())
    assert len({*stops, vector.state()["seed"]}) == 3, "two stops begin alike"


def test_snapshot_holds_every_kind_of_value_and_put_back_brings_it():
    class Env:
        def __init__(self, seed):
            random = np.random.default_rng(seed)
            self.array, self.text, self.none = random.normal(size=(2, 2)), f"a{seed}", None
            self.scalar, self.number, self.whole = np.float32(seed), seed * 1.5, np.int64(seed)
            self.infinite, self.flag = float("inf"), bool(seed)
            self.nested = {"x": [random.normal(size=2), (seed, None)], 3: "y"}
            self.random, self.other = random, np.random.Generator(np.random.MT19937(seed))
            self.space, self.call = gymnasium.spaces.Discrete(2), print

    a, b = Env(1), Env(0)
    told = json.loads(json.dumps(snapshot(a), allow_nan=False))
    put_back(b, told)
    assert snapshot(b) == snapshot(a)
    assert type(b.scalar) is np.float32
    assert b.nested[3] == "y"
    assert type(b.nested["x"][1]) is tuple
    assert b.random.random() == a.random.random()
    assert b.other.random() == a.other.random()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda x: (x[0], np.nan, *x[2:]), "environment 1 gave the reward nan"),
        (lambda x: (x[0] * np.nan, *x[1:]), "environment 1 gave an observation that is NaN"),
        (lambda x: 1 / 0, r"environment 0\.\.1 raised ZeroDivisionError"),
    ],
)
def test_failures_say_environment_seed_and_step(how, says):
    vector = entry([Scripted, partial(Broken, how)], AutoresetMode.NEXT_STEP)
    vector.reset()
    vector.step([0, 0])
    with pytest.raises(EnvironmentFailure, match=rf"{says}.*at step 2 after `reset\(seed=\d+\)`"):
        vector.step([0, 0])


@pytest.mark.parametrize(
    ("mode", "name", "gives", "says"),
    [
        ("NEXT_STEP", "step", lambda x: (x[0], x[1][:1], *x[2:]), r"ends \[1\], \[2\], \[2\] in"),
        ("NEXT_STEP", "step", lambda x: (*x[:3], x[3][:1], x[4]), r"\[1\] instead of \[2\]"),
        ("NEXT_STEP", "step", lambda x: (x[0], "no", *x[2:]), "a step that cannot be read"),
        ("NEXT_STEP", "step", lambda x: (*x[:4], {"action_mask": [[1, 1, 1]]}), "cannot be read"),
        ("SAME_STEP", "step", lambda x: (*x[:4], {}), "without infos..final_obs"),
        ("SAME_STEP", "step", lambda x: (*x[:4], {"final_obs": [[0.0], None]}), "cannot be read"),
        ("DISABLED", "reset", lambda x: 1 / 0, "raised ZeroDivisionError"),
        ("DISABLED", "reset", lambda x: (x[0], {}), "no action mask, but gave one before"),
    ],
)
def test_what_is_no_step_of_several_is_named(mode, name, gives, says):
    many = SyncVectorEnv([partial(Masked, (1, True))] * 2, autoreset_mode=AutoresetMode[mode])
    vector = Entry(many, 0)
    vector.reset()
    real = getattr(many, name)
    setattr(many, name, lambda *given, **options: gives(real(*given, **options)))
    with pytest.raises(EnvironmentFailure, match=rf"environment 0.* {says}.*at step 1 after"):
        vector.step([0, 0])


class Switches(SyncVectorEnv):
    """Two choices, whose masks come as Gymnasium's spaces take them: a tuple of arrays."""

    def __init__(self, mode):
        super().__init__([partial(Masked, (n, True)) for n in (1, 3)], autoreset_mode=mode)
        self.single_action_space = gymnasium.spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=options)[0], self.masks()

    def step(self, actions):
        return *super().step(actions[:, 1])[:4], self.masks()

    def masks(self):
        at = [env.at for env in self.envs]
        return {"action_mask": (np.eye(2)[np.mod(at, 2)], np.eye(3)[np.mod(at, 3)])}


def test_masks_of_several_choices_are_those_of_the_new_episode_where_one_began():
    vector = Entry(Switches(AutoresetMode.DISABLED), 0)
    vector.reset()
    mask = vector.step([[0, 0], [0, 0]]).action_mask.astype(int)
    assert mask.tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0]]


class Choices(Scripted):
    """Shows the step as one of three."""

    observation_space = gymnasium.spaces.Discrete(3)

    def seen(self):
        return self.at


def test_observations_that_their_space_does_not_hold_are_named():
    vector = entry([partial(Choices, (9, True))] * 2, AutoresetMode.NEXT_STEP)
    vector.reset()
    vector.step([0, 0])
    vector.step([0, 0])
    with pytest.raises(EnvironmentFailure, match=r"0\.\.1 gave observations .* not in Discrete\(3"):
        vector.step([0, 0])


def test_one_that_does_not_say_how_it_resets_is_refused():
    many = SyncVectorEnv([Scripted])
    many.metadata = {}
    with pytest.raises(ConfigError, match="does not say in metadata"):
        Entry(many, 0)
