"""The learning rate as a function of the iteration."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.train.schedule import learning_rate

DECAYS = st.sampled_from(["constant", "linear", "cosine"])


def test_warmup_then_linear_by_hand():
    rates = [learning_rate(k, 6, base=2.0, warmup=2, decay="linear") for k in range(6)]
    assert rates == [1.0, 2.0, 2.0, 1.5, 1.0, 0.5]


def test_cosine_by_hand():
    rates = [learning_rate(k, 4, base=1.0, decay="cosine") for k in range(5)]
    expected = [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]
    assert rates == pytest.approx(expected, abs=1e-15)
    assert rates[4] == 0.0


@given(iterations=st.integers(1, 60), data=st.data(), decay=DECAYS, base=st.floats(1e-8, 1.0))
def test_every_iteration_learns_at_most_the_base_rate(iterations, data, decay, base):
    warmup = data.draw(st.integers(0, iterations))
    rates = [
        learning_rate(k, iterations, base=base, warmup=warmup, decay=decay)
        for k in range(iterations)
    ]
    assert all(0 < rate <= base for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert warmup == iterations or rates[warmup] == base


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ConfigError, match=r"`optim.warmup` is 5 but the run has 4 iterations"):
        learning_rate(0, 4, base=1.0, warmup=5)
