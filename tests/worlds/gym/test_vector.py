"""Environments one after the other: true last observations, seeds, histories, failures by name."""

from __future__ import annotations

import json
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from logpi.core.errors import ConfigError, EnvironmentFailure
from logpi.worlds.gym.spaces import Actions
from logpi.worlds.gym.vector import Sync, ready_actions
from worlds.gym.scripted import Broken, Continuous, Masked, Scripted, Told


def zeros(vector):
    return np.zeros((vector.num, vector.actions.width))


@pytest.mark.parametrize("dies", [True, False])
def test_an_end_shows_its_last_observation_and_the_next_first_one(dies):
    vector = Sync([partial(Scripted, (2, dies)), partial(Scripted, (3, not dies))], 0)
    first, mask = vector.reset()
    assert mask is None
    a = vector.step(zeros(vector))
    assert a.final is a.observation
    b = vector.step(zeros(vector))
    assert b.final[0].tolist() == [first[0, 0], 2, 2, dies]
    assert b.observation[0, 1] == 0
    assert b.observation[0, 0] != first[0, 0]
    assert np.array_equal(b.observation[1], b.final[1])
    assert b.terminated.tolist() == [dies, False]
    assert b.truncated.tolist() == [not dies, False]
    assert b.reward.tolist() == [10, 10]
    assert not b.idle.any()


def test_every_episode_has_its_own_seed_and_the_run_seed_decides_them():
    def numbers(seed):
        vector = Sync([partial(Scripted, (1, True))] * 3, seed)
        seen = [vector.reset()[0][:, 0]]
        seen += [vector.step(zeros(vector)).observation[:, 0] for _ in range(20)]
        return np.array(seen)

    assert np.array_equal(numbers(0), numbers(0))
    assert not np.array_equal(numbers(0), numbers(1))
    assert len(np.unique(numbers(0))) > 55


def test_environments_end_together():
    vector = Sync([partial(Scripted, (2, True))] * 4, 0)
    vector.reset()
    vector.step(zeros(vector))
    moved = vector.step(zeros(vector))
    assert moved.terminated.all()
    assert (moved.final[:, 1] == 2).all()
    assert (moved.observation[:, 1] == 0).all()


def test_masks_come_from_info_and_from_the_new_episode_at_an_end():
    vector = Sync([partial(Masked, (2, True)), partial(Masked, (3, True))], 0)
    _, mask = vector.reset()
    for t, wanted in enumerate([[1, 1], [0, 2], [1, 0], [0, 1]]):
        assert mask.sum() == 2
        moved = vector.step(mask.argmax(1))
        mask = moved.action_mask
        assert mask.argmax(1).tolist() == wanted, t


def test_dictionaries_are_read_as_one_vector():
    plain, told = (Sync([kind] * 2, 3) for kind in (Scripted, Told))
    a, b = plain.reset()[0], told.reset()[0]
    for _ in range(12):
        assert np.array_equal(a[:, :3], b[:, :3])
        assert np.array_equal(a[:, 3], b[:, 4])  # one-hot of two
        x, y = plain.step(zeros(plain)), told.step(zeros(told))
        assert np.array_equal(x.final[:, :3], y.final[:, :3])
        a, b = x.observation, y.observation


def test_a_plan_is_played_and_then_nothing_more():
    vector = Sync([partial(Scripted, (2, True))] * 3, 0)
    first, _ = vector.reset([[5, 6], [7], []])
    alone = Scripted((2, True))
    assert first[:2, 0].tolist() == [alone.reset(seed=s)[0][0] for s in (5, 7)]
    steps = [vector.step(zeros(vector)) for _ in range(5)]
    assert [m.idle.tolist() for m in steps] == [
        [False, False, True],
        [False, False, True],
        [False, True, True],
        [False, True, True],
        [True, True, True],
    ]
    assert not (steps[4].terminated | steps[4].truncated).any()


@pytest.mark.parametrize("kind", [Scripted, Continuous, Told, Masked])
def test_a_stored_state_goes_on_alike(kind):
    random = np.random.default_rng(0)

    def act(vector, mask):
        if mask is not None:
            return mask.argmax(1)
        if vector.actions.kind == "box":
            return random.uniform(-1, 1, (3, 2))
        return random.integers(3, size=3)

    vector = Sync([partial(kind, longest=9)] * 3, 1)
    mask = vector.reset()[1]
    for _ in range(23):
        moved = vector.step(act(vector, mask))
        mask = moved.action_mask
    vector.mark()
    stored = json.loads(json.dumps(vector.state()))
    other = Sync([partial(kind, longest=9)] * 3, 1)
    seen, mask, lost = other.restore(stored)
    assert not lost
    assert np.array_equal(seen, moved.observation)
    for _ in range(30):
        actions = act(vector, mask)
        a, b = vector.step(actions), other.step(actions)
        assert np.array_equal(a.observation, b.observation)
        assert np.array_equal(a.final, b.final)
        assert np.array_equal(a.reward, b.reward)
        mask = a.action_mask
        assert (mask is None) == (b.action_mask is None)
        assert mask is None or np.array_equal(mask, b.action_mask)


def test_actions_that_are_changed_later_were_written_down_as_they_were():
    vector = Sync([partial(Continuous, (5, True))] * 2, 0)
    vector.reset()
    actions = np.ones((2, 2), np.float32)
    vector.step(actions)
    actions[:] = -1
    vector.step(actions)
    other = Sync([partial(Continuous, (5, True))] * 2, 0)
    other.reset()
    for value in (1, -1):
        other.step(np.full((2, 2), value, np.float32))
    for each in (vector, other):
        each.mark()
    assert vector.state() == other.state()


