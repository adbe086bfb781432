"""What is written down of an environment, and what a failure says."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from logpi.worlds.gym.recorded import Recorded, digest, failure, packed, unpacked
from worlds.gym.scripted import Scripted


@given(scalar_dtypes().flatmap(lambda d: arrays(d, array_shapes(min_dims=0, min_side=0))))
def test_arrays_come_back_from_json_to_the_last_bit(x):
    if x.dtype.kind in "mM":  # no environment counts in dates
        return
    y = unpacked(json.loads(json.dumps(packed(x))))
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert y.tobytes() == x.tobytes()
    assert digest(y) == digest(x)


def test_digests_tell_neighbours_apart():
    x = np.zeros(3, np.float32)
    assert digest(x) != digest(np.nextafter(x, np.float32(1)))


def test_a_history_that_ends_early_is_another_episode():
    actions = np.zeros(4, np.int64)
    seen, _, whole = Recorded(Scripted((9, True)), 0).replay(5, actions)
    assert whole
    assert seen[1] == 4
    assert not Recorded(Scripted((2, True)), 0).replay(5, actions)[2]


def test_failure_says_how_to_see_it_again():
    error = failure(3, "gave the reward nan", seed=17, step=4)
    assert str(error) == "environment 3 gave the reward nan at step 4 after `reset(seed=17)`."
    assert (error.environment, error.seed, error.step) == (3, 17, 4)
