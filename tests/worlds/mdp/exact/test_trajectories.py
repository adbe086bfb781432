"""All trajectories: counted before they are made, all there, and with the right probability."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact import count_trajectories, longest, objective, trajectories
from worlds.mdp.exact.models import bandit, capital, cases, gap, random_model, random_policy


def by_hand(m, pi, horizon):
    """{(s, a, s', a', ...): (probability, return)} by plain recursion."""
    found = {}

    def walk(path, s, p, earned, t):
        if m.terminal[s] or t == horizon:
            found[(*path, s)] = (p, earned)
            return
        for a in np.flatnonzero(m.allowed[s]):
            for s2, p2 in zip(*m.row(s, a), strict=True):
                if p2 > 0:
                    walk(
                        (*path, s, a),
                        s2,
                        p * pi[s, a] * p2,
                        earned + m.discount**t * m.reward[s, a],
                        t + 1,
                    )

    for s in np.flatnonzero(m.start):
        walk((), s, m.start[s], 0.0, 0)
    return found


@given(cases(), st.integers(1, 3))
@settings(max_examples=30)
def test_they_are_all_there(case, horizon):
    m, policy = case
    m = m.having(outcome_reward=None)
    found = trajectories(m, policy, horizon=horizon)
    expected = by_hand(m, policy.probabilities(), horizon)
    assert len(found.probability) == len(expected) == count_trajectories(m, horizon=horizon)
    assert abs(float(found.probability.sum()) - 1) < 1e-13
    returns = found.returns(m.discount)
    for i, n in enumerate(found.length.tolist()):
        if n == 0:
            continue
        pairs = torch.stack([found.state[i, :n], found.action[i, :n]], 1).flatten().tolist()
        p, earned = expected[(*pairs, int(found.next_state[i, n - 1]))]
        assert abs(float(found.probability[i]) - p) < 1e-14
        assert abs(float(returns[i]) - earned) < 1e-12
        assert bool(found.terminated[i]) == bool(m.terminal[found.next_state[i, n - 1]])
    assert torch.equal(found.mask.sum(1), found.length)


@given(cases(), st.integers(1, 3))
@settings(max_examples=30)
def test_their_mean_return_is_the_objective(case, horizon):
    m, policy = case
    found = trajectories(m, policy, horizon=horizon)
    mean = float(found.probability @ found.returns(m.discount))
    assert gap(mean, objective(m, policy, horizon=horizon)) < 1e-12
    logp = found.log_prob(policy.table()).sum(1)
    assert gap(found.probability, found.environment * logp.exp()) < 1e-14


def test_the_order_is_that_of_states_and_actions():
    m = random_model(1, states=2, ends=False)
    found = trajectories(m, random_policy(m, 1), horizon=2)
    moves = torch.stack([found.state, found.action, found.next_state], 2).flatten(1)
    rows = [tuple(r) for r in moves.tolist()]
    assert rows == sorted(rows)


def test_padding_is_zero():
    m = random_model(2)
    found = trajectories(m, random_policy(m, 2), horizon=3)
    out = ~found.mask
    assert out.any()
    for x in (found.state, found.action, found.next_state, found.reward):
        assert (x[out] == 0).all()


def test_a_reward_of_the_successor_is_paid_to_it():
    m = random_model(3, by_outcome=True)
    found = trajectories(m, random_policy(m, 3), horizon=1)
    paid, first = {}, m.transitions.indptr
    for s, a in itertools.product(range(3), range(2)):
        for nth, s2 in enumerate(m.row(s, a)[0].tolist()):
            paid[s, a, s2] = m.outcome_reward[first[2 * s + a] + nth]
    decided = found.mask[:, 0]
    moves = torch.cat([found.state, found.action, found.next_state], 1)[decided].tolist()
    assert [paid[tuple(move)] for move in moves] == found.reward[decided, 0].tolist()


def test_a_start_that_is_terminal_is_a_trajectory_of_no_decision():
    m = random_model(4).having(start=np.array([0.5, 0.0, 0.5]))
    found = trajectories(m, random_policy(m, 4), horizon=2)
    empty = found.length == 0
    assert float(found.probability[empty]) == 0.5
    assert bool(found.terminated[empty])
    nowhere = m.having(start=np.array([0.0, 0.0, 1.0]))
    assert trajectories(nowhere, random_policy(m, 4), horizon=2).state.shape == (1, 0)


def test_without_a_horizon_they_end_by_themselves():
    m = capital()
    found = trajectories(m, m.policy)
    assert longest(m) == 6
    assert found.length.tolist() == [6, 6, 6]
    assert found.probability.tolist() == pytest.approx([0.9, 0.08, 0.02])
    assert found.reward.sum(1).tolist() == [10, -10, -10]
    levels = random_model(5, states=5, horizon=5)
    assert torch.equal(
        trajectories(levels, random_policy(levels, 5)).state,
        trajectories(levels, random_policy(levels, 5), horizon=9).state,
    )


def test_a_loop_has_no_longest_trajectory():
    m, _ = bandit([0.0, 1.0], [0.5, 0.5])
    assert longest(m) == 1
    loops = random_model(6, ends=True)
    with pytest.raises(ConfigError, match="can return to a state"):
        longest(loops)
    with pytest.raises(ConfigError, match="give `horizon`"):
        trajectories(loops, random_policy(loops, 6))
    itself = m.having(transitions=csr_array(np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]])))
    with pytest.raises(ConfigError, match="can return to a state"):
        longest(itself)


def test_a_loop_out_of_reach_does_not_matter():
    m = random_model(7, states=4).having(start=np.array([0.0, 0.0, 0.0, 1.0]))
    assert longest(m) == 0


def test_too_many_are_counted_and_not_made():
    m = random_model(8, states=3, ends=False)
    many = count_trajectories(m, horizon=12)
    assert many > 10_000
    with pytest.raises(
        ConfigError, match=f"there are {many:,} trajectories of at most 12 decisions"
    ):
        trajectories(m, random_policy(m, 8), horizon=12, limit=10_000)
    with pytest.raises(ConfigError, match=r"e\+\d\d\d trajectories"):
        trajectories(m, random_policy(m, 8), horizon=300)
    with pytest.raises(ConfigError, match=r"e\+308 trajectories .* sample instead"):
        trajectories(m, random_policy(m, 8), horizon=3000)
    with pytest.raises(ConfigError, match="at least 1 decision"):
        trajectories(m, random_policy(m, 8), horizon=0)


def test_two_actions_for_three_decisions():
    """3 states that all lead to all, 2 actions, 3 decisions: 3·(2·3)³ paths."""
    g = np.random.default_rng(0)
    m = random_model(9).having(
        transitions=csr_array(g.dirichlet(np.ones(3), size=6)), allowed=np.ones((3, 2), bool)
    )
    assert count_trajectories(m, horizon=3) == 3 * 6**3
