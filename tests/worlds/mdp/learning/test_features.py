"""Features: their numbers, and that learning with them is what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.learning import learn
from logpi.worlds.mdp.learning.features import coordinates, fourier, one_hot, polynomial, tiles
from logpi.worlds.mdp.planning.evaluate import evaluate
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.zoo import make


def test_coordinates():
    assert coordinates(make("book_grid")).shape == (25, 2)
    walk = coordinates(make("random_walk"))
    assert np.allclose(walk[:, 0], np.arange(7) / 6)
    assert coordinates(make("bandit", means=[1.0])).shape[1] == 1


@given(st.integers(0, 4), st.integers(1, 3))
def test_polynomials_are_all_products(degree, k):
    from math import comb

    x = np.random.default_rng(degree).normal(size=(6, k))
    made = polynomial(x, degree)
    assert made.shape == (6, comb(k + degree, k))
    assert (made[:, 0] == 1).all()
    assert len(np.unique(made.round(9), axis=1).T) == made.shape[1]
    assert np.allclose(polynomial(2 * x, degree)[:, -1], 2**degree * made[:, -1])


def test_cosines():
    line = ((np.arange(64) + 0.5) / 64)[:, None]
    made = fourier(line, 5)
    assert np.allclose(made.T @ made / 64, np.diag([1, *[0.5] * 5]), atol=1e-12), "orthogonal"
    x = np.random.default_rng(0).random((7, 2))
    both = fourier(x, 2)
    assert both.shape == (7, 9)
    assert np.allclose(both[:, 5], np.cos(np.pi * (x[:, 0] + 2 * x[:, 1])))


@given(st.integers(1, 6), st.integers(1, 5))
def test_every_state_lies_in_one_tile_of_each_tiling(tilings, across):
    made = tiles(coordinates(make("book_grid")), tilings=tilings, across=across)
    assert (made.sum(1) == tilings).all()
    assert np.isin(made, (0, 1)).all()
    assert made.sum(0).min() >= 1, "no tile is empty"


def test_near_states_share_more_tiles():
    x = np.linspace(0, 1, 41)[:, None]
    made = tiles(x, tilings=8, across=4)
    shared = made @ made[20]
    assert shared[20] == 8
    assert (np.diff(shared[20:26]) <= 0).all()
    assert shared[35:].max() == 0


def test_tiles_learn_faster_than_a_table():
    """1000 states (Sutton & Barto, Example 9.1): what is learned of one is learned of near ones."""
    m = make("random_walk", states=1000, left_reward=-1, jump=100)
    truth = evaluate(m, uniform(m))
    given = {"episodes": 100, "truth": truth, "seed": 0}
    x = tiles(coordinates(m), tilings=10, across=5)
    wide = learn(m, "td", alpha=0.02, features=x, **given).errors[0, -1]
    table = learn(m, "td", alpha=0.2, **given).errors[0, -1]
    assert wide < 0.2 < table


def test_gradient_monte_carlo_minimises_the_squared_error():
    """Sutton & Barto 9.3: with a state's number as its feature, least squares by visits."""
    m = make("random_walk", states=9)
    x = polynomial(2 * coordinates(m) - 1, 1)
    r = learn(m, "mc_prediction", features=x, alpha=0.0003, first_visit=False, episodes=40_000)
    truth = np.r_[0, np.arange(1, 10) / 10, 0]
    assert np.abs(r.value - truth)[1:-1].max() < 0.04  # the truth is a line


@pytest.mark.parametrize(
    ("make_one", "error", "said"),
    [
        (lambda: polynomial([0.0, 1.0], 2), ShapeError, r"points are \[2\] but must be \[S, k\]"),
        (lambda: polynomial([[0.0]], -1), ConfigError, "degree is -1"),
        (lambda: fourier([[np.inf]], 1), ConfigError, "NaN or infinite"),
        (lambda: fourier([[0.0]], 0.5), ConfigError, "order is 0.5"),
        (lambda: tiles([[0.0]], tilings=0), ConfigError, "tilings is 0"),
        (lambda: tiles([[0.0]], across=0), ConfigError, "across is 0"),
        (lambda: one_hot(0), ConfigError, "states is 0"),
    ],
)
def test_bad_features(make_one, error, said):
    with pytest.raises(error, match=said):
        make_one()


def test_a_model_stands_for_the_coordinates_of_its_states():
    m = make("book_grid")
    assert (one_hot(m) == np.eye(25)).all()
    assert (polynomial(m, 2) == polynomial(coordinates(m), 2)).all()
    assert (fourier(m, 2) == fourier(coordinates(m), 2)).all()
    assert (tiles(m, tilings=2) == tiles(coordinates(m), tilings=2)).all()
