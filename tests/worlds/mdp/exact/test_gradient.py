"""∇J by three ways that share nothing, by finite differences, and as it is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.exact import beta, flat_gradient, gradient, objective
from logpi.worlds.mdp.exact.gradient import value_of_visited, weights_and_q
from logpi.worlds.mdp.exact.sums import expected_sum, reward_table, values, visits
from logpi.worlds.mdp.exact.tables import log_ratio, log_table, parameters
from worlds.mdp.exact.models import (
    bandit,
    capital,
    cases,
    corridor,
    corridor_policy,
    gap,
    random_model,
    random_policy,
)

WAYS = ("bellman", "theorem", "enumeration")


def finite_differences(f, policy, h=1e-5):
    """∂f/∂θ by central differences, parameter by parameter."""
    found = []
    for p in policy.parameters():
        flat = p.detach().view(-1)
        for i in range(flat.numel()):
            at = float(flat[i])
            up, down = (float(f(flat.__setitem__(i, at + sign * h))) for sign in (1, -1))
            flat[i] = at
            found.append((up - down) / (2 * h))
    return torch.tensor(found, dtype=torch.float64)


@given(cases(), st.integers(1, 4), st.booleans())
def test_three_ways_agree_with_a_horizon(case, horizon, start_discounted):
    m, policy = case
    a, b, c = (
        gradient(m, policy, how=how, start_discounted=start_discounted, horizon=horizon)
        for how in WAYS
    )
    assert gap(a, b) < 1e-12
    assert gap(c, b) < 1e-12


@given(cases(states=5, horizon=5), st.booleans())
def test_three_ways_agree_where_everything_ends(case, start_discounted):
    m, policy = case
    a, b, c = (gradient(m, policy, how=how, start_discounted=start_discounted) for how in WAYS)
    assert gap(a, b) < 1e-12
    assert gap(c, b) < 1e-12


@given(cases(states=5, actions=3), st.booleans())
def test_two_ways_agree_for_ever(case, start_discounted):
    m, policy = case
    a, b = (gradient(m, policy, how=how, start_discounted=start_discounted) for how in WAYS[:2])
    assert gap(a, b) < 1e-12


@given(cases(discounts=(0.0, 0.5, 0.9), states=4, ends=False))
def test_two_ways_agree_where_nothing_ends(case):
    m, policy = case
    assert gap(gradient(m, policy), gradient(m, policy, how="theorem")) < 1e-12


@given(cases(), st.sampled_from([None, 1, 3]))
@settings(max_examples=25)
def test_it_is_the_slope_of_the_objective(case, horizon):
    m, policy = case
    slope = finite_differences(lambda _: objective(m, policy, horizon=horizon), policy)
    assert gap(gradient(m, policy, horizon=horizon), slope) < 1e-7


@given(cases(), st.sampled_from([None, 3]))
@settings(max_examples=25)
def test_the_gradient_does_not_depend_on_a_start_that_never_happens(case, horizon):
    """Linear in the start distribution: the mean over starts of each start's own gradient."""
    m, policy = case
    eye = np.eye(m.states)
    each = [gradient(m.having(start=eye[s]), policy, horizon=horizon) for s in range(m.states)]
    mean = torch.from_numpy(m.start) @ torch.stack(each)
    assert gap(mean, gradient(m, policy, horizon=horizon)) < 1e-12


# Both conventions ------------------------------------------------------------------------------


@given(cases(discounts=(1.0,)), st.sampled_from([None, 2]))
def test_undiscounted_both_conventions_are_one(case, horizon):
    m, policy = case
    both = [gradient(m, policy, start_discounted=x, horizon=horizon) for x in (True, False)]
    assert gap(both[0], both[1]) < 1e-12


def test_what_dropping_the_discount_ascends():
    """Locally Σ w(s) V(s) with w held fixed: its slope by finite differences, w computed before."""
    m = random_model(11, states=4, actions=3, discount=0.7)
    policy = random_policy(m, 11)
    pi = policy.probabilities()
    w = m.start + (1 - m.discount) * (visits(m, pi, discount=1.0)[0] - m.start)

    def of_visited(_):
        v = values(m, policy.table(), reward_table(m), discount=m.discount)[0]
        return w @ v.detach().numpy()

    slope = finite_differences(of_visited, policy)
    assert gap(gradient(m, policy, start_discounted=False), slope) < 1e-7
    assert gap(flat_gradient(value_of_visited(m, policy), policy), slope) < 1e-7
    assert gap(gradient(m, policy), slope) > 1e-2


