"""Multisets weigh as their orderings do, and what cannot be enumerated says how much there is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.worlds import REFERENCE, fork

from logpi.audit import audit
from logpi.audit.enumeration import rows_and_batches
from logpi.audit.models import chain, texts
from logpi.audit.setup import setup_of
from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact.units import count_batches, every_batch, multisets, plan_of
from logpi.worlds.mdp.zoo import bandit


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_a_multiset_has_the_probability_of_its_orderings(n, size, seed):
    p = np.random.Generator(np.random.Philox(seed)).dirichlet(np.ones(n))
    index, probability = multisets(p, size)
    found = {tuple(i): w for i, w in zip(index.tolist(), probability.tolist(), strict=True)}
    ordered: dict[tuple[int, ...], float] = {}
    for draw in itertools.product(range(n), repeat=size):
        key = tuple(sorted(draw))
        ordered[key] = ordered.get(key, 0.0) + float(np.prod(p[list(draw)]))
    assert found.keys() == ordered.keys()
    assert all(math.isclose(found[k], ordered[k], rel_tol=1e-12) for k in found)
    assert len(index) == count_batches(
        np.array([n]), plan_of("groups", group_size=max(2, size))
    ) or (size == 1)


@pytest.mark.parametrize("name", ["rloo", "dapo", "dpo", "reinforce", "remax"])
def test_probabilities_sum_to_one_and_units_share_their_start(name):
    setup = setup_of(name, fork(), group_size=3, reference=REFERENCE)
    rows, draws = rows_and_batches(setup)
    assert float(draws.probability.sum()) == pytest.approx(1, abs=1e-14)
    start = rows.start[draws.rows]
    assert (start == start[:, :1]).all()
    assert draws.rows.shape[1] == setup.plan.size


def test_several_groups_are_drawn_from_their_own_starts():
    rows, draws = rows_and_batches(setup_of("rloo", fork(), group_size=2, groups=2))
    start = rows.start[draws.rows].reshape(-1, 2, 2)
    assert (start[:, :, 0] == start[:, :, 1]).all()
    assert (start[:, 0, 0] != start[:, 1, 0]).any()
    assert draws.unit.tolist() == [0, 0, 1, 1]


def test_only_units_that_differ_are_kept_and_the_rest_is_drawn_again():
    m = bandit([1.0, 0.0, 0.0], policy=[0.5, 0.25, 0.25])
    rows, draws = rows_and_batches(setup_of("dapo", m, group_size=2))
    assert (rows.total[draws.rows[:, 0]] != rows.total[draws.rows[:, 1]]).all()
    assert draws.probability.tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="have the same return"):
        audit("dapo", bandit([1.0, 1.0], policy=[0.5, 0.5]))


def test_pairs_by_bradley_terry():
    m = bandit([1.0, 0.0], policy=[0.5, 0.5])
    rows, draws = rows_and_batches(setup_of("dpo", m, label="bradley-terry"))
    better = 1 / (1 + math.exp(-1))
    found = {
        tuple(rows.total[pair].tolist()): p
        for pair, p in zip(draws.rows, draws.probability.tolist(), strict=True)
    }
    assert found[1.0, 0.0] == pytest.approx(better / 2)
    assert found[0.0, 1.0] == pytest.approx((1 - better) / 2)
    assert found[1.0, 1.0] == found[0.0, 0.0] == pytest.approx(0.25)


def test_dpo_on_bradley_terry_pairs_descends_its_loss():
    """By hand: E[−log σ(m)] over labelled pairs of a bandit, differentiated by autograd."""
    p, r, beta = [0.6, 0.3, 0.1], [1.0, 0.0, 2.0], 0.1
    m = bandit(r, policy=p)
    ref = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]])
    report = audit("dpo", m, reference=ref, label="bradley-terry")
    theta = torch.tensor(p, dtype=torch.float64).log().requires_grad_()
    gap = beta * (theta.log_softmax(0) - torch.from_numpy(ref[0]).log())
    pay = torch.tensor(r, dtype=torch.float64)
    drawn = torch.from_numpy(np.outer(ref[0], ref[0]))
    chosen = torch.sigmoid(pay[:, None] - pay)
    loss = -(2 * drawn * chosen * torch.nn.functional.logsigmoid(gap[:, None] - gap)).sum()
    slope = torch.autograd.grad(loss, theta)[0]
    assert (report.mean[:3] + slope).abs().max() <= 1e-15


def test_too_many_say_how_many_and_offer_a_sample():
    with pytest.raises(ConfigError, match=r"314,457,495 batches .* audit\.sampled"):
        audit("rloo", texts(3, 3), group_size=8)
    with pytest.raises(
        ConfigError, match=r"has 3,888 trajectories.*limit of 1,000.*audit\.sampled"
    ):
        audit("reinforce", chain(0), horizon=4, limit=1000)
    with pytest.raises(ConfigError, match="horizon"):
        audit("reinforce", chain(0))
    with pytest.raises(ConfigError, match="about 1e"):
        audit("rloo", texts(3, 3), group_size=64)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"group_size": 1}, "at least 2"),
        ({"group_size": 0}, "group_size is 0"),
        ({"groups": 0}, "groups is 0"),
    ],
)
def test_impossible_sizes(told, message):
    with pytest.raises(ConfigError, match=message):
        audit("rloo", fork(), **told)


def test_rows_that_never_occur_are_in_no_batch():
    """A behaviour that never takes an action: no batch has such rows."""
    never = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
    setup = setup_of("off_policy_ac", fork(), behaviour=never)
    rows, draws = rows_and_batches(setup)
    taken = rows.steps.action[draws.rows.flatten()][:, 0]
    assert (taken[rows.start[draws.rows.flatten()] == 0] == 0).all()
    again = every_batch(
        rows,
        torch.zeros(rows.count).index_fill(0, torch.tensor([0]), 1.0).double(),
        setup.plan,
        limit=10,
    )
    assert again.count == 1
