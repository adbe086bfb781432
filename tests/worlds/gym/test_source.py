"""Batches: streams that go on and come back, episodes in groups, and what is counted."""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.core.returns import discounted_sum
from logpi.core.types import Source
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.make import make_vector
from logpi.worlds.gym.source import EpisodeSource, StreamSource, Tally
from logpi.worlds.gym.vector import Sync
from logpi.worlds.gym.workers import Async
from worlds.gym.scripted import Masked, Scripted, Uniform, consistent


def stream(make, **options):
    return StreamSource(Sync(make, 0), **{"steps": 16, "discount": 0.9, "seed": 0, **options})


def equal(a, b):
    for name in ("mask", "reward", "discount", "end", "weight", "logp_old"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name in ("observation", "action", "final"):
        assert torch.equal(getattr(a.inputs, name), getattr(b.inputs, name)), name
    timed = ("seconds_environments", "environments_share")
    assert {k: v for k, v in a.facts.items() if k not in timed} == {
        k: v for k, v in b.facts.items() if k not in timed
    }


def test_streams_go_on_from_batch_to_batch():
    source = stream([partial(Scripted, longest=40)] * 3, steps=7)
    assert isinstance(source, Source)
    batches = [source.draw(Uniform(), k) for k in range(12)]
    for a, b in itertools.pairwise(batches):
        going = a.inputs.final[:, -1, 1] < a.inputs.final[:, -1, 2]
        assert going.any()
        assert torch.equal(a.inputs.final[going, -1], b.inputs.observation[going, 0])
        assert (b.inputs.observation[~going, 0, 1] == 0).all()
    for b in batches:
        x, final = (y.flatten(0, 1).numpy() for y in (b.inputs.observation, b.inputs.final))
        discount, end = b.discount.flatten().numpy(), b.end.flatten().numpy()
        consistent(x, final, discount, end, gamma=0.9)
        assert b.end[:, -1].all()


def test_returns_are_of_whole_episodes_also_those_longer_than_a_rollout():
    class One(Uniform):
        def choose(self, observation, mask, u):
            return np.ones(len(u), np.int64), np.zeros(len(u), np.float32)

    source = stream([partial(Scripted, (10, True)), partial(Scripted, (25, False))], steps=7)
    facts = [source.draw(One(), k).facts for k in range(20)]
    a, b = ((length, sum(10 * t + 1 for t in range(length))) for length in (10, 25))
    ended = {(10, True): 0, (25, False): 0}
    for k, f in enumerate(facts):
        first = [t for t in range(7 * k + 1, 7 * k + 8) if t % 10 == 0]
        second = [t for t in range(7 * k + 1, 7 * k + 8) if t % 25 == 0]
        ended[10, True] += len(first)
        ended[25, False] += len(second)
        count = len(first) + len(second)
        assert f["episodes"] == count
        if count:
            assert f["return"] == (len(first) * a[1] + len(second) * b[1]) / count
            assert f["episode_length"] == (len(first) * 10 + len(second) * 25) / count
            assert f["terminated"] == len(first) / count
        else:
            assert "return" not in f
        assert 0 < f["environments_share"] < 1
    assert ended == {(10, True): 14, (25, False): 5}


@given(st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=6, max_size=6),
                min_size=1, max_size=3), st.integers(1, 5))  # fmt: skip
def test_a_tally_counts_as_one_would_by_hand(script, cut):
    done = np.array([[d for d, _ in row] for row in script])
    mask = np.array([[m for _, m in row] for row in script]) | done
    reward = np.arange(done.size, dtype=float).reshape(done.shape) * mask
    wanted = []
    running = [(0.0, 0)] * len(script)
    for span in (slice(0, cut), slice(cut, 6)):
        part = []
        for i in range(len(script)):
            for t in range(*span.indices(6)):
                total, length = running[i]
                running[i] = (total + reward[i, t], length + int(mask[i, t]))
                if done[i, t]:
                    part.append(running[i])
                    running[i] = (0.0, 0)
        wanted.append(part)
    tally = Tally(len(script))
    for span, part in zip((slice(0, cut), slice(cut, 6)), wanted, strict=True):
        total, length = tally.count(reward[:, span], done[:, span], mask[:, span])
        assert list(zip(total.tolist(), length.tolist(), strict=True)) == part
    assert list(zip(tally.total, tally.length, strict=True)) == running


def vector_of(mode):
    if mode == "entry":
        return make_vector("CartPole-v1", 3, "vector_entry_point", seed=0)
    make = [partial(Scripted, longest=30)] * 3
    return Sync(make, 0) if mode == "sync" else Async(make, 0, timeout=20, workers=2)


@pytest.mark.parametrize("mode", ["sync", "async", "entry"])
def test_a_restored_source_draws_what_it_would_have(mode):
    vectors = vector_of(mode), vector_of(mode)
    whole, later = (StreamSource(v, steps=11, discount=0.9, seed=3) for v in vectors)
    policy = Uniform(2)
    for k in range(3):
        whole.draw(policy, k)
    later.restore(json.loads(json.dumps(whole.state(), allow_nan=False)))
    for k in range(3, 7):
        equal(whole.draw(policy, k), later.draw(policy, k))
    assert whole.state() == later.state()
    for v in vectors:
        v.close()


