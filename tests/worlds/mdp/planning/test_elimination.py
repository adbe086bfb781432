"""Policy iteration along the flow: certified bounds, on models with anything in them."""

import numpy as np
import pytest
from hypothesis import given, settings

from logpi.core.errors import ConfigError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.certify import run_of
from logpi.worlds.mdp.planning.elimination import flow_policy_iteration, try_flow
from logpi.worlds.mdp.planning.modified import modified_policy_iteration

from .fast_cases import exact_values, random_model, seeds
from .test_flow import MODELS


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_the_bound_holds_and_keeps_the_tolerance(seed):
    m = random_model(seed)
    found = flow_policy_iteration(m, tolerance=1e-7)
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-7
    assert (found.value[m.terminal] == 0).all()
    assert (found.policy[m.terminal] == -1).all()


@pytest.mark.parametrize("name", MODELS)
def test_it_agrees_with_exact_policy_iteration(name):
    m = MODELS[name]()
    found = flow_policy_iteration(m, tolerance=1e-6)
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-6
    assert found.method == "policy iteration along the flow"
    assert found.sweeps < 300


def test_it_goes_on_from_any_value():
    m = zoo.slip_grid(15, 15, goal=None, rewards="random", discount=0.99)
    run = run_of(m, tolerance=1e-8)
    run.v[:] = np.random.default_rng(0).normal(size=m.states) * 100
    assert np.abs(try_flow(run).value - exact_values(m)).max() <= 1e-8


def test_states_that_reach_no_source_are_solved_too():
    ends = zoo.slip_grid(5, 5, discount=0.99)
    apart = ends.transitions.toarray().reshape(25, 4, 25)
    apart[0] = 0
    apart[0, :, 0] = 1  # never leaves, and no other state has so low a reward
    m = ends.having(transitions=type(ends.transitions)(apart.reshape(100, 25)))
    found = flow_policy_iteration(m, tolerance=1e-8)
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-8
    assert found.value[0] == pytest.approx(-100, abs=1e-8)


@pytest.mark.parametrize(("dtype", "index"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_every_kind_of_array(dtype, index):
    m = random_model(7, dtype=dtype, index=index, discount=0.9)
    tolerance = 1e-4 if dtype == np.float32 else 1e-8
    found = flow_policy_iteration(m, tolerance=tolerance)
    assert found.value.dtype == found.q.dtype == dtype
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= tolerance


def test_nearly_undiscounted_rows_keep_their_sums():
    m = zoo.slip_grid(12, 12, discount=1 - 1e-7)
    found = flow_policy_iteration(m, tolerance=1e-4)
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= 1e-4
    assert found.method == "policy iteration along the flow"


def test_rounding_is_not_promised_away():
    m = zoo.slip_grid(8, 8, discount=0.999)
    with pytest.raises(ConfigError, match="below what float64 can certify"):
        flow_policy_iteration(m, tolerance=1e-14)


def test_it_agrees_with_sweeps_where_these_are_slow():
    m = zoo.slip_grid(60, 60, rewards="random", discount=0.995)
    swept = modified_policy_iteration(m, tolerance=1e-5)
    found = flow_policy_iteration(m, tolerance=1e-5)
    assert np.abs(found.value - swept.value).max() <= 2e-5
    assert found.sweeps < swept.sweeps
