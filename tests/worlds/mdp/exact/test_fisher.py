"""The score, the Fisher information, and the natural gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.train.natural import step_length
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.exact import (
    fisher,
    flat_gradient,
    gradient,
    natural_gradient,
    score_matrix,
    state_kl,
    trajectories,
)
from logpi.worlds.mdp.exact.gradient import weights_and_q
from logpi.worlds.mdp.exact.sums import visits
from logpi.worlds.mdp.planning import advantages, visitation
from logpi.worlds.mdp.policy import TabularSoftmax
from worlds.mdp.exact.models import cases, gap, random_model, random_policy


@given(cases(states=4, actions=3))
@settings(max_examples=20)
def test_the_score_is_each_log_probabilitys_gradient(case):
    m, policy = case
    score = score_matrix(policy)
    for s, a in np.argwhere(m.allowed):
        assert gap(score[s, a], flat_gradient(policy.table()[s, a], policy)) < 1e-15
    assert (score[~policy.allowed] == 0).all()


@given(cases(states=4, actions=3))
@settings(max_examples=20)
def test_the_mean_score_is_zero(case):
    _, policy = case
    pi = torch.from_numpy(policy.probabilities())
    assert (pi[:, :, None] * score_matrix(policy)).sum(1).abs().max() < 1e-14


def test_large_tables_come_in_blocks():
    m = random_model(0, states=40, actions=30)  # 1200 entries
    policy = random_policy(m, 0, linear=True)
    score, x = score_matrix(policy), policy.features
    pi = policy.table().exp().detach()
    expected = x - (pi[:, :, None] * x).sum(1, keepdim=True)
    assert gap(score, expected.masked_fill(~policy.allowed[:, :, None], 0)) < 1e-14


@given(cases(), st.booleans(), st.sampled_from([None, 3]))
@settings(max_examples=20)
def test_the_fisher_is_the_hessian_of_the_kl(case, start_discounted, horizon):
    """Of Σ_s d(s) KL(π_old‖π) with d held fixed."""
    m, policy = case
    if not start_discounted and horizon is None:
        horizon = 2
    d = visits(
        m,
        policy.probabilities(),
        discount=m.discount if start_discounted else 1.0,
        horizon=horizon,
    ).sum(0)
    old, (p,) = policy.copy(), policy.parameters()

    def divergence(flat):
        with_flat = torch.func.functional_call(
            _Table(policy), {"policy." + policy_name(policy): flat.view_as(p)}, ()
        )
        return torch.from_numpy(d) @ state_kl(m, old, _Fixed(with_flat))

    hessian = torch.autograd.functional.hessian(divergence, p.detach().flatten())
    found = fisher(m, policy, start_discounted=start_discounted, horizon=horizon)
    assert gap(found, hessian) < 1e-12


def policy_name(policy):
    return next(iter(policy.named_parameters()))[0]


class _Table(torch.nn.Module):
    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self):
        return self.policy.table()


class _Fixed:
    def __init__(self, table):
        self._table = table

    def table(self):
        return self._table


@given(cases(discounts=(1.0,)))
@settings(max_examples=10)
def test_it_is_the_fisher_of_whole_trajectories(case):
    """Σ_τ p(τ) ∇log p(τ) ∇log p(τ)ᵀ, where nothing is discounted."""
    m, policy = case
    found = trajectories(m, policy, horizon=2)
    logp = found.log_prob(policy.table()).sum(1)
    score = torch.stack([flat_gradient(x, policy) for x in logp])
    assert gap(score.T @ (found.probability[:, None] * score), fisher(m, policy, horizon=2)) < 1e-13


@given(cases(states=4, actions=3, discounts=(0.5, 0.9)), st.sampled_from([None, 3]))
@settings(max_examples=20)
def test_the_natural_gradient_solves_its_equation(case, horizon):
    m, policy = case
    x = natural_gradient(m, policy, horizon=horizon)
    f, g = fisher(m, policy, horizon=horizon), gradient(m, policy, horizon=horizon)
    assert gap(f @ x, g) < 1e-11
    assert gap(torch.linalg.pinv(f, hermitian=True, rtol=1e-10) @ f @ x, x) < 1e-5  # the shortest


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=20)
def test_of_a_tabular_softmax_it_is_the_advantage(seed, start_discounted):
    """Kakade 2001: up to a constant in each state, and whatever the weight of the states."""
    m = random_model(seed, states=4, actions=3)
    policy = random_policy(m, seed)
    x = natural_gradient(m, policy, start_discounted=start_discounted).view(4, 3).numpy()
    _, q = weights_and_q(m, policy.probabilities())
    for s in np.flatnonzero(~m.terminal):
        here = m.allowed[s]
        assert np.allclose(x[s, here], q[0, s, here] - q[0, s, here].mean(), atol=1e-8)
        assert np.allclose(x[s, ~here], 0, atol=1e-10)


def test_it_does_not_depend_on_the_parameters():
    """The same policies in other coordinates: the probabilities move the same way."""
    m = random_model(3, states=3, actions=3, ends=False)
    policy = random_policy(m, 3, linear=True)
    stretch = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.5, 2.0], [0.0, 0.0, 7.0]]).double()
    from logpi.worlds.mdp.policy import LinearSoftmax

    weights = torch.linalg.solve(stretch, policy.weights.detach())
    other = LinearSoftmax(m, policy.features @ stretch, weights=weights)
    assert np.allclose(other.probabilities(), policy.probabilities(), atol=1e-12)
    moves = [score_matrix(p) @ natural_gradient(m, p) for p in (policy, other)]
    assert gap(moves[0], moves[1]) < 1e-8
    plain = [score_matrix(p) @ gradient(m, p) for p in (policy, other)]
    assert gap(plain[0], plain[1]) > 1e-2


def test_a_policy_without_parameters_has_no_score():
    m = random_model(4)
    with pytest.raises(ConfigError, match="no gradient"):
        score_matrix(random_policy(m, 4).copy())


def test_a_trust_regions_step_on_the_book_grid():
    """Zhao's 2 by 2 grid, γ = .9, the uniform policy everywhere at once, δ = .01: TRPO, App. C.

    TRPO's Fisher information is the mean per decision, so its x is 10 advantages, its step
    √(2δ / xᵀFx) = .0186, and the KL, which is only quadratic near 0, comes to .0104.
    """
    m = zoo.make("book_grid", rows=2, cols=2, forbidden=[(0, 1)], target=(1, 1), discount=0.9)
    policy = TabularSoftmax(m)
    d = visitation(m, policy.probabilities())
    F = fisher(m, policy) / d.sum()
    x = torch.linalg.pinv(F, hermitian=True) @ gradient(m, policy)
    step = step_length(0.01, float(x @ F @ x))
    assert step == pytest.approx(0.018573813641020547, abs=1e-12)
    moved = TabularSoftmax(m, logits=policy.logits.detach() + step * x.view(m.states, m.actions))
    kl = torch.from_numpy(d / d.sum()) @ state_kl(m, policy, moved)
    assert float(kl.detach()) == pytest.approx(0.010363815725330771, abs=1e-12)
    advantage = torch.from_numpy(advantages(m, policy.probabilities()))
    assert torch.allclose(x.view(m.states, m.actions), 10 * advantage, atol=1e-9)
    assert torch.allclose(natural_gradient(m, policy), x / d.sum(), atol=1e-9)
