"""Rollouts: every decision with what truly followed it, and nothing that was no decision."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from logpi.core.errors import ConfigError
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.rollout import Buffers, collect, empty_actions, randomness, rows_of, uniform
from logpi.worlds.gym.spaces import Actions
from logpi.worlds.gym.vector import Sync
from logpi.worlds.gym.workers import Async
from worlds.gym.scripted import Continuous, Masked, Scripted, Told, Uniform, consistent

GAMMA = 0.9


def opened(mode, make):
    if mode == "sync":
        return Sync(make, 0)
    if mode == "async":
        return Async(make, 0, timeout=20, workers=2)
    return Entry(SyncVectorEnv(make, autoreset_mode=AutoresetMode(mode)), 0)


MODES = ["sync", "async", *(m.value for m in AutoresetMode)]


def rolled(vector, steps, policy=None, seed=0):
    b = Buffers.make(vector.num, steps, vector.observations, vector.actions, np.float32)
    collect(vector, policy or Uniform(), b, vector.reset(), randomness(seed))
    vector.close()
    return b, *rows_of(b, GAMMA)


@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("mode", MODES)
def test_every_decision_has_what_truly_followed_it(mode, steps):
    make = [Scripted, partial(Scripted, (1, True)), partial(Scripted, (3, False))]
    b, x, mask, discount, end = rolled(opened(mode, make), steps)
    seen, final = x.observation.numpy()[mask], x.final.numpy()[mask]
    ends = consistent(seen, final, discount[mask], end[mask], gamma=GAMMA)
    assert ends >= 30 or steps < 50
    assert b.reward[mask].tolist() == (10 * seen[:, 1] + b.action[mask]).tolist()
    last = [np.flatnonzero(m)[-1] for m in mask]
    assert all(end[i, t] for i, t in enumerate(last))
    assert end.sum() == ends + sum(
        int(x.final[i, t, 1] != x.final[i, t, 2]) for i, t in enumerate(last)
    )


@pytest.mark.parametrize("mode", MODES)
def test_only_next_step_resets_have_idle_steps_which_sums_pass_through(mode):
    b, _, mask, discount, end = rolled(opened(mode, [partial(Scripted, (2, True))] * 2), 9)
    waits = mode == AutoresetMode.NEXT_STEP.value
    assert mask.tolist() == [[not waits or t % 3 != 2 for t in range(9)]] * 2
    assert (discount[~mask] == 1).all()
    assert (b.reward[~mask] == 0).all()
    assert not end[~mask].any()


def test_the_streams_are_the_same_whenever_a_reset_happens():
    def told(mode):
        _, x, mask, discount, end = rolled(opened(mode, [Scripted] * 3), 60)
        parts = (x.observation.numpy(), x.final.numpy(), discount, end)
        return [[p[i][mask[i]] for p in parts] for i in range(3)]

    same, following = told("SameStep"), told("NextStep")
    for a, b in zip(same, following, strict=True):
        k = len(b[0]) - 1  # the last one is an end because the row is over
        assert 20 < k < len(a[0])
        assert all(np.array_equal(p[:k], q[:k]) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", [Scripted, Told, Masked, Continuous])
def test_processes_change_nothing(kind):
    policy = Uniform(width=2) if kind is Continuous else None
    one, many = (rolled(opened(mode, [kind] * 3), 25, policy) for mode in ("sync", "async"))
    for name in ("observation", "action", "logp", "reward", "terminated", "truncated", "idle"):
        assert np.array_equal(getattr(one[0], name), getattr(many[0], name)), name
    assert torch.equal(one[1].final, many[1].final)
    assert (one[1].action_mask is None) == (many[1].action_mask is None)


def test_masks_are_kept_beside_the_decisions_they_allowed():
    b, x, *_ = rolled(opened("sync", [Masked] * 2), 20)
    allowed = x.action_mask.gather(2, x.action[..., None])
    assert allowed.all()
    assert torch.equal(x.action, x.observation[..., 1].long() % 3)
    assert (b.logp == 0).all()


def test_without_an_end_nothing_is_copied():
    b, x, *_ = rolled(opened("sync", [partial(Scripted, (99, True))] * 2), 20)
    assert np.shares_memory(b.observation, x.final.numpy())
    b, x, *_ = rolled(opened("NextStep", [Scripted] * 2), 20)
    assert np.shares_memory(b.observation, x.final.numpy())


def test_actions_are_kept_as_the_policy_means_them():
    _, x, *_ = rolled(opened("sync", [Continuous] * 2), 5, Uniform(width=2))
    assert x.action.shape == (2, 5, 2)
    assert x.action.dtype == torch.float32
    assert empty_actions((3,), Actions("multidiscrete", (2, 4))).dtype == np.int64


def test_buffers_of_no_steps_are_refused():
    v = Sync([Scripted], 0)
    with pytest.raises(ConfigError, match="a rollout of 0 decisions holds nothing"):
        Buffers.make(1, 0, v.observations, v.actions, np.float32)


def test_uniform_numbers_are_inside_and_follow_from_the_seed():
    class Zero:
        def random(self, shape):
            return np.zeros(shape)

    assert uniform(Zero(), (2,)).min() > 0
    a, b = (uniform(randomness(0, 1), (1000,)) for _ in range(2))
    assert np.array_equal(a, b)
    assert a.max() < 1
    assert not np.array_equal(a, uniform(randomness(1, 0), (1000,)))
