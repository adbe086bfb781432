"""The arithmetic of the bounds, on chains whose values are known."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from logpi.worlds.mdp.planning.certificate import (
    Contraction,
    bracket,
    contraction,
    weighted_factor,
)


def test_a_contraction_reads_the_sums_of_the_rows_in_use():
    t = csr_array(np.array([[0.5, 0.5 - 1e-9], [0.5, 0.5 + 2e-9], [7.0, 7.0]]))
    k = contraction(t, np.array([1.0, -3.0, 99.0]), 0.9, rows=np.array([True, True, False]))
    assert k.low == pytest.approx(0.9 * (1 - 1e-9), abs=1e-14)
    assert k.high == pytest.approx(0.9 * (1 + 2e-9), abs=1e-14)
    assert (k.terms, k.reward) == (2, 3.0)
    more = contraction(t, np.zeros(3), 0.9, rows=np.array([True, True, False]), extra=4)
    assert more.terms == 6
    assert more.rounding(np.ones(2)) > k.rounding(np.ones(2)) > 0


def test_the_bracket_is_tight_where_all_states_are_alike():
    low, high = bracket(Contraction(0.9, 0.9, 1, 1.0), np.zeros(3), np.full(3, 2.0))
    assert low <= 18 <= high
    assert high - low < 1e-13


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_that_do_not_sum_to_1_widen_it(sign):
    # v = r/(1 − κ) for a single state whose row sums to κ/γ
    for kappa in (0.98, 0.99):
        low, high = bracket(Contraction(0.98, 0.99, 1, 1.0), np.zeros(1), np.full(1, sign * 1.0))
        assert sign + low <= sign / (1 - kappa) + 1e-10
        assert sign + high >= sign / (1 - kappa) - 1e-10


def test_no_discount_no_bracket():
    low, high = bracket(Contraction(0.99, 1.0, 1, 1.0), np.zeros(2), np.array([-1.0, 1.0]))
    assert (low, high) == (-math.inf, math.inf)


def test_slack_is_counted_on_both_sides():
    k = Contraction(0.5, 0.5, 1, 0.0)
    low, high = bracket(k, np.zeros(1), np.zeros(1), slack=1.0)
    assert low <= -2
    assert high >= 2


def test_a_weight_that_proves_nothing_gives_no_factor():
    line = csr_array(np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert weighted_factor(line, np.array([2.0, 1.0]), 1.0) == pytest.approx(2)
    assert weighted_factor(line, np.array([1.0, 1.0]), 1.0) == math.inf
    assert weighted_factor(line, np.array([2.0, -1.0]), 1.0) == math.inf
    assert weighted_factor(line, np.array([math.nan, 1.0]), 1.0) == math.inf
