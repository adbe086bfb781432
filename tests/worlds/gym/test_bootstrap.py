"""Terminations never bootstrap, truncations always do, from what was truly seen last: every mode.

By hand: every stream is walked decision by decision, and its advantages are added up backwards.
"""

from __future__ import annotations

import importlib.util
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from logpi.core.returns import discounted_sum
from logpi.recipes import recipe
from logpi.train.observe import credited, observe
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.make import make_vector
from logpi.worlds.gym.source import EpisodeSource, StreamSource
from logpi.worlds.gym.vector import Sync
from logpi.worlds.gym.workers import Async
from worlds.gym.scripted import Masked, Scripted, Told, Uniform

GAMMA, LAMBDA = 0.9, 0.8
MODES = ["sync", "async", *(m.value for m in AutoresetMode)]
ENDS = [None, (1, True), (1, False), (3, True), (3, False), (40, True)]


def opened(mode, make):
    if mode == "sync":
        return Sync(make, 0)
    if mode == "async":
        return Async(make, 0, timeout=20, workers=2)
    return Entry(SyncVectorEnv(make, autoreset_mode=AutoresetMode(mode)), 0, stored=False)


def worth(x):
    """A value that no two places share."""
    return 0.01 * x[..., 0] + x[..., 1] + 0.1 * x[..., 2] + 3.0


class Both(Scripted):
    """Terminates and is truncated in the same step."""

    def step(self, action):
        seen, reward, ended, cut, info = super().step(action)
        return seen, reward, ended or cut, ended or cut, info


class Fixed:
    """A critic that does not learn."""

    def values(self, inputs):
        return worth(inputs.observation), worth(inputs.final)


def by_hand(batch, i):
    """The advantages of stream i's decisions, of rewards and observations alone."""
    x, final = batch.inputs.observation[i].double(), batch.inputs.final[i].double()
    taken = np.flatnonzero(batch.mask[i])
    found, ahead = np.full(batch.mask.shape[1], np.nan), 0.0
    for k, t in reversed(list(enumerate(taken))):
        over = bool(final[t, 1] == final[t, 2])
        dies = over and bool(final[t, 3] == 1)
        if over or k == len(taken) - 1:
            ahead = 0.0
        reward = 10 * float(x[t, 1]) + float(batch.inputs.action[i, t])
        next_value = 0.0 if dies else float(worth(final[t]))
        ahead = reward + GAMMA * next_value - float(worth(x[t])) + GAMMA * LAMBDA * ahead
        found[t] = ahead
    return found


@pytest.mark.parametrize("steps", [1, 7, 40])
@pytest.mark.parametrize("mode", MODES)
def test_advantages_are_those_that_one_adds_up_by_hand(mode, steps):
    make = [Scripted if ends is None else partial(Scripted, ends) for ends in ENDS]
    vector = opened(mode, make)
    source = StreamSource(vector, steps=steps, discount=GAMMA, seed=0)
    a2c = recipe("ppo", lam=LAMBDA)
    for iteration in range(2):  # the second begins in the middle of episodes
        batch = source.draw(Uniform(), iteration)
        signals = observe(batch, a2c, None, reference=None, critic=Fixed())
        credit = credited(signals, a2c).need("credit").numpy()
        for i in range(len(make)):
            wanted = by_hand(batch, i)
            taken = batch.mask[i].numpy()
            assert np.allclose(credit[i, taken], wanted[taken], rtol=1e-4, atol=1e-4), (i, mode)
    vector.close()


@pytest.mark.parametrize("mode", MODES)
def test_one_that_ends_in_both_ways_has_terminated(mode):
    vector = opened(mode, [Both])
    batch = StreamSource(vector, steps=9, discount=GAMMA, seed=0).draw(Uniform(), 0)
    over = batch.inputs.final[..., 1] == batch.inputs.final[..., 2]
    assert (over & batch.mask).any()
    assert torch.equal((batch.discount == 0) & batch.mask, over & batch.mask)
    assert batch.facts["terminated"] == 1
    vector.close()


@pytest.mark.parametrize("kind", [Scripted, Masked, Told])
@pytest.mark.parametrize("mode", MODES)
def test_returns_of_whole_episodes_stop_where_they_end(mode, kind):
    vector = opened(mode, [kind] * 3)
    batch = EpisodeSource(vector, starts=8, discount=GAMMA, seed=0).draw(Uniform(), 0)
    total = discounted_sum(batch.reward, batch.discount, batch.end)
    for i in range(8):
        count = int(batch.mask[i].sum())
        chosen = batch.inputs.action[i, :count].tolist()
        wanted = sum(GAMMA**t * (10 * t + a) for t, a in enumerate(chosen))
        assert float(total[i, 0]) == pytest.approx(wanted, rel=1e-5)
    vector.close()


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync", "async", "envpool"])
def test_poles_move_as_physics_says_and_end_as_the_rules_say(mode):
    if mode == "envpool" and importlib.util.find_spec("envpool") is None:
        pytest.skip("envpool is not installed")
    options = {"max_episode_steps": 15}
    vector = make_vector("CartPole-v1", 4, mode, seed=0, options=options)
    batch = StreamSource(vector, steps=400, discount=GAMMA, seed=0).draw(Uniform(2), 0)
    vector.close()
    mask = batch.mask
    x, final = batch.inputs.observation[mask], batch.inputs.final[mask]
    assert torch.allclose(final[:, 0], x[:, 0] + 0.02 * x[:, 1], atol=1e-5)
    assert torch.allclose(final[:, 2], x[:, 2] + 0.02 * x[:, 3], atol=1e-5)
    fallen = (final[:, 0].abs() > 2.4) | (final[:, 2].abs() > 12 * 2 * np.pi / 360)
    ended = batch.discount[mask] == 0
    if mode == "envpool":  # tells a fall at the time limit as a truncation
        assert not (ended & ~fallen).any()
        fallen = ended
    assert torch.equal(ended, fallen)
    assert fallen.any()
    cut = batch.end[mask] & ~fallen
    assert cut.sum() > 4, "nothing was truncated"
    for i in range(4):  # episodes are 15 decisions long where they did not fall before
        ends = np.flatnonzero(batch.end[i, mask[i]].numpy())
        lengths = np.diff(np.concatenate(([-1], ends)))
        assert lengths.max() == 15
        alive = (batch.discount[i, mask[i]].numpy() != 0)[ends][:-1]
        assert (lengths[:-1][alive] == 15).all()
    assert (batch.reward[mask] == 1).all()
