"""The density of a squashed action, against its change of variables by numerical differences."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from logpi.worlds.gym.heads import head_of
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.spaces import Actions

near = st.floats(-2.5, 2.5)
spread = st.floats(-2.0, 0.7)
bounds = st.tuples(st.floats(-50, 50), st.floats(0.01, 100)).map(lambda x: (x[0], x[0] + x[1]))


def box_of(*pairs):
    low, high = (np.array(x, np.float32) for x in zip(*pairs, strict=True))
    return Actions("box", (len(pairs),), low, high, shape=(len(pairs),))


@given(near, spread, near, bounds)
@settings(max_examples=100, deadline=None)
def test_the_density_is_the_slope_of_the_distribution(mean, log_std, z, pair):
    head = head_of(box_of(pair), std="state", squash=True).double()
    std, h = np.exp(log_std), 1e-4 * np.exp(log_std)
    d = torch.tensor([[mean, log_std]], dtype=torch.float64)
    at = torch.tensor([[z - h], [z], [z + h]], dtype=torch.float64)
    low, _, high = head.to_env(at)[:, 0].tolist()
    below, above = ((x - mean) / std for x in (z - h, z + h))
    if below > 0:  # the upper tail has more digits when it is read from the other end
        below, above = -above, -below
    slope = (ndtr(above) - ndtr(below)) / (high - low)
    assert np.isclose(float(head.log_prob(d, at[1:2])), np.log(slope), rtol=1e-4, atol=1e-3)


@given(st.lists(st.tuples(near, spread, near, bounds), min_size=2, max_size=4))
@settings(max_examples=25, deadline=None)
def test_the_density_of_several_numbers_is_the_product_of_theirs(parts):
    means, spreads, z, pairs = (list(x) for x in zip(*parts, strict=True))
    whole = head_of(box_of(*pairs), std="state", squash=True).double()
    d = torch.tensor([[*means, *spreads]], dtype=torch.float64)
    found = float(whole.log_prob(d, torch.tensor([z], dtype=torch.float64)))
    wanted = 0.0
    for mean, log_std, at, pair in parts:
        one = head_of(box_of(pair), std="state", squash=True).double()
        told = torch.tensor([[mean, log_std]], dtype=torch.float64)
        wanted += float(one.log_prob(told, torch.tensor([[at]], dtype=torch.float64)))
    assert np.isclose(found, wanted, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**20), bounds, st.sampled_from(["free", "state"]))
@settings(max_examples=40, deadline=None)
def test_what_a_rollout_records_is_that_density_and_the_action_is_inside(seed, pair, std):
    space = spaces.Box(*np.array(pair, np.float32), (2,))
    policy = GymPolicy(spaces.Box(-9, 9, (3,)), space, squash=True, std=std, seed=seed)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 3)).astype(np.float32)
    u = np.clip(rng.random((20, 2)), 1e-6, 1 - 1e-6)
    action, logp = policy.sampler()(x, None, u)
    told = policy.head.distribution(policy.net(torch.from_numpy(x))).double()
    wanted = policy.head.double().log_prob(told, torch.from_numpy(action).double())
    assert np.allclose(logp, wanted.detach().numpy(), rtol=1e-4, atol=1e-4)
    assert all(space.contains(a) for a in policy.to_env(action))
