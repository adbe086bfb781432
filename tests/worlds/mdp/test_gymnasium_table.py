"""Gymnasium's tables as models: what ends, what starts, what is earned, and where it lies."""

from __future__ import annotations

import sys
from types import SimpleNamespace as Env

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.gymnasium_table import environment_named, from_gymnasium

gymnasium = pytest.importorskip("gymnasium")


def env_of(table, **facts):
    return Env(unwrapped=Env(P=table, **facts), spec=None)


def step_value(env, state, action, value):
    """Σ p (r + γ v(s')), straight from the table."""
    return sum(
        p * (r + 0.9 * (not end) * value[s2]) for p, s2, r, end in env.unwrapped.P[state][action]
    )


@pytest.mark.parametrize(
    ("name", "options", "states"),
    [
        ("FrozenLake-v1", {}, 16),
        ("FrozenLake-v1", {"is_slippery": False, "map_name": "8x8"}, 64),
        ("CliffWalking-v1", {}, 48),
        ("CliffWalking-v1", {"is_slippery": True}, 48),
        ("Taxi-v4", {}, 501),  # one more: a passenger may be set down where taxis drive on
        ("Taxi-v4", {"is_rainy": True}, 501),
    ],
)
def test_one_step_looks_the_same_from_the_table_and_from_the_model(name, options, states):
    env = gymnasium.make(name, **options)
    m = from_gymnasium(env, discount=0.9)
    env.close()
    assert m.states == states
    value = np.random.default_rng(0).normal(size=states)
    value[m.terminal] = 0
    table = env.unwrapped.P
    expected = [[step_value(env, s, a, value) for a in table[s]] for s in table]
    q = m.reward + 0.9 * (m.transitions @ value).reshape(m.states, m.actions)
    going = np.flatnonzero(~m.terminal)
    assert_allclose(q[going], np.array(expected)[going], atol=1e-12)
    assert_allclose(m.start[: len(table)], env.unwrapped.initial_state_distrib, atol=1e-15)


def test_frozen_lake_lies_on_its_grid():
    m = from_gymnasium("FrozenLake-v1", discount=0.99)
    assert m.name == "FrozenLake-v1"
    assert_array_equal(np.flatnonzero(m.terminal), [5, 7, 11, 12, 15])
    assert m.layout.marks == {"start": (0,), "hole": (5, 7, 11, 12), "target": (15,)}
    assert (m.layout.rows, m.layout.columns) == (4, 4)
    # without slipping, each move goes where the layout says
    m = from_gymnasium(gymnasium.make("FrozenLake-v1", is_slippery=False), discount=0.99)
    for a, (down, right) in enumerate(m.layout.moves):
        expected = (np.clip(1 + down, 0, 3)) * 4 + np.clip(0 + right, 0, 3)
        assert m.row(4, a)[0].tolist() == [expected]


def test_the_reward_of_the_lake_depends_on_the_successor_and_that_of_the_cliff_on_the_move():
    lake = from_gymnasium("FrozenLake-v1", discount=0.99)
    t = lake.transitions
    assert_array_equal(lake.outcome_reward, (t.indices == 15).astype(float))
    cliff = from_gymnasium("CliffWalking-v1", discount=1.0)
    assert cliff.outcome_reward is None
    assert cliff.reward[36, 1] == -100
    assert cliff.row(36, 1)[0].tolist() == [36]
    assert cliff.layout.marks["target"] == (47,)
    for a, (down, right) in enumerate(cliff.layout.moves):
        assert cliff.row(13, a)[0].tolist() == [13 + 12 * down + right]


def test_taxi_is_named():
    m = from_gymnasium("Taxi-v4", discount=0.99)
    assert m.layout.states[0] == "(0, 0) R→R"
    assert m.layout.states[-1] == "end"
    assert m.layout.actions[-1] == "dropoff"
    assert_array_equal(np.flatnonzero(m.terminal), [500])


