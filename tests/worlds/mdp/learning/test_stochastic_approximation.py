"""Estimates step by step, apart from any MDP."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.learning import constant
from logpi.worlds.mdp.learning.stochastic_approximation import (
    importance_sampled,
    mean_estimates,
    robbins_monro,
)


def test_robbins_monro_by_hand():
    w = robbins_monro(lambda w: 2 * w - 2, steps=3, alpha=0.25, noise=0.0)
    assert w.tolist() == [0.0, 0.5, 0.75, 0.875]


def test_a_slope_without_bound_may_fly_off():
    with pytest.raises(ConfigError, match=r"left the numbers in step \d+: .*smaller alpha"):
        robbins_monro(lambda w: w**3 - 5, steps=50)
    with pytest.raises(ConfigError, match="left the numbers"):
        robbins_monro(lambda w: float("nan"), steps=1)


def test_a_bounded_search_does_not_fly_off():
    w = robbins_monro(lambda w: w**3 - 5, steps=3000, within=(-3, 3), seed=5)
    assert np.abs(w).max() == 3.0  # the second step, to about 5, stopped there
    assert abs(w[-1] - 5 ** (1 / 3)) < 0.02
    with pytest.raises(ConfigError, match=r"start is 4 but must lie within \[-3, 3\]"):
        robbins_monro(lambda w: w, start=4.0, within=(-3, 3))


def test_a_constant_step_size_keeps_the_noise():
    given = {"steps": 5000, "seed": 3}
    kept = robbins_monro(lambda w: w - 1, alpha=constant(0.5), **given)[-1000:]
    gone = robbins_monro(lambda w: w - 1, **given)[-1000:]
    assert abs(kept.std() - np.sqrt(0.5 / 1.5)) < 0.05  # α/(2 − α) of the noise's variance
    assert gone.std() < 0.01
    assert abs(gone[-1] - 1) < 0.05


def test_the_seed_says_it_all():
    one, two, other = (
        importance_sampled([1, -1], [0.5, 0.5], [0.8, 0.2], seed=s).samples for s in (1, 1, 2)
    )
    assert one.tolist() == two.tolist() != other.tolist()


def test_a_degenerate_target():
    """Everything on +1: its mean is 1, and only those samples count."""
    found = importance_sampled([1, -1], [1, 0], [0.8, 0.2], samples=400)
    assert sorted(set(found.weights)) == [0.0, 1.25]
    assert found.weighted[-1] == 1.0
    assert abs(found.ordinary[-1] - 1.0) < 0.15


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (([1, 2], [0.5, 0.5], [1.0, 0.0]), ConfigError, "never draws 2, which the target does"),
        (([1, 2], [0.5, 0.6], [0.5, 0.5]), ConfigError, "target is .* must be a distribution"),
        (([1, 2], [0.5, 0.5], [-0.5, 1.5]), ConfigError, "behaviour is .* distribution"),
        (([1, 2], [1.0], [0.5, 0.5]), ShapeError, r"target is \[1\] but there are 2 values"),
        (([], [], []), ShapeError, r"values are \[0\]"),
        (([1, np.nan], [0.5, 0.5], [0.5, 0.5]), ConfigError, "NaN or infinite"),
    ],
)
def test_bad_distributions(given, error, said):
    with pytest.raises(error, match=said):
        importance_sampled(*given)


def test_bad_numbers():
    with pytest.raises(ConfigError, match="samples is 0"):
        importance_sampled([1], [1], [1], samples=0)
    with pytest.raises(ConfigError, match="steps is 0"):
        robbins_monro(lambda w: w, steps=0)
    with pytest.raises(ShapeError, match=r"samples are \[0\]"):
        mean_estimates([])
