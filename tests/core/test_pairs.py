"""The margin that each preference method counts, against sums written out."""

import math

import pytest
import torch

from logpi.core import Recipe, coefficient, credit
from logpi.core.pairs import pair_figures
from logpi.core.types import Signals
from logpi.recipes import RECIPES, recipe

NAN = math.nan
# Two pairs: rows 0 and 1, rows 2 and 3; the first of each is the chosen one.
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 0]]).bool()
LOGP = torch.tensor([[-1.0, -1.0, -1.0], [-2.0, NAN, NAN], [-1.0, -1.0, NAN], [-1.0, -0.5, NAN]])
REF = torch.tensor([[-1.0, -1.0, -0.5], [-1.0, NAN, NAN], [-2.0, -2.0, NAN], [-1.0, -0.5, NAN]])


def signals(logp=LOGP, ref=REF):
    reward = torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None] * torch.tensor([1.0, 0.0, 0.0])
    s = Signals(
        mask=MASK,
        reward=reward,
        discount=torch.ones_like(reward),
        end=torch.zeros_like(MASK),
        weight=torch.full((4,), 0.25),
        group=torch.tensor([0, 0, 1, 1]),
        logp=logp,
        logp_ref=ref,
    )
    return s.having(credit=credit.preference_sign(s))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("dpo", -0.5 - -1.0, 2.0 - 0.0),
        ("ipo", -0.5 - -1.0, 2.0 - 0.0),
        ("dpo_mean", -0.5 / 3 - -1.0, 1.0 - 0.0),
        ("simpo", -1.0 - -2.0, -1.0 - -0.75),
    ],
)
@pytest.mark.parametrize("constants", [{}, {"beta": 3.0}])
def test_the_lead_is_the_method_s_own(name, first, second, constants):
    figures = pair_figures(recipe(name, **constants).coefficient, signals())
    assert figures["margin"] == pytest.approx((first + second) / 2)
    assert figures["preferred"] == ((first > 0) + (second > 0)) / 2


def test_without_a_lead_a_pair_counts_by_half():
    figures = pair_figures(RECIPES["dpo"].coefficient, signals(ref=LOGP))
    assert figures == {"margin": 0.0, "preferred": 0.5}


def test_a_pair_that_was_not_computed_is_left_out():
    logp = LOGP.clone()
    logp[:2] = NAN
    figures = pair_figures(RECIPES["dpo"].coefficient, signals(logp=logp))
    assert figures == {"margin": 2.0, "preferred": 1.0}
    assert pair_figures(RECIPES["dpo"].coefficient, signals(logp=LOGP * NAN)) == {}


def test_what_compares_no_pairs_has_no_margin():
    assert pair_figures(coefficient.plain, signals()) == {}
    mixed = coefficient.total(coefficient.preference_margin(0.1), coefficient.plain)
    assert pair_figures(Recipe("pairs", credit.preference_sign, mixed).coefficient, signals())