def test_dropping_the_discount_is_no_gradient():
    """A gradient field has a symmetric Jacobian. ∇J has; without γ^t it has not."""
    m = random_model(12, states=4, actions=2, discount=0.5)
    policy = random_policy(m, 12)

    def jacobian(start_discounted):
        columns = []
        for i in range(policy.logits.numel()):
            flat, h = policy.logits.detach().view(-1), 1e-5
            pair = []
            for sign in (1, -1):
                flat[i] += sign * h
                pair.append(gradient(m, policy, start_discounted=start_discounted))
                flat[i] -= sign * h
            columns.append((pair[0] - pair[1]) / (2 * h))
        return torch.stack(columns)

    right, common = jacobian(True), jacobian(False)
    assert gap(right, right.T) < 1e-8
    assert gap(common, common.T) > 1e-3


# Known by hand ---------------------------------------------------------------------------------


def of_corridor(p):
    return (2 * p - 4) / (p * (1 - p))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.585786, 0.95])
def test_short_corridor(p):
    """Sutton & Barto, example 13.1: J(p) = (2p − 4) / (p (1 − p))."""
    m, policy = corridor_policy(p)
    assert objective(m, policy) == pytest.approx(of_corridor(p), rel=1e-12)
    # dJ/dp · dp/dw, and dp/dw = p (1 − p)
    slope = 2 / (p * (1 - p)) - (2 * p - 4) * (1 - 2 * p) / (p * (1 - p)) ** 2
    for how in ("bellman", "theorem"):
        assert float(gradient(m, policy, how=how)) == pytest.approx(
            slope * p * (1 - p), rel=1e-9, abs=1e-6
        )


def test_short_corridor_at_its_best():
    """The best probability of going right is 2 − √2, and even that takes 11.66 steps."""
    best = 2 - np.sqrt(2)
    m, policy = corridor_policy(best)
    assert best == pytest.approx(0.585786, abs=1e-6)
    assert objective(m, policy) == pytest.approx(-11.656854, abs=1e-6)
    assert objective(zoo.make("short_corridor"), policy) == objective(m, policy)
    assert abs(float(gradient(m, policy))) < 1e-12
    assert objective(*corridor_policy(0.05)) == pytest.approx(-82.1053, abs=1e-4)
    assert objective(*corridor_policy(0.95)) == pytest.approx(-44.2105, abs=1e-4)


def test_capital():
    """J = 8, q of the cities ±10, and the city's exact gradient (1.8, −1.44, −.36)."""
    m = capital()
    policy = random_policy(m, 0)
    with torch.no_grad():
        policy.logits.copy_(torch.from_numpy(np.log(np.where(m.allowed, m.policy, 1))))
    assert objective(m, policy) == pytest.approx(8, abs=1e-12)
    for how in WAYS:
        g = gradient(m, policy, how=how).view(7, 3)
        assert np.allclose(g[5], [1.8, -1.44, -0.36], atol=1e-12)
        assert g[:5].abs().max() < 1e-12  # the prefix cannot be decided otherwise
    weight, q = weights_and_q(m, policy.probabilities())
    assert np.allclose(q[0, 5] - 8, [2, -18, -18])
    assert np.allclose(q[0, :5, 0], 8)
    assert np.allclose(weight[0], 1)


def test_bandit():
    """∇J = π (q − J)."""
    m, policy = bandit([1.0, 2.0, 4.0], [0.2, 0.5, 0.3])
    expected = np.array([0.2, 0.5, 0.3]) * (np.array([1, 2, 4]) - 2.4)
    for how in WAYS:
        assert np.allclose(gradient(m, policy, how=how)[:3], expected, atol=1e-15)


def test_beta_weighs_the_gradient_of_probabilities():
    """∇logπ · q = β ∇π, with β = q/π: a larger value or a rarer action pushes harder."""
    m, policy = bandit([1.0, 2.0, 4.0], [0.2, 0.5, 0.3])
    assert np.allclose(beta(m, policy)[0], [1 / 0.2, 2 / 0.5, 4 / 0.3])
    assert (beta(m, policy)[1] == 0).all()
    q, pi = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), policy.table()[0].exp()
    one = flat_gradient((policy.table()[0] * q).sum(), policy)
    two = flat_gradient((pi * torch.from_numpy(beta(m, policy)[0])).sum(), policy)
    assert gap(one, two) < 1e-14
    with pytest.raises(ConfigError, match="never takes action 0 in state 0"):
        beta(m, [1, 0])


