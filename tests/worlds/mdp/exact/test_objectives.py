"""Every named objective against a second way to compute it, and against what recipes ascend."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core import Signals
from logpi.core.credit import group_over_mean, group_relative, leave_one_out
from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact import (
    OBJECTIVES,
    Given,
    flat_gradient,
    gradient,
    objective,
    objective_gradient,
    outcomes,
    trajectories,
)
from logpi.worlds.mdp.exact.outcomes import successes
from worlds.mdp.exact.models import bandit, capital, cases, gap, random_model, random_policy

HOLDING = [name for name in OBJECTIVES if "visited" in name or "without" in name]  # visits, fixed
WITH_SUCCESS = [name for name in OBJECTIVES if "success" in name]


def two_bandits(reward=(1.0, 0.0, 0.0)):
    """Two start states with their own policies: where objectives turn the gradient."""
    m, _ = bandit(np.array([reward, reward[::-1]]), [0.2, 0.5, 0.3], states=2)
    return m, random_policy(m, 21)


def slope(name, m, policy, given_, h=1e-5):
    """Central differences of an objective; what it holds fixed is not held."""
    flat, found = next(policy.parameters()).detach().view(-1), []
    for i in range(flat.numel()):
        at, pair = float(flat[i]), []
        for sign in (1, -1):
            flat[i] = at + sign * h
            pair.append(float(OBJECTIVES[name](m, policy, given_).detach()))
        flat[i] = at
        found.append((pair[0] - pair[1]) / (2 * h))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_gradient_is_the_slope(name):
    m, policy = two_bandits()  # one decision: no state is held fixed
    given_ = Given(reference=random_policy(m, 22), beta=0.3, k=3)
    assert gap(objective_gradient(name, m, policy, given_), slope(name, m, policy, given_)) < 1e-8


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n not in HOLDING + WITH_SUCCESS])
def test_each_gradient_is_the_slope_over_several_decisions(name):
    m = random_model(23, states=4, actions=3, discount=0.8)
    m = m.having(reward=np.abs(m.reward) + 0.1)
    policy = random_policy(m, 23)
    given_ = Given(reference=random_policy(m, 24), beta=0.3, k=3, horizon=2)
    assert gap(objective_gradient(name, m, policy, given_), slope(name, m, policy, given_)) < 1e-7


@given(cases(), st.sampled_from([None, 3]))
@settings(max_examples=20)
def test_the_returns_are_those_of_the_gradient(case, horizon):
    m, policy = case
    given_ = Given(horizon=horizon)
    start = objective_gradient("discounted return from the start", m, policy, given_)
    assert gap(start, gradient(m, policy, how="theorem", horizon=horizon)) < 1e-12
    dropped = objective_gradient("discounted return without γ^t", m, policy, given_)
    common = gradient(m, policy, how="theorem", start_discounted=False, horizon=horizon)
    assert gap(dropped, common) < 1e-12
    plain = objective_gradient("return", m, policy, given_)
    assert gap(plain, gradient(m.having(discount=1.0), policy, horizon=horizon)) < 1e-12


def test_kl_in_the_loss_and_in_the_reward_differ_over_several_decisions():
    """Expected per-decision coefficients, enumerated: k1 in the reward, k2 and k3 in the loss."""
    m = random_model(25, states=4, actions=3, discount=1.0)
    m = m.having(reward=np.zeros((4, 3)))  # the divergence alone
    policy, reference = random_policy(m, 25), random_policy(m, 26)
    found = trajectories(m, policy, horizon=3)
    logp = found.log_prob(policy.table())
    gap_of = (logp - found.log_prob(reference.table())).detach()
    to_go = gap_of.flip(1).cumsum(1).flip(1)
    beta, u = 0.3, (-gap_of).exp()

    def ascent(coefficient):
        return flat_gradient((found.probability[:, None] * coefficient * logp).sum(), policy)

    given_ = Given(reference=reference, beta=beta, horizon=3)

    def of(name):
        return objective_gradient(name, m, policy, given_)

    assert gap(ascent(-beta * to_go), of("return − β·reverse KL")) < 1e-13
    assert gap(ascent(-beta * gap_of), of("return − β·reverse KL of visited states")) < 1e-13
    assert gap(ascent(beta * (u - 1)), of("return − β·forward KL of visited states")) < 1e-13
    assert gap(ascent(-beta * gap_of), of("return − β·reverse KL")) > 1e-4
    assert gap(ascent(beta * (u - 1)), of("return − β·forward KL")) > 1e-4


def test_over_one_decision_both_forms_are_one():
    m, policy = two_bandits()
    given_ = Given(reference=random_policy(m, 27))
    for kind in ("reverse", "forward"):
        name = f"return − β·{kind} KL"
        a, b = (
            objective_gradient(n, m, policy, given_) for n in (name, f"{name} of visited states")
        )
        assert gap(a, b) < 1e-14


def test_the_likelihood_of_the_reference_is_its_forward_kl():
    """E_ref[log π] = −KL(ref‖π) − H(ref): the gradient of supervised fine-tuning."""
    m = random_model(28, discount=1.0)
    policy, given_ = (
        random_policy(m, 28),
        Given(reference=random_policy(m, 29), beta=1.0, horizon=3),
    )
    kl = objective_gradient("return − β·forward KL", m, policy, given_)
    plain = objective_gradient("return", m, policy, given_)
    assert (
        gap(objective_gradient("likelihood of the reference", m, policy, given_), kl - plain)
        < 1e-13
    )


# Groups ----------------------------------------------------------------------------------------


def groups(m, policy, k):
    """Every group of k pulls from each start: pulls [g, k], start, and probability, live."""
    pi = policy.table().exp()
    for s in np.flatnonzero(m.start):
        for pulls in itertools.product(range(m.actions), repeat=k):
            yield s, list(pulls), m.start[s] * pi[s, list(pulls)].prod()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pass_at_k_is_the_best_of_k(k):
    m, policy = two_bandits(reward=(1.0, -2.0, 0.5))
    expected = sum(p * m.reward[s, pulls].max() for s, pulls, p in groups(m, policy, k))
    ours = OBJECTIVES["pass@k"](m, policy, Given(k=k))
    assert gap(ours, expected) < 1e-14
    assert gap(flat_gradient(ours, policy), flat_gradient(expected, policy)) < 1e-14


def test_pass_at_k_of_zero_and_one():
    """1 − E[(1 − p)^k]."""
    m, policy = two_bandits()
    share, p = successes(m, policy)
    assert gap(OBJECTIVES["pass@k"](m, policy, Given(k=5)), 1 - share @ (1 - p) ** 5) < 1e-14


def expected_ascent(m, policy, credit, k):
    """E[(1/k) Σᵢ creditᵢ ∇logπᵢ] over every group of k, with the library's own credit."""
    rows = list(groups(m, policy, k))
    state = torch.tensor([[s] * k for s, _, _ in rows]).flatten()
    action = torch.tensor([pulls for _, pulls, _ in rows]).flatten()
    weight = torch.stack([p for *_, p in rows]).detach().repeat_interleave(k) / k
    every = torch.ones(len(state), 1, dtype=torch.bool)
    s = Signals(
        mask=every,
        reward=torch.from_numpy(m.reward)[state, action][:, None],
        discount=torch.zeros(len(state), 1, dtype=torch.float64),
        end=every,
        weight=weight,
        group=torch.arange(len(rows)).repeat_interleave(k),
    )
    push = weight * credit(s)[:, 0] * policy.table()[state, action]
    return flat_gradient(push.sum(), policy)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_what_groups_ascend_exactly(k):
    """Leave-one-out the return; z-scores and shares of the mean something else, of p alone."""
    m, policy = two_bandits()
    given_ = Given(k=k)

    def of(name):
        return objective_gradient(name, m, policy, given_)

    assert gap(expected_ascent(m, policy, leave_one_out, k), of("return")) < 1e-14
    z = expected_ascent(m, policy, group_relative(epsilon=0.0), k)
    assert gap(z, of("success in z-scored groups of k")) < 1e-13
    log = expected_ascent(m, policy, group_over_mean, k)
    assert gap(log, of("log of the success probability, to order k")) < 1e-13
    turned = gap(z / z.norm(), of("return") / of("return").norm())
    # With rewards 0 and 1, groups of two and of three have one spread, or none: nothing turns.
    assert turned > 1e-3 if k > 3 else turned < 1e-14