def test_an_end_in_a_state_that_goes_on_is_one_more_state():
    table = {
        0: {0: [(0.5, 1, 1.0, True), (0.5, 1, 2.0, False)], 1: [(1.0, 0, 0.0, False)]},
        1: {0: [(1.0, 0, 3.0, True)], 1: [(1.0, 1, 0.0, False)]},
    }
    m = from_gymnasium(env_of(table, initial_state_distrib=[1, 0]), discount=0.9)
    assert_array_equal(m.terminal, [False, False, True])
    assert_array_equal(m.row(0, 0)[0], [1, 2])
    assert_array_equal(m.outcome_reward[:2], [2, 1])
    assert_array_equal(m.row(1, 0)[0], [2])
    assert_array_equal(m.start, [1, 0, 0])


def test_a_state_that_only_ends_enter_is_terminal_although_its_own_row_goes_on():
    table = {0: {0: [(1.0, 1, 1.0, True)]}, 1: {0: [(1.0, 0, 5.0, False)]}}
    m = from_gymnasium(env_of(table, initial_state_distrib=[1, 0]), discount=0.9)
    assert_array_equal(m.terminal, [False, True])
    m = from_gymnasium(env_of(table, initial_state_distrib=[0.5, 0.5]), discount=0.9)
    assert_array_equal(m.terminal, [False, False, True])


def test_an_action_that_a_state_does_not_list_is_not_allowed():
    table = {0: {0: [(1.0, 1, 1.0, True)], 2: [(1.0, 0, 0.0, False)]}, 1: {0: [(1, 1, 0, True)]}}
    m = from_gymnasium(env_of(table), discount=0.9, name="own", start=0)
    assert_array_equal(m.allowed, [[True, False, True], [False] * 3])
    assert m.name == "own"


def test_two_ways_into_one_state_are_one_transition():
    table = {0: {0: [(0.25, 0, 1.0, False), (0.25, 0, 1.0, False), (0.5, 1, 1.0, True)]}}
    table[1] = {0: [(1.0, 1, 0, True)]}
    m = from_gymnasium(env_of(table), discount=0.9)
    assert_array_equal(m.transitions.data, [0.5, 0.5])
    assert m.outcome_reward is None


def test_what_cannot_be_read_is_named():
    with pytest.raises(ConfigError, match=r"CartPole-v1 shows no transition table.*FrozenLake, Cl"):
        from_gymnasium("CartPole-v1", discount=0.9)
    with pytest.raises(ConfigError, match="cannot make 'FrozenLac-v1'"):
        from_gymnasium("FrozenLac-v1", discount=0.9)
    with pytest.raises(ConfigError, match="fickle passenger"):
        from_gymnasium(gymnasium.make("Taxi-v4", fickle_passenger=True), discount=0.9)
    with pytest.raises(ModelError, match="states 0 to 0"):
        from_gymnasium(env_of({1: {0: []}}), discount=0.9)
    with pytest.raises(ModelError, match="state 0, action 0: its successor 7 is no state"):
        from_gymnasium(env_of({0: {0: [(1.0, 7, 0, False)]}}), discount=0.9)
    with pytest.raises(ModelError, match=r"state 0, action 0: its 1 probabilities sum to 0\.5"):
        from_gymnasium(env_of({0: {0: [(0.5, 0, 0, False)]}}), discount=0.9)


def test_without_gymnasium_its_extra_is_named_and_a_table_still_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ConfigError, match=r"pip install logpi\[gym\]"):
        from_gymnasium("FrozenLake-v1", discount=0.9)
    assert from_gymnasium(env_of({0: {0: [(1.0, 0, 1, False)]}}), discount=0.9).states == 1


def test_what_is_no_environment():
    with pytest.raises(ConfigError, match="takes an environment or a name, not None"):
        from_gymnasium(None, discount=0.9)
    with pytest.raises(ConfigError, match=r"cannot make 'FrozenLake-v1'.*unexpected keyword"):
        environment_named("FrozenLake-v1", rows=3)
