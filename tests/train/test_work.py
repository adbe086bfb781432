"""Rows are split into decisions only where nothing holds a row together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.train.bandits import Bandit

from logpi.core import Signals
from logpi.core.errors import NonFiniteError
from logpi.core.recipe import Recipe
from logpi.recipes import RECIPES
from logpi.train.work import Work, naming_rows, parts_of, rolled_up, splits_rows, work_of
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


def test_parts_hold_every_decision_once_with_what_belongs_to_it():
    _, _, split = work(RECIPES["ppo"])
    split = replace(split, signals=split.signals.having(group=None))
    policy = TabularSoftmax(zoo.make("random_walk"))
    parts = parts_of(split, policy, 4, seed=3)
    assert len(parts) == 4
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(len(split.weight)))
    for rows, part in parts:
        assert torch.equal(part.inputs.state, split.inputs.state[rows])
        assert torch.equal(part.signals.reward, split.signals.reward[rows])
        assert torch.equal(part.signals.weight, split.signals.weight[rows])
        assert part.signals.value is None
        for name in ("weight", "live", "target"):
            assert torch.equal(getattr(part, name), getattr(split, name)[rows]), name
    (only,) = parts_of(split, policy, 1, seed=3)
    assert only[1] is split
    assert parts_of(parts_of_none(split), policy, 4, seed=0) == []


def parts_of_none(w: Work) -> Work:
    return Work(w.inputs, w.signals.take(torch.arange(0)), w.weight[:0], w.live[:0], None)


def test_where_rows_cannot_be_split_those_of_other_parts_have_no_weight():
    _, whole, kept = work(RECIPES["ppo"], policy=Bandit())
    parts = parts_of(kept, Bandit(), 2, seed=0)
    assert len(parts) == 2
    assert torch.equal(sum(part.weight for _, part in parts), whole.weight)
    for rows, part in parts:
        assert part.weight[rows].sum() == part.weight.sum()
        assert torch.equal(part.live[rows], whole.live[rows])
        assert part.live.sum() == whole.live[rows].sum()


def test_rows_are_split_where_nothing_holds_them_together():
    table = TabularSoftmax(zoo.make("random_walk"))
    assert splits_rows(RECIPES["ppo"], table)
    assert not splits_rows(RECIPES["ppo"], Bandit())
    assert not splits_rows(RECIPES["gspo"], table)
    assert not splits_rows(RECIPES["dpo"], table)


def test_an_error_names_rows_by_their_numbers_in_the_whole_work():
    policy = TabularSoftmax(zoo.make("random_walk"))
    _, _, split = work(RECIPES["ppo"])
    split = replace(split, signals=split.signals.having(group=None))
    _, _, kept = work(RECIPES["ppo"], policy=Bandit())
    for whole, of in ((split, policy), (kept, Bandit())):
        rows, part = parts_of(whole, of, 2, seed=3)[1]
        number = 0 if len(part.live) == len(rows) else int(rows[0])
        assert named([number], rows, part) == [int(rows[0])]
        assert named(None, rows, part) == rows.tolist()
        some = replace(part, live=part.live.clone(), target=None)
        some.live[number] = False
        assert named(None, rows, some) == rows[1:].tolist()


def named(told, rows, part):
    with pytest.raises(NonFiniteError) as raised, naming_rows(rows, part):
        raise NonFiniteError("x", told)
    return raised.value.rows
