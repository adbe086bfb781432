"""Schedules: their numbers, and that compiled code follows them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.learning import constant, exponential, inverse, learn, linear, visits
from logpi.worlds.mdp.learning.arrays import compiled
from logpi.worlds.mdp.learning.schedules import numbers, rate, schedule_of
from logpi.worlds.mdp.zoo import make
from worlds.mdp.learning.small_models import chain

SOME = st.sampled_from(
    [
        constant(0.3),
        inverse(0.9, power=0.6, end=0.1),
        visits(1.0),
        linear(1.0, 0.2, over=30),
        exponential(0.8, decay=0.95, end=0.05),
    ]
)


@compiled
def _rate(schedule, k):
    return rate(schedule, k)


@given(SOME, st.integers(1, 10_000))
def test_compiled_code_reads_the_same_number(schedule, k):
    assert np.isclose(_rate(numbers(schedule), float(k)), schedule.at(k), rtol=1e-12)


@given(SOME, st.integers(1, 1000))
def test_no_schedule_rises_or_falls_below_its_end(schedule, k):
    assert schedule.at(k + 1) <= schedule.at(k) <= schedule.start
    assert schedule.at(k) >= schedule.least


@pytest.mark.parametrize(
    "schedule",
    [
        inverse(1.0, per="episode"),
        visits(),
        linear(1.0, 0.1, over=3),
        exponential(1.0, decay=0.5),
        inverse(1.0, power=0.7),
        visits(power=0.7),
    ],
)
def test_the_step_size_follows(schedule):
    """One state that pays 1: V moves toward 1 by the share that the schedule says."""
    v = 0.0
    for k in range(1, 6):
        v += schedule.at(k) * (1.0 - v) if k else 0.0
    # the first update goes all the way with a step size of 1, so the reward changes in between
    r = learn(chain([1.0]), "td", episodes=5, alpha=schedule, initial_value=-3.0)
    v = -3.0
    for k in range(1, 6):
        v += schedule.at(k) * (1.0 - v)
    assert np.isclose(r.value[0], v)


def test_steps_are_counted_within_episodes():
    """V(i) is moved in step i + 1, by 1/(i + 1) of the way to its reward."""
    r = learn(chain([1.0] * 4, discount=0.0), "td", episodes=1, alpha=inverse(1.0, per="step"))
    assert np.allclose(r.value, [1, 1 / 2, 1 / 3, 1 / 4, 0])
    sarsa = learn(
        chain([1.0] * 4, discount=0.0), "sarsa", episodes=1, alpha=inverse(1.0, per="step")
    )
    assert np.allclose(sarsa.value, r.value)


def test_epsilon_falls():
    from logpi.worlds.mdp.zoo import make

    r = learn(make("cliff"), "sarsa", episodes=50, epsilon=linear(1.0, 0.25, over=10), seed=0)
    assert np.allclose(r.policy[0].min(), 0.25 / 4)
    assert r.lengths[0, :5].mean() > 3 * r.lengths[0, -5:].mean()


def test_a_schedule_may_be_written():
    assert schedule_of("visits(power=0.7)") == visits(power=0.7)
    assert schedule_of(" inverse(0.5, per='step')") == inverse(0.5, per="step")
    for text in ("visits", "inverse(", "__import__('os')", "inverse(start=x)", "linear(1)", "f()"):
        with pytest.raises(ConfigError, match="is no schedule: write"):
            schedule_of(text)
    one = learn(make("cliff"), "sarsa", epsilon="inverse(1)", episodes=9)
    two = learn(make("cliff"), "sarsa", epsilon=inverse(1.0), episodes=9)
    assert one.q.tolist() == two.q.tolist()
