"""Learning curves draw themselves."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.learning import learn
from logpi.worlds.mdp.zoo import make


@pytest.fixture(scope="module")
def curves():
    m = make("random_walk")
    truth = np.r_[0, np.arange(1, 6) / 6, 0]
    return learn(m, "td", episodes=20, runs=3, truth=truth, record_every=2)


def test_the_error_and_its_spread(curves):
    axes = curves.plot()
    (line,) = axes.lines
    assert line.get_xdata().tolist() == list(range(0, 21, 2))
    assert np.allclose(line.get_ydata(), curves.errors.mean(0))
    assert len(axes.collections) == 1, "one standard deviation, shaded"
    assert axes.get_ylabel() == "RMS error"
    assert axes.get_xlabel() == "episodes"
    assert axes.get_legend().get_texts()[0].get_text() == "td"


def test_several_curves_in_the_same_axes(curves):
    axes = curves.plot(label="first")
    other = learn(make("cliff"), "sarsa", episodes=10)
    assert other.plot(axes, curve="lengths", smooth=3) is axes
    assert len(axes.lines) == 2
    assert len(axes.collections) == 1, "one run has no spread"
    assert axes.get_ylabel() == "Steps an episode"


def test_into_a_file(curves, tmp_path):
    for name in ("a.png", "b.svg"):
        curves.plot(tmp_path / name, curve="returns")
        assert (tmp_path / name).stat().st_size > 1000
    curves.plot(str(tmp_path / "c.png"))
    assert (tmp_path / "c.png").exists()


def test_runs_of_different_lengths(tmp_path):
    r = learn(make("random_walk"), "td", steps=300, runs=3)
    for curve in ("returns", "lengths"):
        (line,) = r.plot(curve=curve).lines
        assert len(line.get_xdata()) == r.returns.shape[1]
        assert np.isfinite(line.get_ydata()[0])
    counted = learn(make("random_walk"), "td", steps=300, truth=np.zeros(7))
    assert counted.plot().get_xlabel() == "steps"


def test_what_cannot_be_drawn(curves):
    with pytest.raises(ConfigError, match="one of errors, returns, lengths"):
        curves.plot(curve="loss")
    with pytest.raises(ConfigError, match="smooth is 0"):
        curves.plot(smooth=0)
    with pytest.raises(ConfigError, match="give `truth=` to learn"):
        learn(make("random_walk"), "td", episodes=1).plot(curve="errors")


def test_a_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match="no picture can be written"):
        learn(make("cliff"), "sarsa", episodes=3).plot(tmp_path / "none" / "a.png")
