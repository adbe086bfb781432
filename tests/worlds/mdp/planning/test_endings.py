"""Proper policies, and bounds by the time to the end."""

import numpy as np
import pytest
from hypothesis import given

from logpi.core.errors import ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.endings import earns_for_ever, hitting_policy, sandwich, steps_to
from logpi.worlds.mdp.planning.evaluate import is_proper
from logpi.worlds.mdp.planning.operators import operator_of

from .cases import distance, exact_optimum, make_model, random_model, seeds


@given(seeds)
def test_the_hitting_policy_ends(seed):
    m = random_model(seed, 1.0, ending=True)
    assert is_proper(m, hitting_policy(m))


def test_who_cannot_end_is_named():
    m = make_model(np.eye(3)[[1, 2, 2]], np.zeros((3, 1)), 1.0)
    with pytest.raises(ModelError, match="from state 0 no policy does"):
        hitting_policy(m)
    ended = m.having(allowed=np.array([[True], [True], [False]]))
    assert hitting_policy(ended).tolist() == [0, 0, -1]


def test_each_step_comes_closer():
    m = zoo.maze()
    way = steps_to(m, m.terminal, m.allowed)
    live = np.flatnonzero(~m.terminal)
    s, steps = live[0], 0
    while not m.terminal[s]:
        (s,) = m.row(s, way[s])[0]
        steps += 1
        assert steps < 40
    assert (way[m.terminal] == -1).all()


def test_what_is_earned_for_ever():
    m = zoo.two_state()
    assert earns_for_ever(m, np.array([2, 1])) == (1, 1.0)
    walk = zoo.random_walk()
    assert earns_for_ever(walk, hitting_policy(walk)) is None


@given(seeds)
def test_the_sandwich_holds_or_is_not_made(seed):
    m = random_model(seed, 1.0, ending=True)
    op = operator_of(m)
    exact = exact_optimum(m)
    near = np.array([float(x) for x in exact])
    for noise in (0.0, 1e-9, 1e-3, 1.0):
        v = near + noise * np.random.default_rng(seed).normal(size=m.states) * ~m.terminal
        q = op.q(v)
        found = sandwich(op, v, q, np.where(m.terminal, -1, q.argmax(1)))
        if found is not None:
            assert distance(op.best(q), exact) <= found[0]
        assert found is not None or noise > 0
