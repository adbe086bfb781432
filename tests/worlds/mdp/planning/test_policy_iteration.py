"""Policy iteration: published traces, ties, and what may go wrong between two policies."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.dense import from_dense
from logpi.worlds.mdp.planning.evaluate import evaluate
from logpi.worlds.mdp.planning.policy_iteration import (
    inexact_policy_iteration,
    policy_iteration,
    truncated_policy_iteration,
)
from logpi.worlds.mdp.planning.value_iteration import value_iteration

from .cases import make_model, random_model, seeds


def test_the_tables_of_two_states():
    # Zhao, tables 4.4 and 4.5: both go left at first
    m = zoo.two_state(discount=0.9)
    found = policy_iteration(m, start_policy=[0, 0], history=True)
    first, second = found.history
    assert first.policy.tolist() == [0, 0]
    assert np.allclose(first.value, [-10, -9])
    assert np.allclose(first.q, [[-10, -9, -7.1], [-9, -7.1, -9.1]])
    assert second.policy.tolist() == found.policy.tolist() == [2, 1]
    assert np.allclose(second.value, [10, 10])


def test_sweeps_of_one_policy():
    # Zhao, sec. 4.2.3: the values of the first policy by iteration, from zeros
    m = zoo.two_state(discount=0.9)
    only = m.having(allowed=np.array([[True, False, False]] * 2))
    history = value_iteration(only, history=True, tolerance=1e-12).history
    for k, expected in enumerate(([0, 0], [-1, 0], [-1.9, -0.9], [-2.71, -1.71])[: len(history)]):
        assert np.allclose(history[k].value, expected)


def test_the_policies_of_figure_4_4():
    # Zhao, figure 4.4: everybody stays at first
    m = zoo.book_grid(r_forbidden=-10)
    history = policy_iteration(m, start_policy=np.full(25, 4), history=True).history
    stay = np.zeros(25)
    stay[[6, 7, 12, 16, 18, 21]] = -100
    stay[17] = 10
    assert np.allclose(history[0].value, stay)
    one_step = np.zeros(25)
    one_step[[12, 16, 17, 18, 22]] = 10
    one_step[21] = 9
    assert np.allclose(history[1].value, one_step)
    optimal = [3.5, 3.9, 4.3, 4.8, 5.3, 3.1, 3.5, 4.8, 5.3, 5.9, 2.8, 2.5, 10, 5.9, 6.6]
    optimal += [2.5, 10, 10, 10, 7.3, 2.3, 9, 10, 9, 8.1]
    assert np.allclose(history[-1].value, optimal, atol=0.05)
    # The figure's eleventh policy is optimal; with ties to the first action, the ninth is.
    assert len(history) == 9
    best = history[-1].value
    assert all(np.abs(k.value - best).max() > 0.05 for k in history[:-1])


def test_equally_good_actions_do_not_make_it_go_round():
    # Every action is as good as any other in all but one state, and rounding says otherwise.
    rng = np.random.default_rng(0)
    states, actions = 40, 6
    successor = rng.integers(0, states, size=(states, actions))
    p = np.zeros((states, actions, states))
    p[np.arange(states)[:, None], np.arange(actions), successor] = 1
    value = rng.normal(size=states)
    reward = value[:, None] - 0.99 * value[successor]
    reward[7, 3] += 1e-9
    found = policy_iteration(from_dense(p, reward, 0.99), history=True, tolerance=1e-9)
    assert found.policy[7] == 3
    assert len(found.history) <= 5
    for before, after in pairwise(found.history):
        assert after.value.sum() > before.value.sum()


@given(seeds, st.sampled_from((0.5, 0.95, 1.0)))
def test_each_policy_is_better_than_the_one_before(seed, discount):
    m = random_model(seed, discount, ending=discount == 1)
    size = 1 + np.abs(m.reward).max()
    history = policy_iteration(m, tolerance=1e-6 * size, history=True).history
    for k in history:
        assert np.allclose(k.value, evaluate(m, k.policy), atol=1e-9 * size / (1.05 - discount))
    for before, after in pairwise(history):
        assert (after.value >= before.value - 1e-9 * size).all()
        assert after.value.sum() > before.value.sum()


def test_puterman_6_2_1():
    # Puterman 1994, sec. 6.2.1; the closed form is that of QuantEcon's tests
    m = zoo.puterman_two_state(discount=0.95)
    found = policy_iteration(m, tolerance=1e-9)
    expected = [(5 - 5.5 * 0.95) / ((1 - 0.5 * 0.95) * (1 - 0.95)), -1 / (1 - 0.95)]
    assert np.allclose(found.value, expected, atol=1e-9)
    assert found.policy.tolist() == [0, 0]


def test_a_machine_in_closed_form():
    # one state: keep costs c, replace costs r > c once; keeping for ever costs c/(1 − γ)
    m = make_model([[1], [1]], [[-2.0, -5.0]], 0.9)
    assert policy_iteration(m).value == pytest.approx([-20])


def test_ties_are_kept_and_it_ends():
    # six states in which everything is worth the same: no policy is left for another
    p = np.random.default_rng(0).dirichlet(np.ones(6), 18)
    m = make_model(p, np.full((6, 3), 0.1), 0.97)
    start = np.array([2, 1, 0, 2, 1, 0])
    found = policy_iteration(m, start_policy=start)
    assert found.policy.tolist() == start.tolist()
    assert found.sweeps == 1


def test_a_first_policy_that_never_ends_is_refused_with_discount_1():
    m = zoo.terminal_grid()
    with pytest.raises(ModelError, match="from state 1 this policy never reaches"):
        policy_iteration(m, start_policy=np.where(m.terminal, -1, 0))


def test_the_first_policy_is_checked():
    with pytest.raises(ConfigError, match="takes action 3 in state 0"):
        policy_iteration(zoo.two_state(), start_policy=[3, 0])


@settings(max_examples=40)
@given(seeds, st.integers(0, 30), st.sampled_from((0.0, 0.9, 0.99)))
def test_any_number_of_evaluation_sweeps_gives_the_same(seed, sweeps, discount):
    m = random_model(seed, discount)
    tolerance = 1e-6 * (1 + np.abs(m.reward).max())
    found = truncated_policy_iteration(m, tolerance=tolerance, evaluation_sweeps=sweeps)
    exact = policy_iteration(m, tolerance=tolerance)
    assert np.abs(found.value - exact.value).max() <= found.bound + exact.bound


def test_no_evaluation_sweeps_is_value_iteration():
    m = zoo.garnet(40)
    truncated = truncated_policy_iteration(m, evaluation_sweeps=0, history=True)
    plain = value_iteration(m, history=True)
    assert truncated.sweeps == plain.sweeps
    for a, b in zip(truncated.history, plain.history, strict=True):
        assert np.array_equal(a.value, b.value)
    with pytest.raises(ConfigError, match="evaluation_sweeps is -1"):
        truncated_policy_iteration(m, evaluation_sweeps=-1)


@settings(max_examples=40)
@given(seeds, st.sampled_from(("bicgstab", "gmres")), st.sampled_from((0.5, 0.999)))
def test_krylov_steps_agree(seed, inner, discount):
    m = random_model(seed, discount)
    tolerance = 1e-6 * (1 + np.abs(m.reward).max())
    found = inexact_policy_iteration(m, tolerance=tolerance, inner=inner)
    exact = policy_iteration(m, tolerance=tolerance)
    assert np.abs(found.value - exact.value).max() <= found.bound + exact.bound


def test_krylov_steps_spare_sweeps_where_episodes_are_long():
    m = zoo.slip_grid(rows=26, cols=26, discount=0.9999)  # more states than are solved densely
    exact = policy_iteration(m, tolerance=1e-5)
    for inner in ("bicgstab", "gmres"):
        found = inexact_policy_iteration(m, tolerance=1e-5, inner=inner)
        assert np.abs(found.value - exact.value).max() <= found.bound + exact.bound
    round_and_round = zoo.gridworld(discount=0.99)
    sweeps = value_iteration(round_and_round).sweeps
    assert inexact_policy_iteration(round_and_round).sweeps < sweeps / 10
    with pytest.raises(ConfigError, match="inner is 'cg'"):
        inexact_policy_iteration(m, inner="cg")
