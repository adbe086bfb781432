"""Histories: what each environment was asked to do, at the marked place and now."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import EnvironmentFailure
from logpi.worlds.gym import history
from logpi.worlds.gym.history import History
from logpi.worlds.gym.recorded import unpacked
from logpi.worlds.gym.spaces import Actions

KINDS = {
    "discrete": (Actions("discrete", (300,)), np.int64, lambda t, i: 100 * (t % 3) + i),
    "box": (Actions("box", (2,), shape=(2, 1)), np.float32, lambda t, i: [[t / 7], [i]]),
}


class Naive:
    """The same, as one would write it down by hand."""

    def __init__(self, num):
        self.episodes = [[] for _ in range(num)]

    def begin(self, i):
        self.episodes[i] = []

    def add(self, chosen):
        for i, action in enumerate(chosen):
            self.episodes[i].append(action.tolist())


@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 2))), min_size=1, max_size=60),
    st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_it_keeps_what_one_would_write_down(name, script, back):
    kind, dtype, act = KINDS[name]
    room, history._ROOM = history._ROOM, 4  # so that room is made many times
    try:
        found, wanted = History(3, 7, kind, dtype, first=5), Naive(3)
        found.restart()
        for i in range(3):
            found.begin(i)
        marked, shown = None, np.zeros((3, 1))
        for t, (mark, ended) in enumerate(script):
            chosen = np.array([act(t, i) for i in range(3)], dtype)
            found.add(chosen)
            wanted.add(chosen)
            chosen[:] = 0  # who gave it may write over it
            for i in ended:
                found.begin(i)
                wanted.begin(i)
            if mark:
                found.mark(shown + t)
                marked = [list(x) for x in wanted.episodes], list(found.seeds), found.state()
            assert [found.actions(i).tolist() for i in range(3)] == wanted.episodes
    finally:
        history._ROOM = room
    if marked is None:
        return
    episodes, seeds, then = marked
    assert found.state() == then  # wherever the environments went
    told = json.loads(json.dumps(then, allow_nan=False))
    assert [unpacked(x["actions"]).astype(dtype).tolist() for x in told["environments"]] == episodes
    other = History(3, 7, kind, dtype, first=5)
    running = other.restore(told)
    assert [(r.seed, r.actions.tolist()) for r in running] == list(
        zip(seeds, episodes, strict=True)
    )
    assert [other.actions(i).tolist() for i in range(3)] == episodes
    other.mark(np.zeros((3, 1)))
    again = [x | {"shows": ""} for x in other.state()["environments"]]
    assert again == [x | {"shows": ""} for x in told["environments"]]


def test_the_seed_of_an_episode_follows_from_its_number_and_that_of_its_environment():
    kind, dtype, _ = KINDS["discrete"]
    whole, part = History(4, 1, kind, dtype), History(2, 1, kind, dtype, first=2)
    for h in (whole, part):
        h.restart()
    a = [[whole.begin(i) for _ in range(5)] for i in range(4)]
    assert a[2:] == [[part.begin(i) for _ in range(5)] for i in range(2)]
    assert len({seed for row in a for seed in row}) == 20
    other = History(4, 2, kind, dtype)
    other.restart()
    assert other.begin(0) not in a[0]


def test_whole_numbers_are_stored_in_few_bytes():
    kind, dtype, _ = KINDS["discrete"]
    h = History(1, 0, kind, dtype)
    h.restart()
    h.begin(0)
    for k in range(3000):
        h.add(np.array([k % 5]))
    h.mark(np.zeros((1, 1)))
    told = h.state()["environments"][0]["actions"]
    assert told["dtype"] == "|u1"
    assert len(told["base64"]) == 4000


def test_what_came_before_the_running_episodes_is_let_go():
    kind, dtype, _ = KINDS["discrete"]
    h = History(2, 0, kind, dtype)
    h.restart([[1] * 999, [2]])
    for i in range(2):
        h.begin(i)
    for t in range(50_000):
        h.add(np.array([1, 1]))
        if t % 100 == 0:
            h.begin(0)
            h.begin(1)  # over at once: it must not hold the rest back
    assert h.over.tolist() == [False, True]
    assert len(h._log) <= 2 * history._ROOM


def test_a_failure_is_told_what_the_environment_was_asked_to_do():
    kind, dtype, _ = KINDS["discrete"]
    h = History(2, 0, kind, dtype, first=3)
    h.restart()
    for i in range(2):
        h.begin(i)
    h.add(np.array([7, 8]))
    error = EnvironmentFailure("no")
    h.explain(error)
    assert error.actions is None  # a vector of them cannot say which
    error.environment = 4
    h.explain(error)
    assert error.actions == [8]