def test_episodes_that_are_not_gone_on_with_are_not_counted_into_those_that_begin():
    def source(steps):
        many = SyncVectorEnv([partial(Scripted, (10, True))] * 2)
        return StreamSource(Entry(many, 0, stored=False), steps=steps, discount=0.9, seed=3)

    first, later = source(7), source(19)
    first.draw(Uniform(), 0)
    with pytest.warns(UserWarning, match="cannot be brought back"):
        later.restore(json.loads(json.dumps(first.state())))
    facts = later.draw(Uniform(), 1).facts
    assert (facts["episodes"], facts["episode_length"]) == (2, 10)
    assert 450 <= facts["return"] <= 470


def test_every_iteration_and_run_seed_has_random_numbers_of_its_own():
    def actions(seed, iteration):
        drawn = stream([partial(Scripted, (99, True))] * 3, seed=seed).draw(Uniform(), iteration)
        return drawn.inputs.action

    assert torch.equal(actions(0, 4), actions(0, 4))
    assert not torch.equal(actions(0, 4), actions(0, 5))
    assert not torch.equal(actions(0, 4), actions(1, 4))


def test_a_source_that_has_drawn_nothing_has_no_state():
    source = stream([Scripted])
    source.restore(source.state())
    equal(source.draw(Uniform(), 0), stream([Scripted]).draw(Uniform(), 0))


def test_rewards_that_are_learned_from_may_differ_from_those_that_are_told():
    plain, scaled = (
        stream([Scripted] * 2, rescale=r) for r in (None, lambda x, done, mask: x / 4 + done)
    )
    a, b = plain.draw(Uniform(), 0), scaled.draw(Uniform(), 0)
    over = a.inputs.final[..., 1] == a.inputs.final[..., 2]
    assert torch.equal(b.reward, a.reward / 4 + over)
    assert a.facts["return"] == b.facts["return"]


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_rewards_of_any_scale_stay_finite(scale):
    class Scaled(Scripted):
        def step(self, action):
            found = super().step(action)
            return (found[0], scale * found[1], *found[2:])

    batch = stream([partial(Scaled, longest=30)] * 2).draw(Uniform(), 0)
    returns = discounted_sum(batch.reward, batch.discount, batch.end)
    assert returns.isfinite().all()
    assert torch.allclose(batch.reward, scale * stream([partial(Scripted, longest=30)] * 2).draw(
        Uniform(), 0).reward)  # fmt: skip


def test_one_environment_one_step_and_all_at_once():
    batch = stream([partial(Scripted, (1, True))], steps=1).draw(Uniform(), 0)
    assert (batch.mask, batch.end, batch.discount) == (torch.ones(1, 1, dtype=torch.bool),) * 2 + (
        torch.zeros(1, 1),
    )
    together = stream([partial(Scripted, (2, False))] * 4, steps=4).draw(Uniform(), 0)
    assert together.end.tolist() == [[False, True, False, True]] * 4
    assert together.discount.allclose(torch.tensor(0.9))


def test_nothing_to_draw_is_refused():
    with pytest.raises(ConfigError, match="a rollout of 0 decisions"):
        stream([Scripted], steps=0)
    with pytest.raises(ConfigError, match="0 starts of 2 episodes"):
        EpisodeSource(Sync([Scripted], 0), starts=0, copies=2, discount=0.9, seed=0)


def test_episodes_come_in_groups_that_share_their_start():
    vector = Sync([partial(Scripted, longest=9)] * 4, 0)
    source = EpisodeSource(vector, starts=3, copies=4, discount=0.9, seed=0)
    assert isinstance(source, Source)
    batch = source.draw(Uniform(), 0)
    assert batch.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    start = batch.inputs.observation[:, 0, 0].reshape(3, 4)
    assert (start == start[:, :1]).all()
    assert len(start[:, 0].unique()) == 3
    assert len(batch.inputs.action[:4].unique(dim=0)) > 1
    mask = batch.mask
    x, final = batch.inputs.observation[mask].numpy(), batch.inputs.final[mask].numpy()
    discount, end = batch.discount[mask].numpy(), batch.end[mask].numpy()
    assert consistent(x, final, discount, end, gamma=0.9) == batch.end.sum() == 12
    assert batch.facts["episodes"] == 12
    assert batch.facts["episode_length"] == float(mask.sum()) / 12
    following = source.draw(Uniform(), 1).inputs.observation[:, 0, 0].reshape(3, 4)
    assert not torch.equal(following, start)


def test_an_iterations_episodes_do_not_depend_on_those_before():
    def source():
        return EpisodeSource(Sync([Masked] * 2, 0), starts=3, copies=2, discount=0.9, seed=1)

    one, other = source(), source()
    one.draw(Uniform(), 0)
    other.restore(one.state())
    equal(one.draw(Uniform(), 5), other.draw(Uniform(), 5))


def test_groups_need_environments_that_are_reset_one_by_one():
    vector = make_vector("CartPole-v1", 2, "vector_entry_point", seed=0)
    batch = EpisodeSource(vector, starts=4, discount=0.9, seed=0).draw(Uniform(2), 0)
    assert batch.facts["episodes"] == 4
    assert batch.rows == 4
    with pytest.raises(ConfigError, match="share a reset seed"):
        EpisodeSource(vector, starts=2, copies=2, discount=0.9, seed=0).draw(Uniform(2), 0)
