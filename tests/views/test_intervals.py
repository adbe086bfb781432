"""Interquartile means, their intervals, and who is better: against definitions and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.views.intervals import improvement, interquartile_mean, intervals


def test_the_middle_half_is_what_counts():
    scores = np.random.default_rng(0).permuted(np.arange(12.0)[:, None] * [1, 10], axis=0)
    assert interquartile_mean(scores) == pytest.approx([5.5, 55])
    scores[scores == 11] = 1e6  # an outlier moves nothing
    assert interquartile_mean(scores)[0] == pytest.approx(5.5)
    assert interquartile_mean(np.array([[0.0], [3.0], [9.0]])) == pytest.approx([4])


def test_intervals_cover_what_they_should():
    rng, inside, tries = np.random.default_rng(1), 0, 300
    for k in range(tries):
        scores = rng.normal(3.0, 2.0, (20, 1))
        _, low, high = intervals([scores], resamples=400, seed=k)
        inside += bool(low[0] <= 3 <= high[0])
    assert 0.87 <= inside / tries <= 0.98


def test_tasks_are_drawn_among_themselves():
    easy, hard = np.full((5, 1), 100.0), np.full((5, 1), 0.0)
    middle, low, high = intervals([easy, hard])
    assert middle[0] == low[0] == high[0]  # had they been mixed, their shares would vary
    mixed = intervals([np.concatenate([easy, hard])])
    assert mixed[2][0] - mixed[1][0] > 20


def test_the_same_seed_gives_the_same_interval():
    scores = np.random.default_rng(0).normal(size=(6, 3))
    a, b = intervals([scores], seed=4), intervals([scores], seed=4)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    wide, narrow = intervals([scores], level=0.99), intervals([scores], level=0.5)
    assert (wide[2] - wide[1] > narrow[2] - narrow[1]).all()


def test_improvement_is_mann_whitney():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, 9).astype(float), rng.integers(1, 7, 7).astype(float)
    found, low, high = improvement([x], [y])
    assert found == pytest.approx(mannwhitneyu(x, y).statistic / (9 * 7))
    assert low < found < high
    assert improvement([y], [x])[0] == pytest.approx(1 - found)
    both = improvement([x, np.ones(3)], [y, np.zeros(3)])
    assert both[0] == pytest.approx((found + 1) / 2)
