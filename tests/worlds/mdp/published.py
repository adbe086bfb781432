"""What the tests of published numbers share: everything goes through `logpi.mdp`, as users do."""

from __future__ import annotations

import numpy as np

from logpi import mdp

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def decisions(m, count):
    """The optimal values of so many decisions: as many sweeps of value iteration from zeros."""
    return mdp.solve(m, horizon=count).value


def solved(m):
    return mdp.solve(m, tolerance=1e-8).value


def actions_of(m, actions):
    """The table of the policy that takes one action in each state."""
    return mdp.as_probabilities(m, np.asarray(actions))


def soft_greedy(m, actions, epsilon):
    """ε-greedy around given actions: 1 − ε + ε/|A| for each, ε/|A| for the others."""
    return (1 - epsilon) * actions_of(m, actions) + epsilon * mdp.uniform(m)


def best_soft(m, epsilon):
    """The value of the best policy among the ε-greedy ones."""
    return solved(mdp.epsilon_soft(m, epsilon))


def gain(m, policy):
    """The reward a step in the long run, from the start."""
    return float(m.start @ mdp.gain_and_bias(m, policy)[0])


def check_optimal(m, expected, tolerance):
    """Policy and value iteration both give the values."""
    for method in ("policy_iteration", "value_iteration"):
        found = mdp.solve(m, method, tolerance=1e-8)
        assert found.bound <= 1e-8
        assert np.allclose(found.value, expected, rtol=0, atol=tolerance + found.bound + 1e-9)


def check_followed(m, policy, expected, tolerance):
    """The policy has the values."""
    value = mdp.evaluate(m, policy)
    assert np.allclose(value, expected, rtol=0, atol=tolerance + 1e-12)
