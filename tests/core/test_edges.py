"""Nothing, one, and too much: batches without rows or columns, equal credits, far ratios."""

from __future__ import annotations

import pytest
import torch
from tests.core import cases
from tests.core.cases import Case, coefficients, gap, gradient

from logpi import recipes
from logpi.core import Signals, credit, groups
from logpi.core.errors import GroupError, PairError
from logpi.core.nearest import nearest

NAMES = sorted(recipes.RECIPES)


def without_rows() -> Case:
    return cases.groups().take(torch.tensor([], dtype=torch.long))


def without_columns(case: Case) -> Case:
    cut = {
        name: x[:, :0] if x.dim() == 2 else x
        for name in Signals.__dataclass_fields__
        if (x := getattr(case.signals, name)) is not None
    }
    return Case(case.logits.detach()[:, :0].requires_grad_(), case.actions[:, :0], Signals(**cut))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_rows(name):
    row = recipes.RECIPES[name]
    assert coefficients(without_rows(), row).shape == (0, 6)
    assert gradient(without_rows(), row).shape == (0, 6, cases.ACTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_decisions(name):
    row = recipes.RECIPES[name]
    if row.data == "pairs":  # no decision, no reward: neither row is better
        with pytest.raises(PairError, match="Drop the pair"):
            coefficients(without_columns(cases.pairs()), row)
        return
    case = without_columns(cases.groups())
    assert coefficients(case, row).shape == (11, 0)
    assert gradient(case, row).shape == (11, 0, cases.ACTIONS)


# -- whitening -----------------------------------------------------------------------------------


def whitened(rewards: list[list[float]], weight: list[float], mask=None) -> torch.Tensor:
    x = torch.tensor(rewards, dtype=torch.float64)
    every = torch.ones(x.shape, dtype=torch.bool)
    signals = Signals(
        mask=every if mask is None else torch.tensor(mask),
        reward=x,
        discount=torch.zeros_like(x),  # each decision earns its own reward
        end=every,
        weight=torch.tensor(weight, dtype=torch.float64),
    )
    return credit.whitened(credit.reward_to_go(), epsilon=0.0)(signals)


def test_whitening_by_hand():
    """Credits 1 3 5 of rows that count alike: mean 3, spread √(8/3)."""
    got = whitened([[1, 3, 5]], [1.0])
    assert got[0].tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])


def test_whitening_weighs_decisions_by_their_rows():
    """Row weights ¾ and ¼, credits 0 and 4: mean 1, variance ¾ · 1 + ¼ · 9 = 3."""
    got = whitened([[0], [4]], [0.75, 0.25])
    assert got.flatten().tolist() == pytest.approx([-1 / 3**0.5, 3**0.5])


def test_whitening_passes_over_what_was_not_decided():
    got = whitened([[1, 1000, 3]], [1.0], [[True, False, True]])
    assert got.tolist() == [[-1, 0, 1]]


def test_equal_credits_are_whitened_to_exactly_zero():
    """.1 + .1 + .1 is not .3: rounding must not be blown up to a credit."""
    assert (whitened([[0.1, 0.1, 0.1]], [1.0]) == 0).all()
    assert (whitened([[0.1, 7.0, 0.1]], [1.0], [[True, False, True]]) == 0).all()


def test_rows_of_weight_zero_do_not_count():
    got = whitened([[0.1, 0.1], [5.0, 9.0]], [1.0, 0.0])
    assert (got == 0).all()
    assert (whitened([[1.0, 2.0]], [0.0]) == 0).all()
    assert (whitened([[1.0, 2.0]], [1.0], [[False, False]]) == 0).all()


# -- groups --------------------------------------------------------------------------------------


def test_groups_keep_their_order_and_may_lie_scattered():
    group, x = torch.tensor([7, 3, 7, 3, 3]), torch.tensor([1.0, 2, 3, 4, 6])
    assert groups.group_sum(x, group).tolist() == [4, 12, 4, 12, 12]
    assert groups.group_mean(x, group).tolist() == [2, 4, 2, 4, 4]
    assert groups.group_sizes(group).tolist() == [2, 3, 2, 3, 3]
    assert groups.group_spread(x, group)[1].item() == 2
    assert groups.group_spread(x, group)[0].item() == pytest.approx(2**0.5)


def test_a_group_without_a_difference_has_its_value_as_mean_and_no_spread():
    x = torch.tensor([0.1, 0.1, 0.1, 0.7, 0.7])
    group = torch.tensor([0, 0, 0, 1, 1])
    assert torch.equal(groups.group_mean(x, group), x)
    assert (groups.group_spread(x, group) == 0).all()


