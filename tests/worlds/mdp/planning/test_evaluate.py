"""The value of a policy, where it goes, and what is said of policies that do not end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.chain import chain_of, recurrent_classes
from logpi.worlds.mdp.planning.evaluate import (
    action_values,
    advantages,
    chain_bound,
    class_distribution,
    evaluate,
    is_proper,
    stationary,
    visitation,
)
from logpi.worlds.mdp.planning.policies import uniform

from .cases import distance, exact_value, make_model, random_model, seeds


@given(seeds, st.integers(1, 9))
def test_a_horizon_is_as_many_backups(seed, horizon):
    m = random_model(seed, 1.0)
    pi, v = some_policy(m, seed), np.zeros(m.states)
    for _ in range(horizon):
        v = np.where(m.terminal, 0, (pi * np.where(m.allowed, backup(m, v), 0)).sum(1))
    assert np.allclose(evaluate(m, pi, horizon=horizon), v)


def test_a_horizon_counts_decisions():
    m = zoo.make("book_grid", discount=1.0)  # in which no policy ever ends
    assert evaluate(m, np.full(25, 4), horizon=7)[17] == 7.0
    with pytest.raises(ConfigError, match="horizon is 0"):
        evaluate(m, np.full(25, 4), horizon=0)


def some_policy(m, seed):
    pi = np.random.default_rng(seed).random(m.reward.shape) * m.allowed
    return pi / np.where(m.terminal, 1, pi.sum(1))[:, None]


@given(seeds, st.sampled_from((0.0, 0.7, 0.999, 1.0)))
def test_a_deterministic_policy_against_rational_numbers(seed, discount):
    m = random_model(seed, discount, ending=discount == 1)
    policy = m.allowed.argmax(1)
    v = evaluate(m, policy)
    exact = exact_value(m, policy)
    assert distance(v, exact) <= 1e-9 * (1 + np.abs(v).max())
    pi = chain_of(m, np.where(m.terminal[:, None], 0.0, np.eye(m.actions)[policy]))
    assert distance(v, exact) <= chain_bound(pi, discount, v)


@given(seeds, st.sampled_from((0.0, 0.7, 0.99)))
def test_values_action_values_and_advantages_fit_together(seed, discount):
    m = random_model(seed, discount)
    pi = some_policy(m, seed)
    v, q, a = evaluate(m, pi), action_values(m, pi), advantages(m, pi)
    size = 1 + np.abs(v).max()
    assert np.allclose((pi * np.where(m.allowed, q, 0)).sum(1), v, atol=1e-9 * size)
    assert np.allclose((pi * np.where(m.allowed, a, 0)).sum(1), 0, atol=1e-9 * size)
    assert np.allclose(q[m.allowed], backup(m, v)[m.allowed], atol=1e-9 * size)
    assert np.isneginf(a[~m.allowed]).all()


@given(seeds, st.sampled_from((0.0, 0.7, 0.99)))
def test_the_return_is_the_sum_over_visits(seed, discount):
    m = random_model(seed, discount)
    pi = some_policy(m, seed)
    d = visitation(m, pi)
    total = (d[:, None] * pi * m.reward).sum()
    assert total == pytest.approx(
        m.start @ evaluate(m, pi), abs=1e-9 * (1 + np.abs(m.reward).max())
    )
    if not m.terminal.any():
        assert d.sum() == pytest.approx(1 / (1 - discount))


@given(seeds)
def test_undiscounted_visits_end_in_one_terminal_state(seed):
    m = random_model(seed, 0.5, ending=True)
    d = visitation(m, uniform(m), discounted=False)
    assert d[m.terminal].sum() == pytest.approx(1)
    chain = chain_of(m, uniform(m))
    assert np.allclose(d, m.start + chain.transitions.T @ d)


@given(seeds)
def test_the_long_run_is_stationary_and_what_powers_of_the_matrix_tend_to(seed):
    m = random_model(seed, 0.9)
    d = stationary(m, uniform(m))
    p = chain_of(m, uniform(m)).transitions.toarray() + np.diag(m.terminal.astype(float))
    lazy = np.linalg.matrix_power((p + np.eye(m.states)) / 2, 2**20)
    assert d.sum() == pytest.approx(1)
    assert np.allclose(d @ p, d, atol=1e-10)
    assert np.allclose(d, m.start @ lazy, atol=1e-6)


def test_a_class_that_is_hard_to_return_to():
    # from state 0 it is 2^59 steps, on average, until state 0 is seen again
    n = 60
    p = np.zeros((n, n))
    p[np.arange(n), np.maximum(np.arange(n) - 1, 0)] = 1 / 3
    p[np.arange(n), np.minimum(np.arange(n) + 1, n - 1)] += 2 / 3
    m = make_model(p, np.ones((n, 1)), 0.9)
    chain = chain_of(m, np.ones((n, 1)))
    (members,) = recurrent_classes(chain.transitions, chain.terminal)
    expected = 2.0 ** np.arange(n)
    assert np.allclose(class_distribution(chain, members), expected / expected.sum(), rtol=1e-9)


def test_discount_1_asks_for_an_end():
    m = zoo.terminal_grid()
    assert is_proper(m, uniform(m))
    bump = np.where(m.terminal, -1, 0)  # up, into the wall
    assert not is_proper(m, bump)
    for function in (evaluate, action_values, advantages, visitation):
        with pytest.raises(ModelError, match="from state 1 this policy never reaches a terminal"):
            function(m, bump)
    with pytest.raises(ModelError, match="from state 1"):
        visitation(m.having(discount=0.9), bump, discounted=False)


def test_a_tolerance_is_certified_or_refused():
    m = zoo.garnet(200, discount=0.999)
    v = evaluate(m, uniform(m), tolerance=1e-8)
    assert np.allclose(v, evaluate(m, uniform(m)))
    with pytest.raises(ConfigError, match="below what float64 can certify for this policy"):
        evaluate(m, uniform(m), tolerance=1e-18)
    # episodes that end have a bound with discount 1 too
    assert evaluate(zoo.terminal_grid(), uniform(zoo.terminal_grid()), tolerance=1e-9).min() < -21


def test_the_random_policy_of_sutton_and_barto_fig_4_1():
    m = zoo.terminal_grid()
    expected = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]
    assert np.allclose(evaluate(m, uniform(m)), expected)