def test_one_that_something_else_decides_begins_a_new_episode_with_a_warning():
    class Fickle(Scripted):
        begun = 0

        def reset(self, *, seed=None, options=None):
            Fickle.begun += 1
            super().reset(seed=seed)
            self.number = 1000 + Fickle.begun
            return self.seen(), {}

    vector = Sync([Scripted, Fickle], 0)
    vector.reset()
    vector.mark()
    stored = vector.state()
    with pytest.warns(UserWarning, match="environment 1 does not come back"):
        seen, _, lost = Sync([Scripted, Fickle], 0).restore(stored)
    assert lost == [1]
    assert seen[1, 1] == 0


def test_another_number_of_environments_is_refused():
    vector = Sync([Scripted] * 2, 0)
    vector.reset()
    vector.mark()
    with pytest.raises(ConfigError, match="has 2 environments, and this run 3"):
        Sync([Scripted] * 3, 0).restore(vector.state())


def raising(found):
    raise ZeroDivisionError("no such thing")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (raising, "raised ZeroDivisionError: no such thing"),
        (lambda x: (x[0], np.nan, *x[2:]), "gave the reward nan"),
        (lambda x: (x[0], np.inf, *x[2:]), "gave the reward inf"),
        (lambda x: (x[0] * np.nan, *x[1:]), "gave an observation that is NaN or infinite"),
        (
            lambda x: (x[0] * np.nan, 0.0, True, *x[3:]),
            "gave an observation that is NaN or infinite",
        ),
    ],
)
def test_failures_say_which_environment_seed_and_step(how, says):
    vector = Sync([Scripted, Scripted, partial(Broken, how)], 0)
    vector.reset()
    vector.step(zeros(vector))
    with pytest.raises(EnvironmentFailure, match=says) as found:
        vector.step(zeros(vector))
    seed = vector._envs[2].seed
    assert f"environment 2 {says}" in str(found.value)
    assert f"at step 2 after `reset(seed={seed})`" in str(found.value)


def test_shapes_and_masks_that_are_wrong_are_named():
    class Small(Scripted):
        def seen(self):
            return super().seen()[:1]

    class Nothing(Scripted):
        def info(self):
            return {"action_mask": np.zeros(3)}

    class Short(Scripted):
        def info(self):
            return {"action_mask": np.ones(2)}

    class Sometimes(Masked):
        def info(self):
            return {} if self.at else super().info()

    with pytest.raises(EnvironmentFailure, match=r"of shape \(1,\) instead of \(4,\)"):
        Sync([Small], 0).reset()
    with pytest.raises(EnvironmentFailure, match="action mask that allows nothing"):
        Sync([Nothing], 0).reset()
    with pytest.raises(EnvironmentFailure, match="mask of 2 entries instead of 3"):
        Sync([Short], 0).reset()
    vector = Sync([partial(Sometimes, (5, True))], 0)
    vector.reset()
    with pytest.raises(EnvironmentFailure, match="gave no action mask, but gave one before"):
        vector.step([0])


def test_masks_that_no_reset_gives_are_those_of_the_steps():
    class Later(Masked):
        def info(self):
            return super().info() if self.at else {}

    vector = Sync([partial(Later, (5, True))] * 2, 0)
    assert vector.reset()[1] is None
    assert vector.step([0, 0]).action_mask.tolist() == [[False, True, False]] * 2


class Odd(gymnasium.Env):
    """Shows something of its space at a reset, and afterwards what it is told."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, then):
        self.observation_space, self.then = space, then

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.then, 0.0, False, False, {}


BOX, PARTS = spaces.Box(-1, 1, (3,)), spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(2))


@pytest.mark.parametrize(
    ("space", "then", "says"),
    [
        (BOX, np.zeros(4), r"of shape \(4,\) instead of \(3,\)"),
        (BOX, np.zeros(1), r"of shape \(1,\) instead of \(3,\)"),  # NumPy would spread it
        (BOX, 0.5, r"of shape \(\) instead of \(3,\)"),
        (BOX, None, r"of shape \(\) instead of \(3,\)"),
        (spaces.Box(0, 255, (36, 36, 3), np.uint8), np.zeros((36, 36)), r"of shape \(36, 36\)"),
        (spaces.Discrete(4), 4, r"not in Discrete\(4\) \(IndexError: index 4 is out of bounds"),
        (spaces.Discrete(4), -1, r"not in Discrete\(4\) \(IndexError: 1 below the first"),
        (spaces.Discrete(4), 1.5, r"not in Discrete\(4\) \(TypeError"),
        (spaces.MultiDiscrete([2, 3]), np.array([0, -2]), "IndexError: 2 below the first"),
        (PARTS, {"a": np.zeros(3), "b": 0}, r"not in Dict\(.* \(ValueError"),
        (PARTS, {"a": np.zeros(2)}, r"not in Dict\(.* \(KeyError: 'b'\)"),
        (PARTS, {"a": np.zeros(2), "b": 2}, r"not in Dict\(.* \(IndexError"),
    ],
    ids=str,
)
def test_a_step_that_shows_what_its_space_does_not_hold_is_named(space, then, says):
    vector = Sync([partial(Odd, space, space.sample()), partial(Odd, space, then)], 0)
    vector.reset()
    with pytest.raises(EnvironmentFailure, match=f"environment 1 gave an observation .*{says}"):
        vector.step([0, 0])


def test_ready_actions_are_a_copy_of_the_right_kind():
    given = np.array([[1.0, 0.0]], dtype=np.float32)
    found = ready_actions(given, 1, Actions("box", (2,), shape=(2, 1)), np.float32)
    assert found.shape == (1, 2, 1)
    given[:] = 7
    assert found.ravel().tolist() == [1, 0]
