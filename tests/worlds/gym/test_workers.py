"""Environments in processes of their own: the same streams, a time limit, lost processes."""

from __future__ import annotations

import json
import os
import time
from functools import partial

import numpy as np
import pytest

from logpi.core.errors import ConfigError, EnvironmentFailure
from logpi.worlds.gym.vector import Sync
from logpi.worlds.gym.workers import Async
from worlds.gym.scripted import Broken, Masked, Scripted, Told


def opened(make, **options):
    return Async(make, 0, **{"timeout": 20, "workers": 2, **options})


@pytest.mark.parametrize("kind", [Scripted, Masked, Told])
def test_the_streams_are_those_of_one_process(kind):
    make = [kind, partial(kind, (2, True)), partial(kind, (2, False))]
    one, many = Sync(make, 0), opened(make)
    (a, mask), (b, other) = one.reset(), many.reset()
    assert np.array_equal(a, b)
    for _ in range(15):
        assert (mask is None) == (other is None)
        assert mask is None or np.array_equal(mask, other)
        actions = np.ones(3) if mask is None else mask.argmax(1)
        x, y = one.step(actions), many.step(actions)
        for name in ("observation", "final", "reward", "terminated", "truncated", "idle"):
            assert np.array_equal(getattr(x, name), getattr(y, name)), name
        assert (x.final is x.observation) == (y.final is y.observation)
        mask, other = x.action_mask, y.action_mask
    for each in (one, many):
        each.mark()
    assert one.state() == many.state()
    many.close()


def test_a_stored_state_goes_on_in_any_number_of_processes_or_none():
    make = [partial(Scripted, longest=9)] * 3
    vector = opened(make)
    vector.reset()
    for _ in range(7):
        moved = vector.step([0, 1, 2])
    vector.mark()
    stored = json.loads(json.dumps(vector.state()))
    others = [opened(make, workers=3), opened(make, workers=1), Sync(make, 0)]
    for other in others:
        assert np.array_equal(other.restore(stored)[0], moved.observation)
    for _ in range(12):
        wanted = vector.step([2, 1, 0])
        for other in others:
            assert np.array_equal(other.step([2, 1, 0]).final, wanted.final)
    for each in (vector, *others):
        each.close()


def test_a_plan_reaches_its_environments():
    make = [partial(Scripted, (1, True))] * 3
    vector, alone = opened(make), Sync(make, 0)
    plan = [[5, 6], [7], []]
    assert np.array_equal(vector.reset(plan)[0], alone.reset(plan)[0])
    assert vector.step([0] * 3).idle.tolist() == [False, False, True]
    assert vector.step([0] * 3).idle.tolist() == [False, True, True]
    vector.close()


def failing(how):
    vector = opened([Scripted, Scripted, partial(Broken, how)], timeout=1.0)
    vector.reset()
    vector.step([0, 0, 0])
    with pytest.raises(EnvironmentFailure) as found:
        vector.step([0, 0, 0])
    with pytest.raises(ConfigError, match="are closed"):
        vector.step([0, 0, 0])
    return str(found.value)


def raising(found):
    raise ZeroDivisionError("no such thing")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "says"),
    [
        (raising, "raised ZeroDivisionError: no such thing"),
        (lambda found: (found[0], np.nan, *found[2:]), "gave the reward nan"),
        (lambda found: time.sleep(60), "took longer than 1 s"),
        (lambda found: os._exit(7), "ended its process (exit code 7)"),
    ],
)
def test_failures_say_which_environment_seed_and_step(how, says):
    began = time.monotonic()
    told = failing(how)
    assert f"environment 2 {says}" in told
    alone = Sync([Scripted] * 3, 0)
    alone.reset()
    assert f"at step 2 after `reset(seed={alone._envs[2].seed})`" in told
    assert time.monotonic() - began < 20


def test_one_that_cannot_be_made_says_why():
    first = []

    def make():
        if first:
            raise OSError("no such file")
        first.append(1)  # the one whose spaces are read
        return Scripted()

    with pytest.raises(EnvironmentFailure, match="raised OSError: no such file"):
        opened([make])


def test_closing_twice_is_harmless_and_ends_the_processes():
    vector = opened([Scripted] * 2)
    processes = list(vector._processes)
    vector.close()
    vector.close()
    assert not any(p.is_alive() for p in processes)
