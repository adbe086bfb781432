"""Nothing is computed that no recipe reads, and nothing is computed again that was recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.train.bandits import Bandit, batch_of

import logpi
from logpi.core.errors import NonFiniteError
from logpi.train.observe import credited, critic_figures, judged, kl_figures, observe, too_far

ARMS = torch.tensor([0, 2, 1, 1])


class Critic:
    """V = ½ everywhere."""

    def values(self, inputs):
        half = torch.full((len(inputs), 1), 0.5, dtype=torch.float64)
        return half, half


def seen(name, **constants):
    recipe, world = logpi.recipe(name, **constants), Bandit()
    batch = batch_of(world, ARMS)
    critic = Critic() if recipe.critic else None
    return observe(batch, recipe, world, reference=world.reference_log_prob, critic=critic), recipe


def test_the_reference_is_asked_only_by_who_reads_it():
    assert seen("rloo")[0].logp_ref is None
    assert seen("grpo")[0].logp_ref is not None
    assert seen("grpo", beta=0.0)[0].logp_ref is None


def test_recorded_log_probabilities_are_the_policys_own():
    signals, _ = seen("grpo")
    assert signals.logp is None  # the first step's forward pass brings it
    assert torch.equal(signals.logp_old, Bandit().log_prob(ARMS))


def test_a_critic_brings_values():
    signals, recipe = seen("a2c")
    credit = credited(signals, recipe).credit
    assert torch.equal(credit, signals.reward - 0.5)  # every pull terminates: nothing follows
    weight = torch.full_like(credit, 0.25)
    explained = critic_figures(*judged(signals, recipe, critic=True), weight)
    assert explained["explained_variance"] == pytest.approx(0.0)


def test_the_scale_of_an_advantage_is_not_the_critics_error():
    signals, recipe = seen("ppo", normalise=True)
    near = signals.having(value=signals.reward - torch.tensor([[0.1], [-0.1], [0.1], [-0.1]]))
    credit = credited(near, recipe).credit
    assert credit.abs().max() > 0.9  # whitened: a tenth became one
    found = critic_figures(*judged(near, recipe, critic=True), torch.full_like(credit, 0.25))
    spread = float(near.reward.var(correction=0))
    assert found["explained_variance"] == pytest.approx(1 - 0.01 / spread)


def test_a_reward_that_is_not_finite_stops_here():
    signals, recipe = seen("rloo")
    with pytest.raises(NonFiniteError, match=r"reward of rows \[0\]"):
        credited(signals.having(reward=torch.tensor([[torch.inf], [0.0], [0.0], [0.0]])), recipe)


def test_kl_figures_are_zero_between_equal_policies():
    signals, _ = seen("grpo")
    figures = kl_figures(signals, signals.logp_old)
    assert figures == pytest.approx({"kl_reference": 0.0, "kl_old": 0.0}, abs=1e-12)
    apart = kl_figures(signals, signals.logp_old - 1)
    assert apart["kl_old"] == pytest.approx(torch.tensor(-1.0).exp().item())


def test_a_policy_is_too_far_beyond_the_target_kl():
    signals, recipe = seen("grpo")
    logp = signals.logp_old - 1  # k3 of a gap of 1 nat: e⁻¹
    assert not too_far(recipe, signals, logp)
    assert not too_far(replace(recipe, target_kl=0.37), signals, logp)
    assert too_far(replace(recipe, target_kl=0.36), signals, logp)
