"""Whole episodes: exactly those that were begun, each to its end."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.episodes import Episodes, joined, play
from logpi.worlds.gym.rollout import randomness
from logpi.worlds.gym.vector import Sync
from logpi.worlds.gym.workers import Async
from worlds.gym.scripted import Masked, Scripted, Uniform, consistent

P = Uniform()
DECIDE = (P.sampler(), P.to_env)


def begun(seed):
    env = Scripted()
    env.reset(seed=seed)
    return env


def right(e, seeds):
    alone = [begun(s) for s in seeds]
    assert e.length.tolist() == [x.length for x in alone]
    assert e.terminated.tolist() == [x.dies for x in alone]
    assert e.observation[:, 0, 0].tolist() == [x.number for x in alone]
    check(e)


def check(e):
    mask = e.mask
    end = np.arange(mask.shape[1]) == e.length[:, None] - 1
    discount = np.where(end & e.terminated[:, None], 0, 0.9)
    x, final = e.observation[:, :-1][mask], e.observation[:, 1:][mask]
    assert consistent(x, final, discount[mask], end[mask], gamma=0.9) == len(e.length)
    assert e.reward[mask].tolist() == (10 * x[:, 1] + e.action[mask]).tolist()
    assert not e.reward[~mask].any()
    assert not e.logp[~mask].any()


@given(st.integers(1, 5), st.lists(st.integers(0, 99), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_exactly_the_episodes_that_were_asked_for(num, seeds):
    right(play(Sync([Scripted] * num, 0), DECIDE, seeds, randomness(0)), seeds)


def test_processes_change_nothing():
    seeds = [3, 4, 3, 5, 6, 7, 7]
    vector = Async([Scripted] * 3, 0, timeout=20, workers=2)
    many = play(vector, DECIDE, seeds, randomness(0))
    vector.close()
    right(many, seeds)
    one = play(Sync([Scripted] * 3, 0), DECIDE, seeds, randomness(0))
    for name in ("observation", "action", "logp", "reward", "length"):
        assert np.array_equal(getattr(one, name), getattr(many, name)), name


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_environments_play_as_many_each_as_the_plan_says(mode):
    vector = Entry(SyncVectorEnv([Scripted] * 3, autoreset_mode=mode), 0)
    for seeds in ([1, 2, 3, 4, 5, 6, 7], [1, 2]):
        e = play(vector, DECIDE, seeds, randomness(0))
        assert len(e.length) == len(seeds)
        assert np.array_equal(e.length, e.observation[:, 0, 2])
        check(e)


def test_masks_are_kept():
    e = play(Sync([Masked] * 2, 0), DECIDE, [1, 2, 3], randomness(0))
    mask = e.mask
    assert np.take_along_axis(e.action_mask, e.action[..., None], 2)[mask].all()
    assert e.action_mask[mask].sum() == mask.sum()


def test_copies_begin_alike_and_choose_differently():
    e = play(Sync([partial(Scripted, (6, True))] * 4, 0), DECIDE, [8] * 4, randomness(0))
    assert len(np.unique(e.observation[:, 0, 0])) == 1
    assert len(np.unique(e.action, axis=0)) == 4


def test_an_episode_without_an_end_is_refused():
    with pytest.raises(ConfigError, match="environment 1 has played 20 decisions without an end"):
        play(
            Sync([partial(Scripted, (3, True)), partial(Scripted, (99, True))], 0),
            DECIDE,
            [1, 2],
            randomness(0),
            longest=20,
        )
    with pytest.raises(ConfigError, match="no episode was asked for"):
        play(Sync([Scripted], 0), DECIDE, [], randomness(0))


def test_episodes_of_several_draws_are_padded_to_the_longest():
    def played(length, rows, value):
        shape = (rows, length)
        return Episodes(
            np.full((rows, length + 1, 2), value),
            np.ones(shape, dtype=np.int64),
            np.zeros(shape),
            np.full(shape, value),
            None,
            np.full(rows, length),
            np.ones(rows, dtype=bool),
            seconds=1.0,
        )

    e = joined([played(3, 2, 1.0), played(5, 1, 2.0)])
    assert e.reward.sum(1).tolist() == [3, 3, 10]
    assert e.observation.shape == (3, 6, 2)
    assert e.mask.sum(1).tolist() == [3, 3, 5]
    assert e.seconds == 2
    assert e.take(np.array([2])).reward.tolist() == [[2.0] * 5]
    assert e.take(np.array([], dtype=int)).mask.shape == (0, 5)
