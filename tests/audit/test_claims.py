"""Every claim's numbers, held to what was published, derived by hand, or first found."""

from __future__ import annotations

import string

import pytest

from logpi import audit
from logpi.audit.claims import CLAIMS

ROUNDING = pytest.approx(0, abs=1e-14)


def near(value, digits):
    return pytest.approx(value, abs=0.5 * 10**-digits)


PINS = {
    "leave_one_out_is_exact": {"bias": ROUNDING},
    "the_mean_shrinks": {"two": near(0.5, 12), "four": near(0.75, 12), "cosine": near(1, 12)},
    # A bandit of three arms: .988 and .998
    "the_spread_turns": {"two": near(0.988, 3), "four": near(0.998, 3)},
    "z_scores_ascend_something_else": {"cosine": near(0.9978, 4), "bias": ROUNDING},
    "max_rl_ascends_the_logarithm": {"cosine": near(0.9229, 4), "bias": ROUNDING},
    # Found in a widely used trainer's code, 40 sequences: .833, .888, 1.0000; these are all drawn
    "lengths_and_spreads_turn": {
        "grpo": near(0.486, 3),
        "token": near(0.529, 3),
        "centred": near(0.982, 3),
        "dr": near(1, 12),
    },
    "grpo_can_point_away": {"grpo": 0.0, "rloo": near(1, 12)},
    "more_groups_help_the_mean_over_tokens": {
        "one": near(0.99883, 5),
        "two": near(0.99959, 5),
        "three": near(0.99979, 5),
    },
    "critics_take_variance_away": {
        "total": near(3.042, 3),
        "reinforce": near(1.897, 3),
        "qac": near(1.411, 3),
        "baseline": near(0.802, 3),
        "td": near(0.585, 3),
        "bias": pytest.approx(0, abs=1e-15),
    },
    "the_discount_in_front": {"without": ROUNDING, "start": ROUNDING, "cosine": near(0.9997, 4)},
    "ratios_forget_the_states": {"cosine": near(0.9826, 4), "own": ROUNDING},
    "the_second_step_is_another_estimator": {
        "clipped": near(0.097, 3),
        "first": near(1, 12),
        "second": near(0.8063, 4),
    },
    "the_estimators_of_the_kl": {
        "k1": ROUNDING,
        "k2": ROUNDING,
        "k3": ROUNDING,
        "turned": near(0.9108, 4),
    },
    "only_the_reward_keeps_the_future": {"reward": ROUNDING, "loss": near(0.9804, 4)},
    # J = 8, the prefix's signal has mean 8 and variance 36, the cities are worth 2, -18, -18
    "luck_is_pushed_into_the_prefix": {
        "mean": near(8, 9),
        "variance": near(36, 9),
        "truth": ROUNDING,
        "paris": near(2, 9),
        "lyon": near(-18, 9),
        "marseille": near(-18, 9),
    },
    "a_cut_is_no_end": {"cut": ROUNDING, "ended": near(0.708, 3), "td": near(0.704, 3)},
    # 1 / P(a group differs), P the mean over questions of 1 − p⁴ − (1 − p)⁴
    "dropping_equal_groups_only_scales": {
        "scale": pytest.approx(2 / (2 - 0.02**4 - 0.98**4 - 2 * 0.5**4), abs=1e-9),
        "cosine": near(1, 12),
        "all": near(1.46, 2),
        "mixed": near(0.17, 2),
    },
    "clipped_ratios_trade_bias_for_noise": {
        "exact": ROUNDING,
        "noise": near(19.2, 1),
        "clipped": near(0.883, 3),
        "clipped_noise": near(0.40, 2),
        "naive": near(0.224, 3),
    },
    # arXiv 2305.18290, eq. 4; arXiv 2310.12036, theorem 1
    "preferences_rest_at_closed_forms": {
        "there": ROUNDING,
        "before": near(0.053, 3),
        "ipo": ROUNDING,
    },
}


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_claims(name):
    assert CLAIMS[name].numbers == PINS[name]


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_statements_quote_every_number_and_no_other(name):
    claim = CLAIMS[name]
    places = {field for _, field, _, _ in string.Formatter().parse(claim.statement) if field}
    assert places == set(PINS[name])
    assert claim.name == claim.function.__name__ == name
    assert "{" not in claim.text()


def test_the_order_of_the_variances():
    numbers = CLAIMS["critics_take_variance_away"].numbers
    order = [numbers[k] for k in ("total", "reinforce", "qac", "baseline", "td")]
    assert order == sorted(order, reverse=True)


def test_claims_are_an_attribute_of_the_package():
    assert audit.claims.CLAIMS is CLAIMS
