"""Soft Bellman equations: what they maximise, their limits, and their bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.chain import chain_of
from logpi.worlds.mdp.planning.linear import solve_identity_minus
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration
from logpi.worlds.mdp.planning.soft import soft_policy_iteration

from .cases import random_model, seeds


def soft_value(m, pi, beta, reference):
    """E[Σ γ^t (r − β log(π/ref))] of a policy, by solving its linear equations."""
    chain = chain_of(m, pi)
    ratio = np.divide(pi, reference, out=np.ones_like(pi), where=pi > 0)
    reward = chain.reward - beta * (pi * np.log(ratio)).sum(1)
    return np.where(m.terminal, 0, solve_identity_minus(m.discount * chain.transitions, reward))


def softmax_backup(m, v, beta, reference):
    q = np.where(m.allowed, backup(m, v), -np.inf)
    top = np.where(m.terminal, 0, q.max(1))
    total = (reference * np.exp(np.where(m.allowed, q - top[:, None], -np.inf) / beta)).sum(1)
    return np.where(m.terminal, 0, top + beta * np.log(np.where(m.terminal, 1, total)))


def some_reference(m, seed):
    pi = (np.random.default_rng(seed).random(m.reward.shape) + 0.05) * m.allowed
    return pi / np.where(m.terminal, 1, pi.sum(1))[:, None]


@settings(max_examples=80)
@given(seeds, st.sampled_from((0.0, 0.5, 0.95, 0.999)), st.booleans(), st.integers(-2, 2))
def test_the_bound_holds(seed, discount, referred, power):
    m = random_model(seed, discount)
    size = 1 + np.abs(m.reward).max()
    beta = size * 10.0**power
    reference = some_reference(m, seed) if referred else None
    tolerance = 1e-6 * size * 10.0 ** max(power, 0)
    found = soft_policy_iteration(m, beta=beta, reference=reference, tolerance=tolerance)
    assert found.bound <= tolerance
    # the fixed point, by so many backups that what is left is below rounding
    weight = reference if referred else m.allowed.astype(float)
    v = found.value
    for _ in range(int(40 / (1 - discount) ** 0.5) + 50):
        v = softmax_backup(m, v, beta, weight)
    if discount <= 0.95:
        assert np.abs(found.value - v).max() <= found.bound + 1e-13 * np.abs(v).max()
    # and the policy's own soft value is within its loss
    own = soft_value(m, found.policy, beta, np.where(weight > 0, weight, 1))
    assert (own >= found.value - found.bound - found.facts["policy_loss"]).all()


@given(seeds, st.booleans())
def test_no_other_policy_is_softly_better(seed, referred):
    m = random_model(seed, 0.9)
    size = 1 + np.abs(m.reward).max()
    reference = some_reference(m, seed) if referred else None
    found = soft_policy_iteration(m, beta=0.3 * size, reference=reference, tolerance=1e-7 * size)
    weight = np.where(m.allowed, 1.0 if reference is None else reference, 1.0)
    for other in range(3):
        own = soft_value(m, some_reference(m, seed + 1 + other), 0.3 * size, weight)
        assert (own <= found.value + found.bound + 1e-9 * size).all()


@given(seeds)
def test_soft_becomes_hard_as_the_price_goes_to_0(seed):
    m = random_model(seed, 0.9)
    size = 1 + np.abs(m.reward).max()
    hard = policy_iteration(m, tolerance=1e-7 * size).value
    for beta in (1e-1 * size, 1e-3 * size, 1e-5 * size):
        soft = soft_policy_iteration(m, beta=beta, tolerance=1e-7 * size).value
        assert (soft >= hard - 1e-6 * size).all()
        assert (soft <= hard + beta * np.log(m.actions) / 0.1 + 1e-6 * size).all()


@given(seeds)
def test_a_dear_reference_is_kept_to(seed):
    m = random_model(seed, 0.9)
    size = 1 + np.abs(m.reward).max()
    reference = some_reference(m, seed)
    found = soft_policy_iteration(m, beta=1e6 * size, reference=reference, tolerance=1e-3 * size)
    assert np.allclose(found.policy, reference, atol=1e-4)
    assert (found.policy[m.terminal] == 0).all()


def test_one_choice_in_closed_form():
    # π(a) ∝ ref(a) exp(r(a)/β): a bandit, and the value is β log Σ ref exp(r/β)
    m = zoo.bandit(discount=1.0)
    live = np.flatnonzero(~m.terminal)[0]
    reward = m.reward[live]
    reference = uniform(m)
    found = soft_policy_iteration(m, beta=0.5, reference=reference)
    weight = reference[live] * np.exp(reward / 0.5)
    assert np.allclose(found.policy[live], weight / weight.sum())
    assert found.value[live] == pytest.approx(0.5 * np.log(weight.sum()))
    assert found.facts["beta"] == 0.5


def test_discount_1_is_certified_by_the_time_to_the_end():
    m = zoo.terminal_grid()
    for reference in (None, uniform(m)):
        found = soft_policy_iteration(m, beta=0.2, reference=reference, tolerance=1e-7)
        weight = m.allowed.astype(float) if reference is None else reference
        v = found.value
        for _ in range(500):
            v = softmax_backup(m, v, 0.2, weight)
        assert np.abs(found.value - v).max() <= found.bound <= 1e-7


def test_float32_says_how_near_it_can_come():
    m = zoo.garnet(30, dtype=np.float32)
    found = soft_policy_iteration(m, beta=0.1, tolerance=1e-4)
    assert found.value.dtype == np.float32
    with pytest.raises(ConfigError, match="below what float32 can certify"):
        soft_policy_iteration(m, beta=0.1, tolerance=1e-12)


def test_the_iterates_are_kept():
    found = soft_policy_iteration(zoo.two_state(), beta=0.1, history=True)
    assert len(found.history) == found.sweeps
    assert all(k.policy.shape == (2, 3) for k in found.history)


def test_what_is_refused():
    m = zoo.two_state()
    for beta in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match="beta is"):
            soft_policy_iteration(m, beta=beta)
    with pytest.raises(ConfigError, match="sums to"):
        soft_policy_iteration(m, beta=1.0, reference=np.full((2, 3), 0.5))
    with pytest.raises(ModelError, match="soft value has no bound"):
        soft_policy_iteration(zoo.terminal_grid(), beta=10.0)  # entropy pays for every step
