"""Batches of everything there is: groups, pairs and rows, each weighed by its probability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.audit.worlds import fork

import logpi
from logpi.audit import audit
from logpi.core.aggregate import per_sequence
from logpi.core.errors import ConfigError
from logpi.recipes import RECIPES
from logpi.train.observe import credited, observe
from logpi.train.update import accumulate
from logpi.worlds.mdp.enumerated import EnumeratedSource
from logpi.worlds.mdp.exact.units import plan_of
from logpi.worlds.mdp.policy import TabularSoftmax

ACROSS = {"reinforce_pp", "reinforce_pp_baseline"}  # whiten over the batch, whose size they see


def stepped(world, name, row, tmp_path):
    """∇ of the first step that training takes."""
    opened = world.open(name, row, seed=0, scratch=tmp_path)
    batch = opened.source.draw(opened.policy, 0)
    signals = observe(
        batch,
        row,
        opened.policy,
        reference=opened.reference_log_prob,
        critic=opened.critic,
    )
    signals = credited(signals, row)
    weight = row.aggregate(batch.mask, batch.weight)
    live = row.live(batch.mask, signals.credit, weight)
    accumulate(opened.policy, batch.inputs, signals, weight, recipe=row, live=live)
    return -opened.policy.logits.grad.flatten(), batch


@pytest.mark.parametrize("name", [n for n in RECIPES if n not in ACROSS])
def test_a_step_is_the_mean_of_the_steps_of_sampled_batches(name, tmp_path):
    """What the audit says they are on average; means over the batch's tokens are a row's here."""
    row = RECIPES[name]
    if "per_token" in row.aggregate.__name__:
        row = replace(row, aggregate=per_sequence)
    world = logpi.MDP(fork(), source="enumerated", critic="exact", group_size=3)
    found, batch = stepped(world, name, row, tmp_path)
    assert batch.weight.sum().item() == pytest.approx(1, abs=1e-12)
    mean = audit(row, fork(), group_size=3).mean
    assert (found - mean).abs().max() <= 1e-14 * max(1, float(mean.abs().max()))
    assert (found != 0).any() or name == "rft"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_trains_on_everything(name, tmp_path):
    options = {"means": [0.0, 1.0, 0.3]}
    run = logpi.train(
        recipe=name,
        world=logpi.MDP("bandit", options=options, source="enumerated", group_size=2),
        iterations=40,
        directory=tmp_path / "run",
        quiet=True,
    )
    assert run.evaluate()["return"] > 1.3 / 3 + 0.1
    assert "eval/return" in run.metrics[-1]


def test_groups_are_weighed_like_the_draws_they_stand_for():
    m = fork()
    source = EnumeratedSource(m, horizon=None, plan=plan_of("groups", group_size=2))
    batch = source.draw(TabularSoftmax(m), 0)
    assert (torch.bincount(batch.group) == 2).all()
    first = batch.inputs.state[:, 0]
    assert (first.view(-1, 2)[:, 0] == first.view(-1, 2)[:, 1]).all()
    of_start = torch.zeros(3, dtype=torch.float64).index_add(0, first, batch.weight)
    assert of_start.tolist() == pytest.approx([0.7, 0.3, 0.0])
    assert batch.facts["return"] == pytest.approx(
        float(batch.weight @ (batch.reward * torch.tensor([1.0, 0.9])).sum(1))
    )
    assert source.state() == {}


def test_another_policys_rows_carry_its_log_probabilities_only_where_they_are_recorded():
    m, pi = fork(), np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
    told = {"plan": plan_of("replay"), "behaviour": pi}
    known = EnumeratedSource(m, horizon=None, **told).draw(TabularSoftmax(m), 0)
    assert (known.inputs.action[known.inputs.state[:, 0] == 0, 0] == 0).all()
    assert known.logp_old[known.mask].exp().unique().tolist() == [0.5, 1.0]
    silent = EnumeratedSource(m, horizon=None, recorded=False, **told).draw(TabularSoftmax(m), 0)
    assert silent.logp_old is None


def test_too_many_groups_are_counted(monkeypatch):
    from logpi.worlds.mdp import enumerated

    monkeypatch.setattr(enumerated, "MOST", 3)
    m = fork()
    source = EnumeratedSource(m, horizon=None, plan=plan_of("groups", group_size=4))
    with pytest.raises(ConfigError, match="more than the limit of 3"):
        source.draw(TabularSoftmax(m), 0)
