"""Rows are split into decisions only where nothing holds a row together."""

from __future__ import annotations

import torch
from tests.train.bandits import Bandit

from logpi.core import Signals
from logpi.core.recipe import Recipe
from logpi.recipes import RECIPES
from logpi.train.work import Work, rolled_up, work_of
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.policy import TabularSoftmax
from logpi.worlds.mdp.source import Draw, SampledSource


def work(recipe: Recipe, *, policy=None):
    m = zoo.make("random_walk")
    policy = policy or TabularSoftmax(m)
    batch = SampledSource(m, Draw(3, 2, 9), seed=0).draw(TabularSoftmax(m), 0)
    signals = Signals.of(batch)
    weight = recipe.aggregate(batch.mask, batch.weight)
    whole = Work(batch.inputs, signals, weight, batch.mask, signals.reward)
    return batch, whole, work_of(whole, recipe, policy)


def test_decisions_of_a_table_stand_alone():
    batch, whole, split = work(RECIPES["ppo"])
    count = int(batch.mask.sum())
    assert split.signals.mask.shape == (count, 1)
    assert split.inputs.state.shape == (count, 1)
    assert torch.equal(split.inputs.state[:, 0], batch.inputs.state[batch.mask])
    assert torch.allclose(split.weight.sum(), whole.weight[batch.mask].sum())
    back = rolled_up(split.target, batch.mask, empty=0.0)
    assert torch.equal(back, torch.where(batch.mask, batch.reward, 0.0))


def test_sequence_ratios_pairs_and_other_policies_keep_their_rows():
    for recipe in (RECIPES["gspo"], RECIPES["dpo"]):
        _, whole, kept = work(recipe)
        assert kept is whole
    _, whole, kept = work(RECIPES["ppo"], policy=Bandit())
    assert kept is whole
