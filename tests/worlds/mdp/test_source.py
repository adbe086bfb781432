"""Where the finite world's batches come from, and what a cut walk keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.batches import batch_of_rollout, returns_of, take
from logpi.worlds.mdp.critic import ExactCritic, TableQ, TableV
from logpi.worlds.mdp.planning import action_values, evaluate
from logpi.worlds.mdp.policy import TabularSoftmax
from logpi.worlds.mdp.rollout import rollout, start_states
from logpi.worlds.mdp.source import Draw, ReplaySource, SampledSource


def walk(m, *, limit, seed=0, rows=4):
    pi = TabularSoftmax(m).probabilities()
    return rollout(m, pi, start_states(m, rows, seed), limit=limit, seed=seed), pi


def test_walks_visit_as_often_as_the_chain_says():
    m = zoo.make("random_walk")
    found, _ = walk(m, limit=1000, rows=4000)
    # From the middle of five states the right end, which pays 1, is reached half of the time.
    assert found.terminated.all()
    assert found.reward.sum(1).mean() == pytest.approx(0.5, abs=0.03)
    assert found.length.mean() == pytest.approx(9.0, abs=0.4)  # k (n − k) steps to either end


def test_a_walk_is_a_function_of_its_seed():
    m = zoo.make("cliff")
    a, b, c = (walk(m, limit=20, seed=s)[0].state for s in (1, 1, 2))
    assert (a == b).all()
    assert not np.array_equal(a, c)


@given(st.integers(0, 1000))
def test_what_a_row_says_is_what_was_walked(seed):
    m = zoo.make("garnet", states=6, actions=3, branching=2, seed=seed % 7)
    found, pi = walk(m, limit=5, seed=seed)
    batch = batch_of_rollout(m, found, horizon=None, policy=pi)
    for i in range(batch.rows):
        for t in range(int(found.length[i])):
            s, a = found.state[i, t], found.action[i, t]
            assert found.next_state[i, t] in m.row(s, a)[0]
            assert found.reward[i, t] == m.reward[s, a]
            assert float(batch.logp_old[i, t]) == pytest.approx(np.log(pi[s, a]))
    assert (batch.discount[batch.mask] == m.discount).all()
    over = batch_of_rollout(m, found, horizon=5, policy=pi)
    assert (over.discount[over.end] == 0).all()
    power = m.discount ** np.arange(found.reward.shape[1])
    assert np.allclose(returns_of(batch), (found.reward * power).sum(1))


def test_rows_that_are_taken_weigh_the_same():
    m = zoo.make("random_walk")
    found, pi = walk(m, limit=50)
    batch = batch_of_rollout(m, found, horizon=None, policy=pi)
    some = take(batch, torch.tensor([2, 0]))
    assert some.weight.tolist() == [0.5, 0.5]
    assert torch.equal(some.reward[1], batch.reward[0])


def test_pairs_and_mixed_groups_hold_no_ties():
    m = zoo.make("bandit", means=(0.0, 1.0))
    policy = TabularSoftmax(m)
    for compare, copies in (("pairs", 2), ("mixed-groups", 4)):
        source = SampledSource(m, Draw(6, copies, 5), seed=3, compare=compare)
        batch = source.draw(policy, 0)
        total = returns_of(batch)
        for g in batch.group.unique():
            assert len(total[batch.group == g].unique()) == 2
        assert len(batch.group.unique()) <= 6
        assert compare != "pairs" or batch.facts["rows_dropped"] > 0


def test_replayed_rows_are_the_behaviours_and_stay():
    m = zoo.make("cliff")
    pi = TabularSoftmax(m).probabilities()
    a = ReplaySource(m, Draw(4, 2, 10), pi, seed=5).draw(None, 3)
    b = ReplaySource(m, Draw(4, 2, 10), pi, seed=5).draw(None, 3)
    assert torch.equal(a.inputs.state, b.inputs.state)
    assert torch.allclose(a.logp_old[a.mask], torch.tensor(np.log(0.25)))


def test_critics_reach_what_the_exact_ones_know():
    m = zoo.make("random_walk", discount=0.9)
    policy = TabularSoftmax(m)
    exact = ExactCritic(m, policy, of_actions=False)
    batch = SampledSource(m, Draw(64, 4, 200), seed=0).draw(policy, 0)
    value, following = exact.values(batch.inputs)
    assert torch.allclose(
        value, torch.tensor(evaluate(m, policy.probabilities()))[batch.inputs.state]
    )
    target = batch.reward + batch.discount * following
    weight = batch.mask / batch.mask.sum()
    for critic, q in ((TableV(m), None), (TableQ(m, policy), True)):
        optimizer = torch.optim.Adam([p for _, p in critic.named_parameters()], lr=0.05)
        for _ in range(300):
            optimizer.zero_grad()
            critic.loss(batch.inputs, target, weight)
            optimizer.step()
        found = critic.values(batch.inputs)[0]
        wanted = value
        if q:
            table = np.where(m.allowed, action_values(m, policy.probabilities()), 0.0)
            wanted = torch.tensor(table)[batch.inputs.state, batch.inputs.action]
        assert (weight * (found - wanted).square()).sum() < 0.02
