"""The average reward: closed forms, several chains, and the limit of discounted values."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings

from logpi.core.errors import ConfigError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.average import AverageReward, average_reward, gain_and_bias
from logpi.worlds.mdp.planning.chain import chain_of
from logpi.worlds.mdp.planning.evaluate import evaluate, stationary
from logpi.worlds.mdp.planning.policies import uniform

from .cases import make_model, random_model, seeds


def best_gain(m):
    """The best gain of each state, by trying every policy."""
    options = [np.flatnonzero(row) if row.any() else [-1] for row in m.allowed]
    return np.max([gain_and_bias(m, np.array(policy))[0] for policy in product(*options)], axis=0)


@settings(max_examples=60)
@given(seeds)
def test_no_policy_earns_more(seed):
    m = random_model(seed, 0.9)
    size = 1 + np.abs(m.reward).max()
    found = average_reward(m, tolerance=1e-6 * size)
    assert isinstance(found, AverageReward)
    assert np.abs(found.gain - best_gain(m)).max() <= found.bound + 1e-11 * size
    own, bias = gain_and_bias(m, found.policy)
    assert np.allclose(own, found.gain, atol=1e-9 * size)
    assert np.allclose(bias, found.bias, atol=1e-7 * size)
    assert np.isneginf(found.q[~m.allowed]).all()


@given(seeds)
def test_gain_and_bias_solve_their_equations(seed):
    m = random_model(seed, 0.9)
    pi = uniform(m)
    g, h = gain_and_bias(m, pi)
    chain = chain_of(m, pi)
    p = chain.transitions.toarray() + np.diag(m.terminal.astype(float))
    size = 1 + np.abs(m.reward).max() + np.abs(h).max()
    assert np.allclose(g, p @ g, atol=1e-9 * size)
    assert np.allclose(g + h, chain.reward + p @ h, atol=1e-9 * size)
    lazy = np.linalg.matrix_power((p + np.eye(m.states)) / 2, 2**20)
    assert np.allclose(lazy @ h, 0, atol=1e-5 * size)
    assert m.start @ g == pytest.approx(stationary(m, pi) @ chain.reward, abs=1e-6 * size)


@given(seeds)
def test_the_gain_is_the_limit_of_discounted_values(seed):
    # v_γ = g/(1 − γ) + h + O(1 − γ)           Puterman 1994, corollary 8.2.4
    m = random_model(seed, 1 - 1e-6)
    g, h = gain_and_bias(m, uniform(m))
    size = 1 + np.abs(m.reward).max() + np.abs(h).max()
    v = evaluate(m, uniform(m))
    assert np.allclose(1e-6 * v, g, atol=1e-4 * size)
    assert np.allclose(v - g * 1e6, h, atol=1e-2 * size * (1 + np.abs(h).max()))


def test_howards_taxicab_and_toymaker():
    # Howard 1960, chapters 4 and 5: 13.34 a ride and 2 a week
    assert np.allclose(average_reward(zoo.taxicab()).gain, 1588 / 119)
    assert np.allclose(average_reward(zoo.toymaker()).gain, 2)


def test_several_chains_keep_their_gains():
    # state 0 chooses between two ends: earn 1 for ever, or 2 two steps later; 3 earns -1
    p = np.eye(4)[[1, 2, 1, 1, 2, 2, 3, 3]]
    m = make_model(p, [[9.0, 0.0], [1.0, 1.0], [2.0, 0.0], [-1.0, -1.0]], 0.5)
    found = average_reward(m)
    assert np.allclose(found.gain, [2, 1, 2, -1])
    assert found.policy[0] == 1
    assert found.bound < 1e-9
    solution = found.solution(m)
    assert solution.facts["least gain"] == -1
    assert solution.facts["largest gain"] == 2
    assert solution.facts["gain"] == pytest.approx(m.start @ found.gain)


def test_a_period_is_no_trouble():
    m = make_model(np.eye(2)[[1, 0]], [[1.0], [0.0]], 0.9)
    found = average_reward(m)
    assert np.allclose(found.gain, 0.5)
    assert np.allclose(found.bias, [0.25, -0.25])


def test_an_end_earns_nothing_for_ever():
    m = zoo.cliff()
    found = average_reward(m)
    assert np.allclose(found.gain, 0)
    assert found.bound < 1e-9
    # of the policies that end, one of those that lose least on the way
    assert found.bias[36] == pytest.approx(-13)


def test_a_tolerance_below_rounding_is_refused():
    with pytest.raises(ConfigError, match="ask for"):
        average_reward(zoo.taxicab(), tolerance=1e-18)
