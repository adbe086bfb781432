"""Distributions over actions, against torch.distributions, SciPy and integration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import distributions as td
from torch.testing import assert_close

from logpi.core.errors import ConfigError
from logpi.worlds.gym.heads import Gaussian, head_of, log_slope_of_tanh
from logpi.worlds.gym.spaces import Actions

DISCRETE = Actions("discrete", (4,), first=(3,))
SEVERAL = Actions("multidiscrete", (3, 2, 4), shape=(3,), first=(0, 1, -1))
BITS = Actions("multibinary", (3,), shape=(3,))
LOW, HIGH = np.array([-2.0, -1.0], np.float32), np.array([2.0, 3.0], np.float32)
BOX = Actions("box", (2,), LOW, HIGH, shape=(2,))


def numbers(*shape, seed=0, scale=1.0):
    return scale * torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def uniform(*shape, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=g, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)


def others(head, kind, d):
    """The same distribution as torch.distributions has it."""
    if kind is DISCRETE:
        return [td.Categorical(logits=d)]
    if kind is SEVERAL:
        return [td.Categorical(logits=part) for part in d.split(head.sizes, -1)]
    if kind is BITS:
        return [td.Independent(td.Bernoulli(logits=d), 1)]
    mean, log_std = d.chunk(2, -1)
    return [td.Independent(td.Normal(mean, log_std.exp()), 1)]


@pytest.mark.parametrize("std", ["free", "state"])
@pytest.mark.parametrize("kind", [DISCRETE, SEVERAL, BITS, BOX], ids=lambda k: k.kind)
def test_log_prob_entropy_and_kl_are_those_of_torch_distributions(kind, std):
    head = head_of(kind, std=std, log_std=-0.3).double()
    d = head.distribution(numbers(5, 7, head.outputs, scale=2))
    e = head.distribution(numbers(5, 7, head.outputs, seed=2))
    action = head.sample(d, uniform(5, 7, kind.draws))
    known, other = others(head, kind, d), others(head, kind, e)
    chosen = action.unbind(-1) if kind is SEVERAL else [action]
    wanted = sum(k.log_prob(a) for k, a in zip(known, chosen, strict=True))
    assert_close(head.log_prob(d, action), wanted, rtol=1e-12, atol=1e-12)
    assert_close(head.entropy(d), sum(k.entropy() for k in known), rtol=1e-12, atol=1e-12)
    kl = sum(td.kl_divergence(k, o) for k, o in zip(known, other, strict=True))
    assert_close(head.kl(d, e), kl, rtol=1e-11, atol=1e-12)
    assert_close(head.kl(d, d), torch.zeros(5, 7).double(), rtol=0, atol=1e-14)


@given(st.integers(0, 10**6), st.sampled_from([DISCRETE, SEVERAL, BITS, BOX]))
@settings(max_examples=30, deadline=None)
def test_kl_is_never_negative(seed, kind):
    head = head_of(kind, std="state").double()
    d = head.distribution(numbers(6, head.outputs, seed=seed, scale=3))
    e = head.distribution(numbers(6, head.outputs, seed=seed + 1, scale=3))
    assert (head.kl(d, e) >= -1e-14).all()


def test_a_gaussian_is_that_of_scipy():
    head = head_of(BOX, std="state").double()
    d = head.distribution(numbers(4, 4))
    action = head.sample(d, uniform(4, 2))
    mean, std = d[:, :2].numpy(), d[:, 2:].exp().numpy()
    wanted = stats.norm.logpdf(action.numpy(), mean, std).sum(1)
    assert np.allclose(head.log_prob(d, action).numpy(), wanted, rtol=1e-12)
    drawn = stats.norm.ppf(uniform(4, 2).numpy(), mean, std)
    assert np.allclose(action.numpy(), drawn, rtol=1e-11)


@given(st.integers(0, 10**6), st.sampled_from([DISCRETE, SEVERAL]))
@settings(max_examples=40, deadline=None)
def test_masked_actions_are_never_drawn(seed, kind):
    head = head_of(kind)
    rng = torch.Generator().manual_seed(seed)
    mask = torch.rand(50, kind.choices, generator=rng) < 0.4
    u = torch.rand(50, kind.draws, generator=rng, dtype=torch.float64)
    u[:10], u[10:20] = 0.0, 1.0  # beyond what anyone draws
    d = head.distribution(30 * torch.randn(50, head.outputs, generator=rng), mask)
    for action in (head.sample(d, u), head.mode(d)):
        chosen = action.reshape(50, -1)
        places = chosen + head.starts
        decided = torch.stack([m.any(1) for m in mask.split(head.sizes, 1)], 1)
        assert mask.gather(1, places)[decided].all()
        assert head.log_prob(d, action).isfinite().all()


def test_a_mask_renormalises_and_is_worth_no_gradient():
    head = head_of(DISCRETE)
    z = numbers(1, 4).requires_grad_()
    mask = torch.tensor([[True, False, True, False]])
    d = head.distribution(z, mask)
    assert_close(d[0, [0, 2]], z[0, [0, 2]].log_softmax(0))
    known = td.Categorical(logits=z[0, [0, 2]])
    assert_close(head.entropy(d)[0], known.entropy())
    assert head.log_prob(d, torch.tensor([1])).item() == -np.inf
    (head.entropy(d) + head.log_prob(d, torch.tensor([2])) + head.kl(d.detach(), d)).backward()
    assert z.grad.isfinite().all()
    assert z.grad[0, [1, 3]].eq(0).all()


def test_where_nothing_is_allowed_nothing_is_nan():
    head = head_of(SEVERAL)
    d = head.distribution(numbers(2, 9), torch.zeros(2, 9, dtype=torch.bool))
    assert_close(d, head.distribution(numbers(2, 9)))


@pytest.mark.parametrize("std", [0.2, 1.0, 3.0])
def test_a_squashed_gaussian_integrates_to_one_over_its_box(std):
    box = Actions("box", (1,), LOW[:1], HIGH[:1], shape=(1,))
    head = head_of(box, std="state", squash=True).double()
    d = head.distribution(torch.tensor([[0.4, np.log(std)]], dtype=torch.float64))

    low, width = float(box.low[0]), float(box.high[0] - box.low[0])

    def density(a):
        z = np.arctanh((a - low) / width * 2 - 1)
        return float(head.log_prob(d, torch.tensor([[z]], dtype=torch.float64)).exp())

    near = np.logspace(-13, -0.5, 26)  # the density is steep at the ends
    ends = low + width * np.concatenate([near, 1 - near[::-1]])
    pieces = [integrate.quad(density, a, b)[0] for a, b in itertools.pairwise(ends)]
    lost = 2 * stats.norm(0.4, std).sf(np.arctanh(1 - 2e-13))
    assert abs(sum(pieces) - 1) < 1e-6 + lost


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.5), (1.5, 1.0), (-3.0, 2.0)])
def test_the_entropy_of_a_squashed_gaussian_is_the_expected_surprise(mean, std):
    head = head_of(BOX, std="state", squash=True).double()
    d = torch.tensor([mean, mean, np.log(std), np.log(std)], dtype=torch.float64).expand(1, 4)
    one = Actions("box", (1,), LOW[:1], HIGH[:1])
    single = head_of(one, std="state", squash=True).double()

    def surprise(z):
        at = torch.tensor([[z]], dtype=torch.float64)
        logp = float(single.log_prob(d[:, [0, 2]], at))
        return -logp * stats.norm.pdf(z, mean, std)

    wanted = 2 * integrate.quad(surprise, mean - 12 * std, mean + 12 * std, limit=200)[0]
    # Both boxes are 4 wide, so both numbers have the same entropy.
    assert abs(head.entropy(d).item() - wanted) < 1e-3


def test_squashing_reaches_far_without_losing_digits():
    z = torch.tensor([-30.0, -5.0, 0.0, 3.0, 30.0], dtype=torch.float64)
    exact = -2 * (z.abs() + np.log(0.5) + torch.log1p((-2 * z.abs()).exp()))
    assert_close(log_slope_of_tanh(z), exact, rtol=1e-13, atol=1e-15)


def test_actions_reach_the_environment_numbered_clipped_or_scaled():
    assert head_of(DISCRETE).to_env(torch.tensor([0, 2])).tolist() == [3, 5]
    assert head_of(SEVERAL).to_env(torch.tensor([[0, 1, 1]])).tolist() == [[0, 2, 0]]
    z = torch.tensor([[-9.0, 0.0], [0.5, 9.0]])
    assert head_of(BOX).to_env(z).tolist() == [[-2, 0], [0.5, 3]]
    assert_close(head_of(BOX, squash=True).to_env(torch.zeros(1, 2)), torch.tensor([[0.0, 1.0]]))
    bounds = head_of(BOX, squash=True).to_env(torch.tensor([[-99.0, 99.0]]))
    assert bounds.tolist() == [[-2, 3]]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="Did you mean `free`"):
        head_of(BOX, std="fre")
    with pytest.raises(ConfigError, match="the actions are discrete"):
        head_of(DISCRETE, squash=True)
    with pytest.raises(ConfigError, match="bounded Box"):
        head_of(Actions("box", (1,), -LOW[:1] * np.inf, HIGH[:1]), squash=True)
    assert isinstance(head_of(BOX), Gaussian)
