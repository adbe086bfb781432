"""The certificate of every method, against values without any rounding."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.linear_program import linear_program
from logpi.worlds.mdp.planning.policy_iteration import (
    inexact_policy_iteration,
    policy_iteration,
    truncated_policy_iteration,
)
from logpi.worlds.mdp.planning.value_iteration import gauss_seidel, value_iteration

from .cases import distance, exact_optimum, loss, make_model, random_model, seeds

METHODS = (
    value_iteration,
    gauss_seidel,
    policy_iteration,
    truncated_policy_iteration,
    inexact_policy_iteration,
    linear_program,
)
methods = st.sampled_from(METHODS)
dtypes = st.sampled_from((np.float64, np.float32))


def certified(method, m, tolerance):
    """The solution; where the tolerance is refused, the one for the tolerance that is offered."""
    try:
        return method(m, tolerance=tolerance), tolerance
    except ConfigError as error:
        offered = re.search(r"ask for ([0-9.e+-]*[0-9])\.", str(error))
        if not offered:
            raise
        assert float(offered[1]) > tolerance
        return method(m, tolerance=float(offered[1])), float(offered[1])


def check(m, found, tolerance):
    exact = exact_optimum(m)
    assert distance(found.value, exact) <= found.bound <= tolerance
    assert loss(m, found.policy, exact) <= found.facts["policy_loss"]
    assert (found.value[m.terminal] == 0).all()
    assert (found.policy[m.terminal] == -1).all()
    assert found.value.dtype == found.q.dtype == m.dtype
    assert np.isneginf(found.q[~m.allowed]).all()
    live = ~m.terminal
    assert np.array_equal(found.value[live], found.q.max(1)[live])
    q = backup(m, found.value.astype(np.float64))
    rounding = 1e-15 * (1 + np.abs(q[m.allowed]).max())
    assert np.abs(found.q[m.allowed] - q[m.allowed]).max() <= 2 * found.bound + rounding


@settings(max_examples=100)
@given(seeds, methods, dtypes, st.sampled_from((0.0, 0.5, 0.9, 0.99)), st.integers(2, 9))
def test_the_bound_holds_and_keeps_the_tolerance(seed, method, dtype, discount, digits):
    m = random_model(seed, discount, dtype=dtype)
    check(m, *certified(method, m, 10.0**-digits))


@settings(max_examples=60)
@given(
    seeds, st.sampled_from((policy_iteration, inexact_policy_iteration)), dtypes, st.integers(3, 9)
)
def test_the_bound_holds_as_the_discount_goes_to_1(seed, method, dtype, nines):
    m = random_model(seed, 1 - 10.0**-nines, dtype=dtype)
    sums = m.transitions.astype(np.float64).sum(1)[m.allowed.ravel()]
    assume(m.discount * (sums.max(initial=0) + 1e-14) < 1)  # else the rows undo the discount
    check(m, *certified(method, m, 1e-6))


@settings(max_examples=100)
@given(seeds, methods, dtypes)
def test_the_bound_holds_with_discount_1(seed, method, dtype):
    m = random_model(seed, 1.0, dtype=dtype, ending=True)
    check(m, *certified(method, m, 1e-6))


@settings(max_examples=40)
@given(seeds, methods)
def test_every_tolerance_is_kept_or_refused_with_one_that_is(seed, method):
    m = random_model(seed, 0.95)
    found, tolerance = certified(method, m, 1e-18)
    check(m, found, tolerance)
    size = 1 + np.abs(found.value).max()
    assert tolerance <= 1e-12 * size  # what is offered is not far from what can be had


@pytest.mark.parametrize("method", METHODS)
def test_float32_refuses_what_it_cannot_hold(method):
    m = zoo.garnet(50, dtype=np.float32, discount=0.99)
    with pytest.raises(ConfigError, match=r"below what float32 can certify for garnet.*: ask for"):
        method(m, tolerance=1e-9)
    assert method(m, tolerance=1e-4).bound <= 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, np.inf])
def test_a_tolerance_is_positive_and_finite(method, tolerance):
    with pytest.raises(ConfigError, match=r"tolerance is .* but must be a positive, finite"):
        method(zoo.two_state(), tolerance=tolerance)


def test_rows_that_sum_to_more_than_1_leave_no_bound():
    # each row is within what validation accepts, and the discount does not make up for it
    m = make_model([[1 + 5e-9]], [[1.0]], 1 - 1e-9)
    with pytest.raises(ConfigError, match="undo the discount"):
        value_iteration(m)


def test_the_middle_of_the_bounds_is_used():
    # one sweep suffices where every state is alike, however close to 1 the discount is
    found = value_iteration(zoo.two_state(discount=0.999))
    assert found.sweeps == 1
    assert np.abs(found.value - 1000).max() <= found.bound < 1e-6


def test_where_episodes_end_the_bound_is_by_the_time_to_the_end():
    # residual/(1 − γ) would be 1e7 times the residual; episodes end within some 20 steps
    m = zoo.cliff(discount=1 - 1e-7)
    assert policy_iteration(m, tolerance=1e-10).bound < 1e-10
    assert value_iteration(m, tolerance=1e-9).sweeps < 100
