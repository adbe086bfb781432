"""The linear program and its dual."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning import linear_program as module
from logpi.worlds.mdp.planning.evaluate import visitation
from logpi.worlds.mdp.planning.linear_program import LIMIT, linear_program, occupancy
from logpi.worlds.mdp.planning.value_iteration import value_iteration

from .cases import random_model, seeds


@settings(max_examples=30)
@given(seeds, st.sampled_from((0.5, 0.95, 1.0)))
def test_it_agrees_with_value_iteration(seed, discount):
    m = random_model(seed, discount, ending=discount == 1)
    tolerance = 1e-6 * (1 + np.abs(m.reward).max())
    found, swept = linear_program(m, tolerance=tolerance), value_iteration(m, tolerance=tolerance)
    assert np.abs(found.value - swept.value).max() <= found.bound + swept.bound
    assert found.facts["distance"] <= 1e-5 * (1 + np.abs(found.value).max())


@settings(max_examples=30)
@given(seeds)
def test_the_dual_is_the_visitation_of_its_policy(seed):
    m = random_model(seed, 0.9)
    x = occupancy(m)
    total = x.sum(1)
    visited = total > 1e-9
    pi = np.where(visited[:, None], x / np.where(visited, total, 1)[:, None], 0)
    pi[~visited] = np.eye(m.actions)[m.allowed.argmax(1)][~visited]
    pi[m.terminal] = 0
    live = ~m.terminal
    assert np.allclose(total[live], visitation(m, pi)[live], atol=1e-6)
    assert (x * m.reward).sum() == pytest.approx(
        m.start @ value_iteration(m, tolerance=1e-6 * (1 + np.abs(m.reward).max())).value,
        abs=1e-5 * (1 + np.abs(m.reward).max()),
    )
    assert (x[~m.allowed] == 0).all()


def test_what_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 100)
    for function in (linear_program, occupancy):
        with pytest.raises(ConfigError, match="stores 2000 transitions, more than the 100"):
            function(zoo.garnet())
    assert LIMIT >= 100_000
