"""Records of decisions: zero and "not assigned" are different facts."""

from __future__ import annotations

import json
import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.train.bandits import Bandit, batch_of

import logpi
from logpi.train.observe import credited, observe
from logpi.train.record import decision_records, numbers
from logpi.train.update import accumulate

ARMS = torch.tensor([0, 2, 1, 1])


def test_a_skipped_decision_has_a_zero_and_an_absent_one_has_null():
    world, recipe = Bandit(), logpi.recipe("rloo")
    batch = batch_of(world, ARMS)
    signals = observe(batch, recipe, world, reference=world.reference_log_prob, critic=None)
    signals = credited(signals, recipe)
    weight = recipe.aggregate(batch.mask, batch.weight)
    live = recipe.live(batch.mask, signals.credit, weight)
    pushed = accumulate(world, ARMS, signals, weight, recipe=recipe, live=live)
    records = decision_records(
        batch, signals, weight, pushed=pushed, recipe=recipe, rows=[0, 2], describe=world.describe
    )
    assert records[0]["coefficient"] == [2.0]
    assert records[1]["coefficient"] == [0.0]
    assert records[1]["logp"] == records[1]["logp_old"]
    assert records[0]["logp_ref"] is None
    assert records[0]["clipped"] == [False]
    assert records[0]["reward"] == 1.0
    assert records[0]["group"] == 0
    json.dumps(records, allow_nan=False)


def test_numbers_are_json():
    x = torch.tensor([[1.0, float("inf"), float("nan"), 0.0]])
    assert numbers(x, torch.tensor([[True, True, True, False]])) == [[1.0, None, None, None]]


@given(st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_nine_digits_are_single_precision(values):
    x = torch.tensor(values)
    (found,) = numbers(x[None], torch.ones(1, len(values), dtype=torch.bool))
    told = [math.nan if v is None else v for v in found]
    where = x.isfinite()
    assert torch.tensor(told)[where].tolist() == x[where].tolist()
    text = json.dumps([v for v in told if 1e-9 < abs(v) < 1e8])
    assert all(len(v.strip(" []-").replace(".", "").lstrip("0")) < 14 for v in text.split(","))
