"""The compiled sweeps against NumPy."""

import numpy as np
from hypothesis import given, settings

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup, best_actions
from logpi.worlds.mdp.planning.kernels import (
    add_longest,
    backup_into,
    chosen_of,
    greedy_sweep,
    improve,
    policy_sweep,
    rows_of,
)

from .fast_cases import random_model, seeds


def case(seed):
    m = random_model(seed)
    v = np.where(m.terminal, 0, np.random.default_rng(seed).normal(size=m.states))
    return m, v, backup(m, v)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_greedy_sweep_is_bellmans_operator(seed):
    m, v, q = case(seed)
    out, policy = np.empty(m.states), np.full(m.states, -1, dtype=np.int32)
    low, high, moved = greedy_sweep(rows_of(m), v, out, policy)
    assert np.allclose(out, np.where(m.terminal, 0, q.max(1)), rtol=0, atol=1e-12)
    assert (low, high) == ((out - v).min(), (out - v).max())
    assert moved == m.states - m.terminal.sum()
    assert np.array_equal(policy < 0, m.terminal)
    assert greedy_sweep(rows_of(m), v, out, policy) == (low, high, 0)


def test_an_action_is_kept_as_long_as_none_is_better():
    m = zoo.bandit([1.0, 2.0, 2.0, 0.0])
    v, policy = np.zeros(m.states), np.full(m.states, -1, dtype=np.int32)
    for given_action, expected in ((0, 1), (1, 1), (2, 2), (3, 1)):
        policy[0] = given_action
        moved = greedy_sweep(rows_of(m), v, np.empty(m.states), policy)[2]
        assert (policy[0], moved) == (expected, given_action != expected)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_backup_into_writes_everything(seed):
    m, v, q = case(seed)
    got, out, policy = np.empty_like(q), np.empty(m.states), np.empty(m.states, dtype=np.int32)
    low, high, terms, largest = backup_into(rows_of(m), v, got, out, policy)
    assert np.allclose(got[m.allowed], q[m.allowed], rtol=0, atol=1e-12)
    assert np.isneginf(got[~m.allowed]).all()
    assert np.array_equal(policy, best_actions(got))
    sums = m.transitions.sum(1)[m.allowed.ravel()]
    assert np.isclose(low, min(1, sums.min(initial=1)), rtol=0, atol=1e-15)
    assert np.isclose(high, max(1, sums.max(initial=1)), rtol=0, atol=1e-15)
    assert terms == np.diff(m.transitions.indptr).max()
    assert largest == np.abs(m.reward[m.allowed]).max(initial=0)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_lazy_improvement_misses_nothing(seed):
    m, v, _ = case(seed)
    rows, rng = rows_of(m), np.random.default_rng(seed)
    chosen, out = chosen_of(rows), np.empty(m.states)
    policy, lead = np.full(m.states, -1, dtype=np.int32), np.full(m.states, -1, dtype=np.float32)
    drift, skipped = 0.0, 0
    for _ in range(6):
        low, high, _, whole = improve(rows, chosen, v, out, (policy, lead, drift))
        expected = backup(m, v)
        assert np.allclose(out, np.where(m.terminal, 0, expected.max(1)), rtol=0, atol=1e-12)
        assert np.array_equal(policy, best_actions(expected))
        assert (low, high) == ((out - v).min(), (out - v).max())
        skipped += m.states - whole
        step = np.where(m.terminal, 0, rng.normal(size=m.states) * 0.05)
        v = v + step
        drift = m.discount * (step.max() - step.min())
    again = np.empty(m.states)
    policy_sweep(chosen, v - step, again)
    assert np.allclose(again, out, rtol=0, atol=1e-12)
    if m.actions == 1:
        assert skipped == 5 * m.states


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_every_chosen_row_has_room(seed):
    m = random_model(seed)
    longest = np.diff(m.transitions.indptr).reshape(m.states, m.actions).max(1)
    total = np.empty(m.states + 1, dtype=np.int64)
    assert add_longest(rows_of(m), total) == longest.sum()
    assert np.array_equal(np.diff(total), longest)


def test_leads_spare_looks():
    m = zoo.garnet(20, discount=0.5)
    rows, v = rows_of(m), np.zeros(m.states)
    chosen, out = chosen_of(rows), np.empty(m.states)
    choice = (np.full(m.states, -1, dtype=np.int32), np.full(m.states, -1, dtype=np.float32))
    assert improve(rows, chosen, v, out, (*choice, 0.0))[3] == m.states
    assert improve(rows, chosen, v, out, (*choice, 0.0))[3] == 0
    assert improve(rows, chosen, v, out, (*choice, 1e9))[3] > 0
