"""Value iteration: the iterates, the stop, and sweeps in place."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from logpi.core.errors import ConfigError, ModelError, ShapeError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup, greedy
from logpi.worlds.mdp.planning.value_iteration import gauss_seidel, value_iteration

from .cases import make_model, random_model, seeds


def test_the_tables_of_a_2_by_2_grid():
    # Zhao, tables 4.1 to 4.3: forbidden at the top right, target at the bottom right
    m = zoo.book_grid(2, 2, forbidden=[(0, 1)], target=(1, 1))
    first, second = value_iteration(m, history=True).history[:2]
    assert first.value.tolist() == [0, 0, 0, 0]
    assert first.q.tolist() == [
        [-1, -1, 0, -1, 0],
        [-1, -1, 1, 0, -1],
        [0, 1, -1, -1, 0],
        [-1, -1, -1, 0, 1],
    ]
    assert second.value.tolist() == [0, 1, 1, 1]
    assert np.allclose(
        second.q,
        [
            [-1, -0.1, 0.9, -1, 0],
            [-0.1, -0.1, 1.9, 0, -0.1],
            [0, 1.9, -0.1, -0.1, 0.9],
            [-0.1, -0.1, -0.1, 0.9, 1.9],
        ],
    )
    assert second.policy.tolist() == [2, 2, 1, 4]
    assert np.allclose(second.q.max(1), [0.9, 1.9, 1.9, 1.9])
    assert np.allclose(value_iteration(m).value, [9, 10, 10, 10])


@given(seeds)
def test_every_iterate_is_the_backup_of_the_one_before(seed):
    m = random_model(seed, 0.8)
    history = value_iteration(m, tolerance=1e-3, history=True).history
    for before, after in pairwise(history):
        assert np.allclose(after.value, np.where(m.terminal, 0, before.q.max(1)))
    for k in history:
        assert np.allclose(k.q[m.allowed], backup(m, k.value)[m.allowed])
        assert np.array_equal(k.policy, greedy(m, k.q))


@given(seeds)
def test_in_place_is_never_behind_where_values_only_rise(seed):
    m = random_model(seed, 0.9)
    m = m.having(reward=np.abs(m.reward))
    tolerance = 1e-3 * (1 + np.abs(m.reward).max())
    assert gauss_seidel(m, tolerance=tolerance).value == pytest.approx(
        value_iteration(m, tolerance=tolerance).value, abs=2 * tolerance
    )


@settings(max_examples=20)
@given(seeds)
def test_it_may_begin_anywhere(seed):
    m = random_model(seed, 0.9)
    start = np.random.default_rng(seed).normal(size=m.states) * 1e3
    for method in (value_iteration, gauss_seidel):
        far, near = method(m, tolerance=1e-3, start_value=start), method(m, tolerance=1e-3)
        assert np.abs(far.value - near.value).max() <= 2e-3
    again = value_iteration(m, tolerance=1e-3, start_value=near.value)
    assert again.sweeps <= 2


def test_what_cannot_be_begun_with():
    m = zoo.two_state()
    with pytest.raises(ShapeError, match=r"`start_value` is \[3\] but must be \[2\]"):
        value_iteration(m, start_value=np.zeros(3))
    with pytest.raises(ConfigError, match="`start_value` is nan in state 1"):
        value_iteration(m, start_value=np.array([0, np.nan]))


@pytest.mark.parametrize("method", [value_iteration, gauss_seidel])
def test_discount_1_without_an_end_names_the_state(method):
    with pytest.raises(ModelError, match="from state 0 no policy does"):
        method(zoo.two_state(discount=1.0))


@pytest.mark.parametrize("method", [value_iteration, gauss_seidel])
def test_discount_1_where_going_on_pays_names_the_state(method):
    # state 0 may end, or earn 1/2 a step for ever
    m = make_model(
        [[1, 0], [0, 1], [0, 0], [0, 0]],
        [[0.5, 0.0], [0.0, 0.0]],
        1.0,
        allowed=np.array([[True, True], [False, False]]),
    )
    with pytest.raises(
        ModelError, match=r"infinite: from state 0 on a policy can earn 0\.5 a step"
    ):
        method(m)


def test_discount_1_where_going_round_earns_nothing_on_average_is_refused():
    # 0 → 1 earns 1 and 1 → 0 costs 1: the total of going round has no limit
    m = make_model(
        [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]],
        [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]],
        1.0,
        allowed=np.array([[True, True], [True, True], [False, False]]),
    )
    with pytest.raises(ModelError, match="average reward of 0"):
        value_iteration(m)


def test_seconds_are_of_this_thread():
    found = value_iteration(zoo.garnet(100))
    assert 0 < found.seconds < 5
    assert found.method == "value iteration"
