"""Modified policy iteration: certified bounds, hand-over, and every kind of array."""

import numpy as np
import pytest
from hypothesis import given, settings

from logpi.core.errors import ConfigError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.certify import run_of
from logpi.worlds.mdp.planning.modified import (
    Forecast,
    modified_policy_iteration,
    sweeps_needed,
    try_modified,
)

from .fast_cases import exact_values, random_model, seeds


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_the_bound_holds_and_keeps_the_tolerance(seed):
    m = random_model(seed)
    found = modified_policy_iteration(m, tolerance=1e-7)
    error = np.abs(found.value - exact_values(m)).max()
    assert error <= found.bound <= 1e-7
    assert (found.value[m.terminal] == 0).all()
    assert (found.policy[m.terminal] == -1).all()


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_q_is_the_backup_of_the_value(seed):
    m = random_model(seed)
    found = modified_policy_iteration(m, tolerance=1e-9)
    live = ~m.terminal
    assert np.isneginf(found.q[~m.allowed]).all()
    assert np.allclose(found.q[m.allowed], backup(m, found.value)[m.allowed], atol=1e-8)
    assert np.array_equal(found.value[live], found.q.max(1)[live])
    assert np.array_equal(found.policy[live], found.q.argmax(1)[live])


@pytest.mark.parametrize(("dtype", "index"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_every_kind_of_array(dtype, index):
    m = random_model(7, dtype=dtype, index=index, discount=0.9)
    tolerance = 1e-4 if dtype == np.float32 else 1e-8
    found = modified_policy_iteration(m, tolerance=tolerance)
    assert found.value.dtype == found.q.dtype == dtype
    assert np.abs(found.value - exact_values(m)).max() <= found.bound <= tolerance


def test_a_relative_tolerance_is_of_the_largest_value():
    m = zoo.garnet(200, seed=1, discount=0.99)
    found = modified_policy_iteration(m, tolerance=1e-3, relative=True)
    size = np.abs(exact_values(m)).max()
    assert size > 10
    assert 1e-3 < found.bound <= 1e-3 * size
    assert np.abs(found.value - exact_values(m)).max() <= found.bound


def test_rounding_is_not_promised_away():
    m = zoo.garnet(30, seed=1, discount=0.99)
    with pytest.raises(ConfigError, match="below what float64 can certify"):
        modified_policy_iteration(m, tolerance=1e-15)
    single = zoo.garnet(30, seed=1, discount=0.99, dtype=np.float32)
    with pytest.raises(ConfigError, match="below what float32 can certify"):
        modified_policy_iteration(single, tolerance=1e-6)
    with pytest.raises(ConfigError, match="relative tolerance of 1e-15"):
        modified_policy_iteration(m, tolerance=1e-15, relative=True)


def test_bad_arguments_are_named():
    m = zoo.garnet(30, discount=0.9)
    with pytest.raises(ConfigError, match="tolerance is -1"):
        modified_policy_iteration(m, tolerance=-1)
    with pytest.raises(ConfigError, match="discount 1"):
        modified_policy_iteration(m.having(discount=1.0))


def test_it_gives_up_where_many_sweeps_are_foretold():
    slow = zoo.slip_grid(40, 40, discount=0.999)
    forecast = try_modified(run_of(slow, tolerance=1e-6), limit=300)
    assert isinstance(forecast, Forecast)
    assert forecast > 300
    fast = zoo.garnet(2000, discount=0.99)
    assert not isinstance(try_modified(run_of(fast, tolerance=1e-6), limit=300), Forecast)


def test_the_forecast_extrapolates():
    assert sweeps_needed([1.0, 0.5, 0.25, 0.125], 0.125 / 8) == pytest.approx(3)
    assert sweeps_needed([1.0, 0.5], 0.5) == 0
    assert sweeps_needed([1.0, 1.0, 1.0], 0.5) == np.inf
