"""Curves as geometry."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.views import curves

numbers = st.floats(-1e9, 1e9, allow_nan=False)


@given(numbers, numbers)
def test_ticks_are_few_and_enclose_the_data(a, b):
    low, high = min(a, b), max(a, b)
    if 0 < high - low < 1e-6:
        return
    marks = curves.ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert marks == sorted(marks)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack


@given(st.lists(numbers, min_size=2, max_size=60))
def test_points_stay_inside_the_box(values):
    (chart,) = curves.charts([{"iteration": i, "reward": v} for i, v in enumerate(values)])
    assert all(curves.LEFT - 0.1 <= x <= curves.WIDTH - curves.RIGHT + 0.1 for x, _ in chart.places)
    assert all(-0.1 <= y <= curves.HEIGHT - curves.BOTTOM + 0.1 for _, y in chart.places)


def test_smoothing_leaves_a_line_alone():
    line = [0.5 * i - 3 for i in range(100)]
    assert curves.smooth(line) == pytest.approx(line)


def test_gaps_and_words_are_left_out():
    metrics = [
        {"iteration": 0, "reward": 0.0, "note": "x", "flag": True, "surrogate": 1.0},
        {"iteration": 1, "reward": None, "note": "y", "flag": False, "surrogate": 2.0},
        {"iteration": 2, "reward": math.nan, "custom": 1},
        {"iteration": 3, "reward": 1.0, "custom": 2},
    ]
    made = curves.charts(metrics)
    assert [(c.name, c.iterations, c.main) for c in made] == [
        ("reward", (0, 3), True),
        ("custom", (2, 3), False),
    ]


def test_a_natural_step_is_drawn_by_its_own_kl():
    lines = [{"iteration": i, "kl": 0.008 + i / 1000, "kl_old": 1e-15 * i} for i in range(3)]
    assert [c.title for c in curves.charts(lines)] == ["KL of the natural step (nats)"]
    (other,) = curves.charts([{k: v for k, v in line.items() if k != "kl"} for line in lines])
    assert other.name == "kl_old"
