"""Normalisation: moments of all that was seen, used only once adopted, frozen at evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.gym.normalise import Moments, Normaliser, Reading, RewardScale


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.floats(-1e4, 1e4),
    st.floats(1e-3, 1e3),
    st.integers(0, 10**6),
)
@settings(max_examples=50, deadline=None)
def test_moments_are_those_of_all_rows_seen(sizes, mean, std, seed):
    rng = np.random.default_rng(seed)
    parts = [mean + std * rng.standard_normal((k, 3)) for k in sizes]
    moments = Moments((3,))
    for part in parts:
        moments.see(part)
    whole = np.concatenate(parts)
    assert moments.count == len(whole)
    if len(whole):
        scale = np.abs(whole).max()
        assert np.allclose(moments.mean.numpy(), whole.mean(0), rtol=1e-12, atol=1e-13 * scale)
        assert np.allclose(moments.var.numpy(), whole.var(0), rtol=1e-9, atol=1e-13 * scale**2)
    else:
        assert moments.var.eq(1).all()


def test_huge_offsets_lose_no_variance():
    moments = Moments()
    x = 1e8 + np.random.default_rng(0).standard_normal(1000)
    for part in np.split(x, 10):
        moments.see(part)
    assert abs(moments.var.item() / x.var() - 1) < 1e-6


def test_statistics_are_used_once_adopted_and_frozen_at_evaluation():
    normaliser = Normaliser((2,))
    x = np.random.default_rng(0).normal(5, 3, (8, 50, 2)).astype(np.float32)
    before = normaliser(torch.from_numpy(x))
    assert_close(before, torch.from_numpy(x).clamp(-10, 10))
    normaliser.see(x)
    assert normaliser(torch.from_numpy(x)).equal(before)
    normaliser.adopt()
    y = normaliser(torch.from_numpy(x))
    assert abs(y.mean()) < 1e-5
    assert abs(y.std(unbiased=False) - 1) < 1e-3
    normaliser.eval()
    normaliser.see(x + 9)
    normaliser.adopt()
    assert normaliser(torch.from_numpy(x)).equal(y)
    assert normaliser.moments.count == 400


def test_the_array_path_is_the_tensor_path():
    normaliser = Normaliser((3,), clip=1.5)
    reading = Reading((3,), normaliser=normaliser)
    x = np.random.default_rng(0).normal(5, 3, (9, 3)).astype(np.float32)
    early = reading.array_reader()
    normaliser.see(x)
    normaliser.adopt()
    kept = x.copy()
    assert np.array_equal(reading.of_array(x), normaliser(torch.from_numpy(x)).numpy())
    assert np.array_equal(x, kept)
    assert np.abs(reading.of_array(x)).max() == 1.5
    assert np.array_equal(early(x), np.clip(x, -1.5, 1.5))


def test_statistics_come_back_from_what_was_saved():
    normaliser = Normaliser((3,))
    normaliser.see(np.random.default_rng(0).normal(5, 3, (40, 3)))
    normaliser.adopt()
    normaliser.see(np.ones((4, 3)))
    again = Normaliser((3,))
    again.load_state_dict(normaliser.state_dict())
    more = np.random.default_rng(1).normal(5, 3, (7, 3))
    for one in (normaliser, again):
        one.see(more)
    x = torch.rand(5, 3)
    assert again(x).equal(normaliser(x))
    assert all(a.equal(b) for a, b in zip(again.buffers(), normaliser.buffers(), strict=True))


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return():
    rng = np.random.default_rng(0)
    reward, over = rng.normal(1, 2, (3, 20)), rng.random((3, 20)) < 0.2
    scale = RewardScale(3, discount=0.9)
    for part in (slice(0, 8), slice(8, 20)):
        scale.see(reward[:, part], over[:, part])
    seen = []
    for n in range(3):
        g = 0.0
        for r, stop in zip(reward[n], over[n], strict=True):
            g = 0.9 * g + r
            seen.append(g)
            g = 0.0 if stop else g
    x = torch.tensor([[1.0, -1e9]])
    wanted = torch.tensor([[1 / np.sqrt(np.var(seen) + 1e-8), -10.0]], dtype=torch.float32)
    assert_close(scale(x), wanted)
    assert scale.moments.count == 60


def test_steps_that_were_never_taken_earn_nothing():
    rng = np.random.default_rng(0)
    reward, over = rng.normal(1, 2, (2, 6)), np.zeros((2, 6), dtype=bool)
    over[:, 2] = True
    plain, masked = RewardScale(2), RewardScale(2)
    plain.see(reward, over)
    with_reset = np.insert(reward, 3, np.nan, axis=1)
    mask = np.insert(np.ones((2, 6), dtype=bool), 3, False, axis=1)
    masked.see(with_reset, np.insert(over, 3, False, axis=1), mask)
    assert_close(masked.moments.var, plain.moments.var)
    assert_close(masked.running, plain.running)
    with pytest.raises(ShapeError, match="3 streams"):
        plain.see(np.ones((3, 1)), np.ones((3, 1), dtype=bool))


def test_rewards_of_any_scale_are_kept_in_bounds():
    reward = np.random.default_rng(0).normal(1, 2, (3, 200))
    one, large, small = RewardScale(3), RewardScale(3), RewardScale(3)
    for scale, size in ((one, 1), (large, 1e6), (small, 1e-6)):
        scale.see(size * reward, np.zeros((3, 200), dtype=bool))
    x = torch.rand(3, 4, dtype=torch.float64)
    assert_close(large(1e6 * x), one(x))
    # Far below 1e-4 the 1e-8 under the root counts: what hardly differs from 0 is not blown up.
    assert (small(1e-6 * x) < one(x)).all()
    assert (small(1e-6 * x) > 0).all()


def test_observations_are_read_as_numbers():
    image = Reading((36, 36, 1), image=True)
    x = torch.randint(0, 256, (2, 36, 36, 1), dtype=torch.uint8)
    assert_close(image(x), x.float() / 255)
    assert np.array_equal(image.of_array(x.numpy()), image(x).numpy())
    assert Reading((2,), dtype=torch.float64)(torch.ones(1, 2)).dtype == torch.float64
    with pytest.raises(ConfigError, match="images"):
        Reading((36, 36, 1), image=True, normaliser=Normaliser((36, 36, 1)))
    with pytest.raises(ShapeError, match=r"\[3\]"):
        Reading((2,), normaliser=Normaliser((3,)))
