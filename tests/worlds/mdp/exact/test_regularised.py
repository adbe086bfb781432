"""KL of whole trajectories, and the closed form of the best policy near a reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.exact import (
    OBJECTIVES,
    Given,
    flat_gradient,
    regularised_optimum,
    state_kl,
    trajectories,
    trajectory_kl,
)
from logpi.worlds.mdp.policy import TabularSoftmax
from worlds.mdp.exact.models import bandit, capital, cases, gap, random_model, random_policy


@given(cases(), st.integers(1, 3))
@settings(max_examples=30)
def test_it_is_the_kl_of_enumerated_trajectories(case, horizon):
    m, policy = case
    other = random_policy(m, 17)
    p, q = (trajectories(m, x, horizon=horizon).probability for x in (policy, other))
    expected = torch.where(p > 0, p * (p / q).log(), 0.0).sum()
    assert gap(trajectory_kl(m, policy, other, horizon=horizon), expected) < 1e-12


@given(cases(), st.integers(1, 3))
@settings(max_examples=20)
def test_its_gradient_too_in_both_directions(case, horizon):
    m, policy = case
    other = random_policy(m, 18)
    found = trajectories(m, policy, horizon=horizon)
    for one, two in ((policy, other), (other, policy)):
        a, b = (found.log_prob(x.table()).sum(1) for x in (one, two))
        expected = (found.environment * a.exp() * (a - b)).sum()
        ours = trajectory_kl(m, one, two, horizon=horizon)
        assert gap(flat_gradient(ours, policy), flat_gradient(expected, policy)) < 1e-12


@given(cases())
@settings(max_examples=20)
def test_of_one_decision_it_is_the_states_own(case):
    m, policy = case
    other = random_policy(m, 19)
    ours = trajectory_kl(m, policy, other, horizon=1)
    assert gap(ours, torch.from_numpy(m.start) @ state_kl(m, policy, other)) < 1e-14
    assert trajectory_kl(m, policy, policy, horizon=3).item() == 0


def test_an_infinite_divergence_is_said():
    m, policy = bandit([0.0, 1.0], [0.5, 0.5])
    with pytest.raises(ConfigError, match="take action 0 in state 0 and the other never does"):
        trajectory_kl(m, policy, [1, 0])
    assert trajectory_kl(m, [1, 0], policy).item() == pytest.approx(np.log(2))


def tree(seed, depth=3, arms=3):
    """A model where actions alone decide: a prefix tree with random rewards, and a policy."""
    m = random_model(seed, states=2 ** (depth + 1), actions=2, discount=1.0)
    n = 2 ** (depth + 1) - 1
    g = np.random.default_rng(seed)
    p = np.zeros((n, 2, n))
    inner = np.arange(2**depth - 1)
    for a in (0, 1):
        p[inner, a, 2 * inner + 1 + a] = 1
    p[2**depth - 1 :, :, -1] = 1
    from scipy.sparse import csr_array

    allowed = np.zeros((n, 2), bool)
    allowed[inner] = True
    m = m.having(
        transitions=csr_array(p.reshape(2 * n, n)),
        reward=g.normal(size=(n, 2)),
        start=np.eye(1, n)[0],
        allowed=allowed,
    )
    return m, random_policy(m, seed)


def soft_backup(m, reference, beta):
    """V = β log Σ_a π_ref exp((r + V(s'))/β), from the leaves up; and π* ∝ π_ref exp(Q/β)."""
    v, q = np.zeros(m.states), np.zeros((m.states, m.actions))
    pi = np.zeros_like(q)
    for _ in range(m.states):
        q = m.reward + (m.transitions @ v).reshape(q.shape)
        tilted = np.where(m.allowed, reference * np.exp(q / beta), 0)
        v = np.where(m.terminal, 0, beta * np.log(np.maximum(tilted.sum(1), 1e-300)))
        pi = tilted / np.maximum(tilted.sum(1, keepdims=True), 1e-300)
    return v, pi


@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=15)
def test_the_closed_form_solves_the_soft_bellman_equation(seed, beta):
    m, reference = tree(seed)
    best = regularised_optimum(m, reference, beta=beta)
    v, pi = soft_backup(m, reference.probabilities(), beta)
    assert np.abs(best.policy - pi).max() < 1e-9
    assert gap(best.objective, m.start @ v) < 1e-12


@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=15)
def test_where_actions_alone_decide_it_is_the_tilted_law_of_trajectories(seed, beta):
    """p*(τ) = p_ref(τ) exp(R(τ)/β) / Z, from all trajectories at once; max = β log Z."""
    m, reference = tree(seed)
    best = regularised_optimum(m, reference, beta=beta)
    found = trajectories(m, reference)
    tilted = found.probability.log() + found.returns(1.0) / beta
    assert gap(best.objective, beta * tilted.logsumexp(0)) < 1e-12 * max(1, beta)
    assert gap(trajectories(m, best.policy).probability, tilted.softmax(0)) < 1e-10


@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_luck_discounts_and_loops_change_nothing_of_that(seed):
    """J(π*) − J(π) = β E_π[Σ γ^t log(π/π*)] in any model, for the regularised J; and ∇J(π*) = 0."""
    m = random_model(seed, states=5, discount=0.8, ends=seed % 2 == 0)
    reference, policy, beta = random_policy(m, seed), random_policy(m, seed + 1), 0.4
    best = regularised_optimum(m, reference, beta=beta)
    objective = OBJECTIVES["return − β·reverse KL"]
    given_ = Given(reference=reference, beta=beta)
    short = best.objective - float(objective(m, policy, given_).detach())
    assert short > 0
    assert gap(short, beta * best.distance(m, policy)) < 1e-9 * max(1.0, short)
    there = TabularSoftmax(m, logits=np.log(np.where(m.allowed, best.policy, 1)))
    assert flat_gradient(objective(m, there, given_), there).abs().max() < 1e-8


@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_what_a_policy_falls_short_by_is_its_distance(seed):
    """J(π*) − J(π) = β KL(π‖π*), for the regularised J: exactly, for every policy."""
    m, reference = tree(seed)
    beta = 0.7
    best = regularised_optimum(m, reference, beta=beta)
    policy = random_policy(m, seed + 1)
    given_ = Given(reference=reference, beta=beta)
    reached = OBJECTIVES["return − β·reverse KL"](m, policy, given_)
    short = best.objective - float(reached.detach())
    assert short > 0
    assert gap(short, beta * best.distance(m, policy)) < 1e-11


def test_its_gradient_vanishes_there():
    m, reference = tree(5)
    best = regularised_optimum(m, reference, beta=0.5)
    pi = TabularSoftmax(m, logits=np.log(np.where(m.allowed, best.policy, 1)))
    reached = OBJECTIVES["return − β·reverse KL"](m, pi, Given(reference=reference, beta=0.5))
    assert flat_gradient(reached, pi).abs().max() < 1e-12
    assert float(reached.detach()) == pytest.approx(best.objective, abs=1e-12)


def test_a_bandit_and_the_capital():
    m, reference = bandit([1.0, 2.0, 4.0], [0.2, 0.5, 0.3])
    tilted = np.array([0.2, 0.5, 0.3]) * np.exp(np.array([1.0, 2.0, 4.0]) / 2)
    best = regularised_optimum(m, reference, beta=2.0)
    assert np.allclose(best.policy[0], tilted / tilted.sum(), atol=1e-14)
    assert best.objective == pytest.approx(2 * np.log(tilted.sum()), abs=1e-12)
    m = capital()
    best = regularised_optimum(m, m.policy, beta=20.0)
    tilted = np.array([0.9, 0.08, 0.02]) * np.exp([0.5, -0.5, -0.5])
    assert np.allclose(best.policy[5], tilted / tilted.sum(), atol=1e-14)
    assert np.allclose(best.policy[:5, 0], 1)


def test_large_rewards_do_not_overflow():
    m, reference = bandit([1.0, 2.0, 4.0], [0.2, 0.5, 0.3])
    best = regularised_optimum(m, reference, beta=1e-3)
    assert best.policy[0].tolist() == [0, 0, 1]
    assert best.objective == pytest.approx(4 + 1e-3 * np.log(0.3), abs=1e-12)


def test_single_precision_is_solved_in_double():
    m, reference = bandit([1.0, 2.0, 4.0], [0.2, 0.5, 0.3])
    one, other = (regularised_optimum(x, reference, beta=0.5) for x in (m, m.astype(np.float32)))
    assert np.abs(one.policy - other.policy).max() < 1e-12


def test_where_there_is_no_best_policy():
    m, _ = tree(6)
    with pytest.raises(ConfigError, match="must be positive"):
        regularised_optimum(m, random_policy(m, 6), beta=0.0)
    endless = random_model(8, ends=False, discount=1.0)
    with pytest.raises(ModelError):
        regularised_optimum(endless, random_policy(endless, 8), beta=1.0)
