"""Softmax policies of a finite MDP: what they are, what they yield, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from logpi.core.errors import ConfigError, ShapeError
from logpi.core.types import Policy
from logpi.worlds.mdp.policy import LinearSoftmax, TabularSoftmax
from logpi.worlds.mdp.steps import Steps
from worlds.mdp.exact.models import bandit, capital, cases, random_model, random_policy


def steps(state, action):
    state, action = torch.tensor(state), torch.tensor(action)
    return Steps(state, action, torch.zeros_like(state))


@given(cases())
def test_rows_are_distributions_over_the_allowed_actions(case):
    m, policy = case
    pi = policy.probabilities()
    assert isinstance(policy, Policy)
    assert (pi[~m.allowed] == 0).all()
    assert (pi[m.allowed] > 0).all()
    assert np.allclose(pi.sum(1), ~m.terminal, atol=1e-14)
    assert torch.equal(policy.table().isneginf(), ~torch.from_numpy(m.allowed))


@given(cases())
def test_no_gradient_is_nan_and_none_reaches_what_is_not_allowed(case):
    _, policy = case
    (
        policy.table().masked_fill(policy.table().isneginf(), 0).sum() + policy.entropies().sum()
    ).backward()
    grads = [p.grad for p in policy.parameters()]
    assert all(g.isfinite().all() for g in grads)
    if isinstance(policy, TabularSoftmax):
        assert (grads[0][~policy.allowed] == 0).all()


def test_scores_of_what_is_not_allowed_are_never_read():
    m = random_model(0)
    logits = np.where(m.allowed, 0.5, np.nan)
    pi = TabularSoftmax(m, logits=logits).probabilities()
    assert np.allclose(pi, m.allowed / np.maximum(m.allowed.sum(1, keepdims=True), 1))


def test_starts_from_the_models_own_policy():
    m = capital()
    assert (
        np.abs(TabularSoftmax(m).probabilities() - np.where(m.allowed, m.policy, 0)).max() < 1e-15
    )
    never = m.having(policy=np.where(m.policy == 0.02, 0, m.policy) + 0.02 * (m.policy == 0.9))
    with pytest.raises(ConfigError, match="action 2 in state 5 with probability 0"):
        TabularSoftmax(never)


def test_starts_uniform_without_one():
    m = random_model(1)
    pi = TabularSoftmax(m).probabilities()
    assert np.allclose(pi, LinearSoftmax(m, np.ones((3, 2, 4))).probabilities())
    assert np.allclose(
        pi[m.allowed], (1 / m.allowed.sum(1, keepdims=True).clip(1)).repeat(2, 1)[m.allowed]
    )


def test_linear_with_indicator_features_is_tabular():
    m = random_model(2, states=4, actions=3)
    h = np.random.default_rng(0).normal(size=(4, 3))
    indicators = np.eye(12).reshape(4, 3, 12)
    linear = LinearSoftmax(m, indicators, weights=h.ravel())
    assert np.allclose(
        linear.probabilities(), TabularSoftmax(m, logits=h).probabilities(), atol=1e-15
    )


def test_log_prob_of_padding_and_of_what_cannot_be():
    m, policy = bandit([0.0, 1.0], [0.25, 0.75])
    known = policy.log_prob(steps([[0, 0]], [[1, 0]]))
    assert known.exp().tolist() == [pytest.approx([0.75, 0.25])]
    forbidden = m.having(allowed=np.array([[False, True], [False, False]]))
    only = TabularSoftmax(forbidden)
    assert only.log_prob(steps([[0, 0]], [[1, 0]])).tolist() == [[0.0, 0.0]]
    with pytest.raises(ConfigError, match=r"row 0 takes action 1 in state 1 \(decision 1\)"):
        only.log_prob(steps([[0, 1]], [[1, 1]]))


def test_parts_hold_the_rows_with_a_live_decision():
    m = random_model(3, states=4, ends=False)
    policy = random_policy(m, 3)
    a = m.allowed.argmax(1)
    inputs = steps([[0, 1], [2, 3], [1, 2]], [[a[0], a[1]], [a[2], a[3]], [a[1], a[2]]])
    live = torch.tensor([[True, False], [False, False], [True, True]])
    (part,) = policy.parts(inputs, live, unit=torch.tensor([0, 0, 1]), entropy=True)
    assert part.rows.tolist() == [0, 2]
    known = policy.log_prob(inputs)[part.rows]
    assert torch.equal(part.logp, torch.where(live[part.rows], known, 0.0))
    pi = policy.probabilities()
    h = -np.where(pi > 0, pi * np.log(np.where(pi > 0, pi, 1)), 0).sum(1)
    assert part.entropy is not None
    assert np.allclose(part.entropy.detach(), [[h[0], 0], [h[1], h[2]]])
    assert list(policy.parts(inputs, live & False, unit=None, entropy=False)) == []
    with pytest.raises(ShapeError, match=r"`live` is \[2, 2\] but the decisions are \[3, 2\]"):
        list(policy.parts(inputs, live[:2]))


def test_dead_decisions_carry_no_gradient():
    m = random_model(4, states=3, ends=True)  # state 2 is terminal: its padding is −inf
    policy = TabularSoftmax(m)
    a = int(m.allowed[0].argmax())
    inputs = steps([[0, 2]], [[a, 0]])
    for part in policy.parts(inputs, torch.tensor([[True, False]]), entropy=True):
        (part.logp.sum() + part.entropy.sum()).backward()
    assert policy.logits.grad.isfinite().all()
    assert (policy.logits.grad[1:] == 0).all()


def test_distribution_is_the_table_of_each_state():
    m = random_model(5)
    policy = random_policy(m, 5)
    inputs = steps([[0, 1]], [[0, 0]])
    assert torch.equal(policy.distribution(inputs)[0, 1], policy.table()[1])
    assert policy.distribution(inputs).requires_grad
    before = policy.snapshot(inputs)
    assert not before.requires_grad
    other = random_policy(m, 6)
    pi, now = np.exp(before.numpy()), other.probabilities()[[0, 1]]
    expected = (pi * np.log(np.where(pi > 0, pi, 1) / np.where(pi > 0, now, 1))).sum(2)
    assert np.allclose(other.kl_from(inputs, before).detach(), expected)
    assert policy.kl_from(inputs, before).abs().max() == 0


def test_a_copy_is_frozen_and_its_own():
    m = random_model(6)
    policy = random_policy(m, 6)
    copy = policy.copy()
    assert not copy.logits.requires_grad
    before = copy.probabilities()
    with torch.no_grad():
        policy.logits += torch.randn_like(policy.logits)
    assert np.array_equal(copy.probabilities(), before)
    assert policy.logits.requires_grad
    assert not np.array_equal(policy.probabilities(), before)


def test_only_parameters_are_saved():
    m = random_model(7)
    assert list(random_policy(m, 7).state_dict()) == ["logits"]
    assert list(random_policy(m, 7, linear=True).state_dict()) == ["weights"]


def test_float32_on_demand():
    m = random_model(8)
    assert TabularSoftmax(m, dtype=torch.float32).table().dtype == torch.float32
    assert TabularSoftmax(m).table().dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda m: TabularSoftmax(m, logits=np.zeros((2, 2))), ShapeError, r"\[2, 2\] but must be"),
        (
            lambda m: TabularSoftmax(m, logits=np.full((3, 2), np.inf)),
            ConfigError,
            "must be finite",
        ),
        (lambda m: LinearSoftmax(m, np.zeros((3, 2))), ShapeError, r"\[3, 2, 'd'\]"),
        (
            lambda m: LinearSoftmax(m, np.zeros((3, 2, 2)), weights=np.zeros(3)),
            ShapeError,
            "2 features",
        ),
        (lambda m: LinearSoftmax(m, np.full((3, 2, 2), np.nan)), ConfigError, "must be finite"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(random_model(9))


# The published numbers -------------------------------------------------------------------------


def test_one_softmax_step():
    """θ = (0, 0), A = (1, −1), step .1 along Σ_a A_a ∇logπ(a): a lecture notebook's output."""
    policy = TabularSoftmax(bandit([1.0, -1.0], [0.5, 0.5])[0])
    (policy.table()[0] * torch.tensor([1.0, -1.0], dtype=torch.float64)).sum().backward()
    with torch.no_grad():
        policy.logits += 0.1 * policy.logits.grad
    assert np.allclose(policy.logits.detach()[0], [0.1, -0.1], atol=1e-15)
    assert np.allclose(policy.probabilities()[0], [0.549834, 0.450166], atol=1e-6)


def test_a_cross_entropy_step_is_a_policy_gradient_step():
    """π = (.2, .5, .3), arm 0 with reward 1, step .1: ∇ of the loss is π − 1[arm]."""
    _, policy = bandit([1.0, 0.0, 0.0], [0.2, 0.5, 0.3])
    inputs, live = steps([[0]], [[0]]), torch.tensor([[True]])
    (part,) = policy.parts(inputs, live)
    (-1.0 * part.logp).sum().backward()
    ours = policy.logits.grad[0].clone()
    theta = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log().requires_grad_()
    torch.nn.functional.cross_entropy(theta[None], torch.tensor([0])).backward()
    assert np.allclose(ours, [-0.8, 0.5, 0.3], atol=1e-15)
    assert torch.allclose(ours, theta.grad, atol=1e-16)
    with torch.no_grad():
        policy.logits -= 0.1 * policy.logits.grad
    assert np.allclose(policy.probabilities()[0], [0.2203, 0.4836, 0.296], atol=5e-5)