def test_negative_and_huge_group_ids_are_names_like_any_other():
    x, group = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([-5, 2**40, -5])
    assert groups.group_mean(x, group).tolist() == [3, 3, 3]
    with pytest.raises(GroupError, match=str(2**40)):
        groups.group_sizes(group, at_least=2)


def test_groups_of_no_rows():
    none, x = torch.tensor([], dtype=torch.long), torch.tensor([])
    for function in (groups.group_sum, groups.group_mean, groups.group_spread):
        assert function(x, none).shape == (0,)


# -- credits that wrap another -------------------------------------------------------------------


def test_the_penalty_reaches_decisions_before_it_and_not_after():
    """β = ½, logp_old − logp_ref = (1, 2, 4): token rewards fall by (½, 1, 2)."""
    signals = cases.random_case([3], group=[0], reward=[10]).signals
    gaps = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    known = signals.having(logp_old=gaps, logp_ref=torch.zeros_like(gaps))
    got = credit.penalised(credit.reward_to_go(), beta=0.5)(known)
    assert got.tolist() == [[6.5, 7, 8]]


def test_the_penalty_is_not_paid_for_what_was_not_decided():
    case = cases.groups()
    s = case.signals
    elsewhere = s.having(logp_ref=torch.where(s.mask, s.logp_ref, -99.0))
    penalised = credit.penalised(credit.total_return, beta=0.5)
    assert gap(penalised(elsewhere), penalised(s)) == 0


def test_a_penalty_of_zero_is_none():
    s = cases.groups().signals
    assert gap(credit.penalised(credit.total_return, beta=0.0)(s), credit.total_return(s)) == 0


def test_steps_are_scored_where_it_says_so_and_not_where_a_reward_is_zero():
    """Two rows, steps (1, 0) and (2, 1): mean 1, std √(2/3), summed from each token on."""
    signals = cases.random_case([4, 3], group=[0, 0], reward=[0, 1]).signals
    reward = torch.tensor([[0, 1, 0, 0], [2, 0, 1, 0]], dtype=torch.float64)
    scored = torch.tensor([[False, True, False, True], [True, False, True, False]])
    got = credit.group_relative_steps(epsilon=0.0)(signals.having(reward=reward, scored=scored))
    unit = 1.5**0.5
    assert got[0].tolist() == pytest.approx([-unit, -unit, -unit, -unit])
    assert got[1, :3].tolist() == pytest.approx([unit, 0, 0])


def test_correct_means_above_the_threshold_and_not_at_it():
    s = cases.random_case([2, 2, 2], group=[0, 0, 0], reward=[0.5, 0.6, 0.4]).signals
    assert credit.correct()(s)[:, 0].tolist() == [0, 1, 0]


# -- far ratios ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ppo", "ppo_dual_clip", "gspo", "cispo", "sapo"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_ratio_that_overflows_is_clipped_and_no_nan(name, dtype):
    row = recipes.RECIPES[name]
    base = cases.random_case([2], group=[0], reward=[1]).signals
    z = torch.zeros(1, 2, dtype=dtype)
    signals = Signals(
        mask=base.mask,
        reward=z,
        discount=z,
        end=base.end,
        weight=torch.ones(1, dtype=dtype),
        logp=z,
        logp_old=z - 1000,
        credit=z + 1,
    )
    for earned in (1.0, 0.0):
        push = row.coefficient(signals.having(credit=z + earned))
        assert push.dtype == dtype
        assert push.isfinite().all()
        assert push.abs().max() <= 5


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single(name):
    recipe = recipes.RECIPES[name]
    case = cases.pairs(away=0.1) if recipe.data == "pairs" else cases.groups(away=0.1)
    known = {
        f: x.float() if x.is_floating_point() else x
        for f in Signals.__dataclass_fields__
        if (x := getattr(case.signals, f)) is not None
    }
    signals = Signals(**known).having(logp=case.logp.detach().float())
    signals = signals.having(credit=recipe.credit(signals))
    assert signals.credit.dtype == torch.float32
    assert recipe.coefficient(signals).dtype == torch.float32
    assert recipe.aggregate(signals.mask, signals.weight).dtype == torch.float32


def test_a_word_unlike_any_other_has_no_near_miss():
    assert nearest("zzz", ["grpo", "dpo"]) is None