def test_endless_groups():
    """z-scored groups tend to the arcsine, shares of the mean to the logarithm."""
    m, policy = two_bandits()
    far = Given(k=60)
    z = objective_gradient("success in z-scored groups of k", m, policy, far)
    assert gap(z, objective_gradient("arcsine of the root of success", m, policy)) < 0.02
    log = objective_gradient("log of the success probability, to order k", m, policy, far)
    assert gap(log, objective_gradient("log of the success probability", m, policy)) < 1e-3


def test_logarithms_of_zero_and_one_are_one_objective():
    m, policy = two_bandits()
    a, b = (
        objective_gradient(name, m, policy)
        for name in ("log of the success probability", "log of the mean return")
    )
    assert gap(a, b) < 1e-14


# Outcomes --------------------------------------------------------------------------------------


@given(cases(), st.integers(1, 3))
@settings(max_examples=20)
def test_outcomes_are_a_distribution_for_each_start(case, horizon):
    m, policy = case
    found = outcomes(m, policy, horizon=horizon)
    assert sum(x.share for x in found) == pytest.approx(m.start[~m.terminal].sum())
    mean = 0.0
    for x in found:
        assert float(x.probability.detach().sum()) == pytest.approx(1)
        assert (x.returns.diff() > 0).all()
        mean += x.share * float(x.probability.detach() @ x.returns)
    assert gap(mean, objective(m, policy, horizon=horizon)) < 1e-12


