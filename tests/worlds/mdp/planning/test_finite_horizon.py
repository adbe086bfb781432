"""Backward induction, against the tree of everything that can happen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.finite_horizon import FiniteHorizon, finite_horizon
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration

from .cases import make_model, random_model, seeds


def unrolled(m, s, horizon, final):
    """The best expected return of `horizon` decisions from s, by trying everything."""
    if m.terminal[s]:
        return 0.0
    if horizon == 0:
        return final[s]
    worth = []
    for a in np.flatnonzero(m.allowed[s]):
        to, p = m.row(int(s), int(a))
        future = sum(w * unrolled(m, t, horizon - 1, final) for t, w in zip(to, p, strict=True))
        worth.append(m.reward[s, a] + m.discount * future)
    return max(worth)


@settings(max_examples=30)
@given(seeds, st.integers(1, 3), st.sampled_from((0.9, 1.0)))
def test_it_equals_the_tree(seed, horizon, discount):
    m = random_model(seed, discount)
    final = np.random.default_rng(seed).normal(size=m.states)
    found = finite_horizon(m, horizon=horizon, final_value=final)
    for s in range(m.states):
        exact = unrolled(m, s, horizon, final)
        assert abs(found.value[0, s] - exact) <= found.bound + 1e-12 * (1 + abs(exact))


@given(seeds)
def test_it_equals_one_large_model_in_which_time_is_part_of_the_state(seed):
    m, horizon = random_model(seed, 0.9), 3
    n = m.states
    p = np.zeros((horizon * n * m.actions + m.actions * n, (horizon + 1) * n))
    dense = m.transitions.toarray()
    for t in range(horizon):
        p[t * n * m.actions : (t + 1) * n * m.actions, (t + 1) * n : (t + 2) * n] = dense
    allowed = np.vstack([m.allowed] * horizon + [m.allowed & False])
    reward = np.vstack([m.reward] * horizon + [m.reward * 0])
    large = make_model(p, reward, 0.9, allowed=allowed)
    tolerance = 1e-9 * (1 + np.abs(m.reward).max())
    exact = policy_iteration(large, tolerance=tolerance)
    found = finite_horizon(m, horizon=horizon)
    assert np.allclose(found.value.ravel(), exact.value, atol=2 * tolerance)


@given(seeds, st.sampled_from((np.float64, np.float32)))
def test_shapes_and_dtypes(seed, dtype):
    m = random_model(seed, 0.9, dtype=dtype)
    found = finite_horizon(m, horizon=4)
    assert isinstance(found, FiniteHorizon)
    assert found.value.shape == (5, m.states)
    assert found.policy.shape == (4, m.states)
    assert found.horizon == 4
    assert found.value.dtype == found.q.dtype == dtype
    assert (found.policy[:, m.terminal] == -1).all()
    double = finite_horizon(random_model(seed, 0.9), horizon=4)
    rounded = 1e-5 * (1 + np.abs(double.value).max())
    assert np.abs(found.value - double.value).max() <= found.bound + rounded
    assert found.bound <= rounded


def test_the_last_decision_is_greedy_for_the_reward_alone():
    m = zoo.inventory()
    found = finite_horizon(m, horizon=3)
    assert found.policy[-1].tolist() == np.where(m.allowed, m.reward, -np.inf).argmax(1).tolist()


def test_a_long_horizon_with_a_discount_is_an_endless_one():
    m = zoo.book_grid()
    endless = policy_iteration(m).value
    assert np.allclose(finite_horizon(m, horizon=300).value[0], endless, atol=1e-9)


def test_as_a_solution():
    m = zoo.two_state()
    found = finite_horizon(m, horizon=3, discount=1.0).solution(history=True)
    assert found.value.tolist() == [3, 3]
    assert found.policy.tolist() == [2, 1]
    assert [k.value.tolist() for k in found.history] == [[3, 3], [2, 2], [1, 1]]
    assert found.method == "backward induction, horizon 3"


@pytest.mark.parametrize("horizon", [0, -1, 2.5])
def test_a_horizon_counts(horizon):
    with pytest.raises(ConfigError, match="counts decisions"):
        finite_horizon(zoo.two_state(), horizon=horizon)


def test_what_else_is_refused():
    with pytest.raises(ConfigError, match="more than the"):
        finite_horizon(zoo.two_state(), horizon=1 << 40)
    with pytest.raises(ConfigError, match=r"discount is 1\.1"):
        finite_horizon(zoo.two_state(), horizon=1, discount=1.1)
    with pytest.raises(ShapeError, match="3"):
        finite_horizon(zoo.two_state(), horizon=1, final_value=np.zeros(3))
