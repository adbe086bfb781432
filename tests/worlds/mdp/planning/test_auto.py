"""`solve_auto` chooses, says why, and is right either way."""

import numpy as np
import pytest
from hypothesis import given, settings

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.auto import solve_auto
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration

from .fast_cases import exact_values, random_model, seeds


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_bound_holds_and_keeps_the_tolerance(seed):
    m = random_model(seed)
    found = solve_auto(m, tolerance=1e-7)
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-7


def test_a_model_that_mixes_is_swept():
    m = zoo.garnet(500, discount=0.99)
    found = solve_auto(m)
    assert found.method.startswith("auto: modified policy iteration, because")
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "m",
    [
        zoo.slip_grid(30, 30, discount=0.999),
        zoo.slip_grid(25, 25, goal=None, rewards="random", discount=0.999),
        zoo.machine_replacement(600, discount=0.999),
    ],
)
def test_a_slow_model_is_followed_along_its_flow(m):
    found = solve_auto(m)
    assert found.method.startswith("auto: policy iteration along the flow, because sweeps alone")
    exact = policy_iteration(m)
    assert np.abs(found.value - exact.value).max() <= found.bound + exact.bound <= 2e-6
    live = found.policy >= 0
    ahead = found.q[live].max(1) - found.q[live, exact.policy[live]]
    assert ahead.max() <= 1e-5  # where the policies differ, the actions are as good


def test_a_relative_tolerance():
    m = zoo.slip_grid(30, 30, discount=0.999)
    found = solve_auto(m, relative=True)
    size = np.abs(found.value).max()
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-6 * size
