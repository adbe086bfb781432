"""Going round at no cost, with discount 1: what it is worth, and who is made to end."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.chain import chain_of, recurrent_classes
from logpi.worlds.mdp.planning.circles import collapsed, end_components, without_circles
from logpi.worlds.mdp.planning.evaluate import evaluate, is_proper
from logpi.worlds.mdp.planning.linear_program import linear_program
from logpi.worlds.mdp.planning.policies import deterministic
from logpi.worlds.mdp.planning.policy_iteration import (
    inexact_policy_iteration,
    policy_iteration,
    truncated_policy_iteration,
)
from logpi.worlds.mdp.planning.value_iteration import gauss_seidel, value_iteration

from .cases import exact_optimum, make_model, seeds

METHODS = (
    value_iteration,
    gauss_seidel,
    policy_iteration,
    truncated_policy_iteration,
    inexact_policy_iteration,
    linear_program,
)


def circling(seed: int, discount: float = 1.0):
    """Up to 5 states that move among themselves, for nothing, and end for better or worse."""
    rng = np.random.default_rng(seed)
    states, actions = int(rng.integers(2, 6)), 3
    to = rng.integers(1, states, (states, actions))
    p = np.zeros((states * actions, states))
    p[np.arange(len(p)), to.ravel()] = 1.0
    spread = rng.random(states * actions) < 0.3
    p[spread] = 0.5 * p[spread] + 0.5 * np.eye(states)[rng.integers(0, states, spread.sum())]
    reward = np.zeros((states, actions))
    reward[:, 2] = rng.integers(-4, 5, states)  # the last action ends, and alone pays
    p[2::3] = np.eye(states)[0]
    allowed = np.ones((states, actions), dtype=bool)
    allowed[0] = False
    return make_model(p, reward, discount, allowed=allowed)


def lasting(m, usable):
    """The maximal end components, by trying every set of states."""
    found = []
    step = m.transitions.toarray().reshape(m.states, m.actions, m.states) > 0
    for size in range(m.states, 0, -1):
        for some in combinations(range(m.states), size):
            inside = np.isin(np.arange(m.states), some)
            stays = usable & m.allowed & ~step[:, :, ~inside].any(2) & inside[:, None]
            if not stays.any(1)[inside].all() or any(set(some) < set(f) for f in found):
                continue
            edges = (step & stays[:, :, None]).any(1)[np.ix_(some, some)]
            reach = np.linalg.matrix_power(edges.astype(int) + np.eye(size, dtype=int), size)
            if (reach > 0).all():
                found.append(some)
    return sorted(found)


@settings(max_examples=40)
@given(seeds)
def test_end_components_are_the_largest_sets_one_can_keep_to(seed):
    m = circling(seed)
    number, stays = end_components(m, m.reward == 0)
    found = [tuple(np.flatnonzero(number == k).tolist()) for k in range(number.max() + 1)]
    assert sorted(found) == lasting(m, m.reward == 0)
    assert (stays.any(1) == (number >= 0)).all()


@settings(max_examples=60)
@given(seeds, st.sampled_from(METHODS))
def test_the_value_is_the_limit_of_the_discounted_ones(seed, method):
    m = circling(seed)
    found = method(m)
    limit = [float(x) for x in exact_optimum(m.having(discount=1 - 1e-12))]
    assert np.allclose(found.value, limit, atol=1e-6)
    assert (found.value[~m.terminal] >= 0).all()  # never ending costs nothing
    # and the policy earns it: it ends, or goes round within a set that pays nothing
    chain = chain_of(m, deterministic(m, found.policy))
    for members in recurrent_classes(chain.transitions, chain.terminal):
        assert (chain.reward[members] == 0).all()
        assert np.allclose(found.value[members], 0, atol=1e-6)
    earned = evaluate(m.having(discount=1 - 1e-9), found.policy)
    assert np.allclose(earned, found.value, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_maze_is_always_solved_and_the_policy_ends(method):
    m = zoo.maze(discount=1.0)
    found = method(m)
    assert np.allclose(found.value[~m.terminal], 1)
    assert is_proper(m, found.policy)


def test_a_lake_is_crossed_as_often_as_it_can_be():
    # the largest probability of the goal of the 4 × 4 lake is 14/17, from its corner
    found = policy_iteration(zoo.frozen_lake(discount=1.0))
    assert found.value[0] == pytest.approx(14 / 17, abs=1e-9)


@given(seeds)
def test_the_view_is_read_back(seed):
    m = circling(seed)
    view = without_circles(m)
    assert view.m.states == m.states
    number, _ = end_components(view.m, view.m.reward == 0)
    assert (number == -1).all()  # nothing is left to go round in
    found = policy_iteration(m, history=True)
    assert np.isneginf(found.q[~m.allowed]).all()
    assert np.allclose(found.q.max(1)[~m.terminal], found.value[~m.terminal])
    assert found.history[-1].value == pytest.approx(found.value)
    assert found.policy.tolist() == policy_iteration(m, start_policy=found.policy).policy.tolist()


def test_a_discount_leaves_the_model_alone():
    m = zoo.maze(discount=0.9)
    assert without_circles(m).m is m
    m = zoo.cliff()  # where every step costs something
    assert without_circles(m).m is m


def test_a_component_can_pay_for_stopping():
    m = circling(3)
    number, stays = end_components(m, m.reward == 0)
    view = collapsed(m, number, stays, np.full(m.states, 7.0))
    found = view.read(policy_iteration(view.m))
    assert (found.value[number >= 0] >= 7 - 1e-9).all()