# The pieces ------------------------------------------------------------------------------------


@given(cases(), st.sampled_from([None, 1, 4]))
@settings(max_examples=25)
def test_values_and_visits_weigh_the_same(case, horizon):
    """start · V = d · r_π: forwards and backwards."""
    m, policy = case
    pi = policy.probabilities()
    backwards = expected_sum(
        m, policy.table(), reward_table(m), discount=m.discount, horizon=horizon
    )
    seen = visits(m, pi, discount=m.discount, horizon=horizon).sum(0)
    forwards = seen @ (pi * np.where(m.allowed, m.reward, 0)).sum(1)
    assert gap(float(backwards.detach()), forwards) < 1e-12


@given(cases(states=4, horizon=4))
@settings(max_examples=25)
def test_a_horizon_beyond_the_end_changes_nothing(case):
    m, policy = case
    assert gap(gradient(m, policy, horizon=10), gradient(m, policy)) < 1e-12
    assert gap(objective(m, policy, horizon=10), objective(m, policy)) < 1e-12


def test_arrays_are_policies_too():
    m = random_model(13)
    policy = random_policy(m, 13)
    assert gap(objective(m, policy.probabilities()), objective(m, policy)) < 1e-12
    assert gap(log_table(m, policy.probabilities()).exp(), policy.probabilities()) < 1e-15


def test_log_ratio_is_zero_where_nothing_is_taken():
    m = random_model(14)
    a, b = random_policy(m, 1).table(), random_policy(m, 2).table()
    ratio = log_ratio(m, a, b)
    assert ratio.isfinite().all()
    assert (ratio[~torch.from_numpy(m.allowed)] == 0).all()


def test_it_is_there_under_no_grad():
    """A step is taken under no_grad, and its gradient computed in the same line."""
    m = random_model(16)
    policy = random_policy(m, 16)
    expected = gradient(m, policy)
    with torch.no_grad():
        for how in WAYS:
            assert gradient(m, policy, how=how, horizon=3).abs().max() > 1e-3
        assert torch.equal(gradient(m, policy), expected)
        lost = policy.table()[0, 0]
    with pytest.raises(ConfigError, match="carries no gradient"):
        flat_gradient(lost, policy)


# What is refused -------------------------------------------------------------------------------


def test_what_is_refused():
    m = random_model(15, discount=1.0, ends=False)
    policy = random_policy(m, 15)
    with pytest.raises(ModelError, match="never reaches a terminal state"):
        gradient(m, policy)
    with pytest.raises(ModelError, match="start_discounted=True"):
        gradient(m.having(discount=0.5), policy, start_discounted=False)
    with pytest.raises(ModelError, match="Give `horizon`"):
        gradient(m.having(discount=0.5), policy, how="theorem", start_discounted=False)
    with pytest.raises(ConfigError, match="give `horizon`"):
        gradient(m, policy, how="enumeration")
    with pytest.raises(ConfigError, match="Did you mean `theorem`"):
        gradient(m, policy, how="theorm")
    with pytest.raises(ConfigError, match="at least one decision"):
        objective(m, policy, horizon=0)
    with pytest.raises(ConfigError, match="has no gradient: all its parameters are frozen"):
        parameters(policy.copy())
    with pytest.raises(ConfigError, match="has no gradient: it is a ndarray"):
        gradient(m.having(discount=0.5), policy.probabilities())
    with pytest.raises(ValueError, match="Was the policy made for another model"):
        objective(corridor(), policy)


def test_large_models_go_by_the_theorem():
    n = 4001  # a line: each state leads to the next
    line = np.minimum(np.arange(n) + 1, n - 1)
    m = random_model(0).having(
        transitions=csr_array((np.ones(n), line, np.arange(n + 1)), shape=(n, n)),
        reward=np.ones((n, 1)),
        start=np.eye(1, n)[0],
        allowed=np.ones((n, 1), bool),
        policy=None,
    )
    policy = random_policy(m, 0)
    with pytest.raises(ConfigError, match='Use how="theorem"'):
        gradient(m, policy)
    assert gradient(m, policy, how="theorem").abs().max() < 1e-12  # one action: nothing to decide
    assert objective(m, policy) == pytest.approx(10.0)
