"""Bellman's operator: what one backup is, and the properties on which every method rests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.core.errors import ShapeError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup, best_actions, greedy
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration

from .cases import random_model, seeds


def values(m, seed):
    return np.where(m.terminal, 0, np.random.default_rng(seed).normal(size=m.states))


def best(m, v):
    return np.where(m.terminal, 0, backup(m, v).max(1))


@given(seeds)
def test_a_backup_is_the_sum_over_successors(seed):
    m = random_model(seed, 0.9)
    v = values(m, seed)
    q = backup(m, v)
    for s, a in np.ndindex(q.shape):
        to, p = m.row(s, a)
        expected = m.reward[s, a] + 0.9 * p @ v[to] if m.allowed[s, a] else -np.inf
        assert q[s, a] == pytest.approx(expected, abs=1e-9)


@given(seeds, st.floats(0, 1))
def test_the_operator_is_monotone_and_a_contraction(seed, discount):
    m = random_model(seed, discount)
    v, u = values(m, seed), values(m, seed + 1)
    above = np.maximum(v, u)
    assert (best(m, above) >= best(m, v) - 1e-12).all()
    distance = np.abs(best(m, v) - best(m, u)).max()
    assert distance <= discount * np.abs(v - u).max() * (1 + 1e-9) + 1e-9 * np.abs(m.reward).max()


@given(seeds, st.floats(-100, 100))
def test_a_constant_is_multiplied_by_the_discount(seed, c):
    m = random_model(seed, 0.75)
    v = values(m, seed)
    if not m.terminal.any():
        assert np.allclose(best(m, v + c), best(m, v) + 0.75 * c, atol=1e-8, rtol=1e-9)


def test_a_terminal_state_is_worth_nothing_whatever_v_says():
    m = zoo.cliff(discount=0.9)
    assert np.array_equal(backup(m, np.where(m.terminal, 99.0, 0.0)), backup(m, np.zeros(48)))


def test_the_first_best_action_is_taken_and_terminal_states_have_none():
    q = np.array([[1.0, 2.0, 2.0], [-np.inf] * 3, [-np.inf, 0.0, 0.0]])
    assert best_actions(q).tolist() == [1, -1, 1]


def test_greedy_reads_values_or_action_values():
    m = zoo.book_grid()
    v = values(m, 0)
    assert np.array_equal(greedy(m, v), greedy(m, backup(m, v)))
    # an action that is not allowed is not taken, however much it seems to be worth
    m = random_model(3, 0.9)
    chosen = greedy(m, np.where(m.allowed, 0.0, 1.0))
    live = np.flatnonzero(~m.terminal)
    assert m.allowed[live, chosen[live]].all()


@given(seeds, st.floats(0.1, 10), st.floats(-10, 10))
def test_an_affine_reward_changes_the_values_affinely_and_no_decision(seed, scale, shift):
    # Zhao, theorem 3.6: v' = a v + b/(1 − γ) for r' = a r + b, where episodes do not end
    m = random_model(seed, 0.8)
    if m.terminal.any():
        return
    size = np.abs(m.reward).max() + 1
    v = policy_iteration(m, tolerance=1e-9 * size).value
    moved = m.having(reward=scale * m.reward + shift * size)
    found = policy_iteration(moved, tolerance=1e-8 * size)
    assert np.allclose(found.value, scale * v + shift * size / 0.2, atol=1e-9 * size)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 1)])
def test_shapes_are_checked(shape):
    m = zoo.two_state()
    with pytest.raises(ShapeError, match=r"2 states|must be"):
        (backup if len(shape) == 1 else greedy)(m, np.zeros(shape))
