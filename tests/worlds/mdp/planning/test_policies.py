"""Policies as tables: what is accepted, and what is said of what is not."""

import numpy as np
import pytest

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.policies import (
    as_probabilities,
    deterministic,
    epsilon_greedy,
    uniform,
)

from .cases import make_model


def gated():
    """State 0 allows action 1 alone, state 1 both; state 2 is terminal."""
    p = np.eye(3)[[0, 1, 0, 2, 0, 0]]
    p[[4, 5]] = 0
    allowed = np.array([[False, True], [True, True], [False, False]])
    return make_model(p, np.zeros((3, 2)), 0.9, allowed=allowed)


def test_actions_and_probabilities_say_the_same():
    m = gated()
    table = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert np.array_equal(as_probabilities(m, [1, 0, -1]), table)
    assert np.array_equal(as_probabilities(m, [1, 0, 77]), table)  # not read where it is over
    assert np.array_equal(as_probabilities(m, table), table)
    assert np.array_equal(as_probabilities(m, np.where([[0], [0], [1]], 0.5, table)), table)
    assert as_probabilities(m, table.astype(np.float32)).dtype == np.float64


def test_float32_rounding_is_forgiven():
    m = zoo.garnet(20, actions=7)
    pi = np.random.default_rng(0).dirichlet(np.ones(7), 20).astype(np.float32)
    assert np.allclose(as_probabilities(m, pi).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "error", "says"),
    [
        ([1, 0], ShapeError, r"the policy is \[2\] of int64 but must be \[3, 2\]"),
        (np.zeros((2, 3)), ShapeError, r"the policy is \[2, 3\]"),
        ([0.0, 1.0, 0.0], ShapeError, r"the policy is \[3\] of float64"),
        ([0, 0, 0], ConfigError, r"takes action 0 in state 0, which allows only \[1\]"),
        ([1, 2, 0], ConfigError, r"takes action 2 in state 1, which allows only \[0, 1\]"),
        ([1, -1, 0], ConfigError, "takes action -1 in state 1"),
        (np.array([[0, 1], [0.5, 0.4], [0, 0]]), ConfigError, r"row of state 1 .* sums to 0.9"),
        (np.array([[0, 1], [1.5, -0.5], [0, 0]]), ConfigError, "row of state 1"),
        (np.array([[0, 1], [np.nan, 1], [0, 0]]), ConfigError, "row of state 1"),
        (np.array([[0.1, 0.9], [1, 0], [0, 0]]), ConfigError, "action 0 in state 0 with proba"),
    ],
)
def test_what_is_no_policy(policy, error, says):
    with pytest.raises(error, match=says):
        as_probabilities(gated(), policy)


def test_the_usual_policies():
    m = gated()
    assert uniform(m).tolist() == [[0, 1], [0.5, 0.5], [0, 0]]
    assert deterministic(m, [1, 1, -1]).tolist() == [[0, 1], [0, 1], [0, 0]]
    q = np.array([[-np.inf, 2.0], [3.0, 3.0], [-np.inf, -np.inf]])
    assert epsilon_greedy(m, q, 0.2).tolist() == [[0, 1], [0.9, 0.1], [0, 0]]
    assert epsilon_greedy(m, q, 1.0).tolist() == uniform(m).tolist()


def test_what_is_no_epsilon_and_no_q():
    with pytest.raises(ConfigError, match=r"epsilon is 1.5"):
        epsilon_greedy(gated(), np.zeros((3, 2)), 1.5)
    with pytest.raises(ShapeError, match="`q` is"):
        epsilon_greedy(gated(), np.zeros((2, 2)), 0.5)
    with pytest.raises(ShapeError, match="the actions are"):
        deterministic(gated(), [0.0, 1.0, 2.0])