def test_rounding_makes_no_new_return():
    """.1 + .2 and .3 are one return."""
    m, policy = bandit([0.1 + 0.2, 0.3, 1.0], [0.2, 0.5, 0.3])
    (x,) = outcomes(m, policy)
    assert x.probability.tolist() == pytest.approx([0.7, 0.3])


def test_capital():
    """Paris at .9: E[max of 2] = 10 (1 − .01) − 10 · .01, and 20 p − 10 is the mean."""
    m = capital()
    from logpi.worlds.mdp.policy import TabularSoftmax

    policy = TabularSoftmax(m)
    assert OBJECTIVES["pass@k"](m, policy, Given(k=2)).item() == pytest.approx(9.8)
    assert successes(m, policy)[1].item() == pytest.approx(0.9)
    assert OBJECTIVES["log of the mean return"](m, policy, Given()).item() == pytest.approx(
        np.log(8)
    )


# What is refused -------------------------------------------------------------------------------


def test_what_is_refused():
    m, policy = bandit([1.0, 2.0, 4.0], [0.2, 0.5, 0.3])
    with pytest.raises(ConfigError, match="Did you mean `return`"):
        objective_gradient("retrun", m, policy)
    with pytest.raises(ConfigError, match="give `reference`"):
        objective_gradient("return − β·reverse KL", m, policy)
    for name in WITH_SUCCESS:
        with pytest.raises(ConfigError, match=r"3 different returns \(1, 2, 4\)"):
            objective_gradient(name, m, policy, Given(k=2))
    with pytest.raises(ConfigError, match="no logarithm"):
        objective_gradient("log of the mean return", *bandit([-1.0, 0.0], [0.5, 0.5]))
    with pytest.raises(ConfigError, match="a group of at least 2"):
        objective_gradient("success in z-scored groups of k", *two_bandits(), Given(k=1))
    sure, _ = bandit(np.array([[0.0, 0.0], [1.0, 0.0]]), [0.5, 0.5], states=2)
    for name in ("log of the success probability", "arcsine of the root of success"):
        with pytest.raises(ConfigError, match="some start"):
            objective_gradient(name, sure, random_policy(sure, 0))
    loops = random_model(30)
    with pytest.raises(ConfigError, match="give `horizon`"):
        objective_gradient("pass@k", loops, random_policy(loops, 30))
