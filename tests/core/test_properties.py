"""What must change nothing changes nothing: padding, order, splitting, a shift of the rewards."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core import cases, strategies
from tests.core.cases import Case, coefficients, gap, gradient

from logpi import recipes
from logpi.core import Recipe, Signals, aggregate, coefficient, credit, surrogate
from logpi.core.errors import ConfigError
from logpi.core.traits import name_of, traits_of

NAMES = sorted(recipes.RECIPES)
ROUNDING = 1e-13  # sums in another order

few = settings(max_examples=8)
some = settings(max_examples=25)


# -- padding, order, splitting -------------------------------------------------------------------


def padded(case: Case, extra: int) -> Case:
    """`extra` more columns of nonsense, where nothing was decided."""

    def longer(x: torch.Tensor | None) -> torch.Tensor | None:
        if x is None or x.dim() < 2:
            return x
        nonsense = torch.full((x.shape[0], extra, *x.shape[2:]), 3).to(x.dtype)
        return torch.cat([x.detach(), nonsense], dim=1)

    s = case.signals
    known = {f.name: longer(getattr(s, f.name)) for f in fields(Signals)}
    known["mask"] = torch.cat([s.mask, torch.zeros(len(s.mask), extra, dtype=torch.bool)], dim=1)
    known["end"] = torch.cat([s.end, known["mask"][:, s.mask.shape[1] :]], dim=1)
    known["scored"] = torch.cat([s.scored, known["mask"][:, s.mask.shape[1] :]], dim=1)
    return Case(longer(case.logits).requires_grad_(), longer(case.actions), Signals(**known))


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data(), extra=st.integers(1, 3))
def test_padding_is_invisible(name, data, extra):
    case, row = data.draw(strategies.case_of(name)), recipes.RECIPES[name]
    ours = gradient(padded(case, extra), row)
    t = case.signals.mask.shape[1]
    assert gap(ours[:, :t], gradient(case, row)) <= ROUNDING
    assert (ours[:, t:] == 0).all()


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_permuting_rows_permutes_the_gradient(name, data):
    """Within their groups, and groups among each other: any order at all."""
    case, row = data.draw(strategies.case_of(name)), recipes.RECIPES[name]
    order = torch.tensor(data.draw(st.permutations(range(len(case.signals.mask)))))
    assert gap(gradient(case.take(order), row), gradient(case, row)[order]) <= ROUNDING


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_renaming_groups_changes_nothing(name, data):
    case, row = data.draw(strategies.case_of(name)), recipes.RECIPES[name]
    renamed = case.with_signals(group=1000 - 3 * case.signals.group)
    assert gap(gradient(renamed, row), gradient(case, row)) <= ROUNDING


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_micro_batches_sum(name, data):
    """Credits and weights once on the whole batch, coefficients part by part, units intact."""
    case, row = data.draw(strategies.case_of(name)), recipes.RECIPES[name]
    known = case.signals.having(logp=case.logp.detach())
    known = known.having(credit=row.credit(known))
    weight = row.aggregate(known.mask, known.weight)
    n = len(known.mask)
    unit = known.group if row.data == "pairs" else torch.arange(n)
    part_of_unit = {u: data.draw(st.integers(0, 3)) for u in sorted(set(unit.tolist()))}
    part = torch.tensor([part_of_unit[u] for u in unit.tolist()])
    logp, total = case.logp, torch.zeros_like(case.logits)
    for p in range(4):
        rows = (part == p).nonzero()[:, 0]
        if len(rows):
            push = row.coefficient(known.take(rows))
            loss = surrogate(logp[rows], push, weight[rows])
            total += torch.autograd.grad(loss, case.logits, retain_graph=True)[0]
    assert gap(total, gradient(case, row)) <= ROUNDING


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_decisions_that_are_not_live_add_nothing(name, data):
    """What `Recipe.live` drops before the forward pass has coefficient 0, whatever its logp."""
    case, row = data.draw(strategies.case_of(name)), recipes.RECIPES[name]
    known = case.signals.having(logp=case.logp.detach())
    known = known.having(credit=row.credit(known))
    weight = row.aggregate(known.mask, known.weight)
    live = row.live(known.mask, known.credit, weight)
    push = row.coefficient(known)
    assert (weight * push)[~live].abs().sum() == 0
    unseen = row.coefficient(known.having(logp=torch.where(live, known.logp, 0.0)))
    assert torch.equal(torch.where(live, unseen, 0.0), torch.where(live, push, 0.0))
    assert not torch.where(live, 0.0, weight * unseen).isnan().any()


# -- credits of groups ---------------------------------------------------------------------------

RELATIVE = [
    credit.leave_one_out,
    credit.group_centred,
    credit.group_relative(),
    credit.group_relative_steps(),
]


@pytest.mark.parametrize("function", RELATIVE, ids=name_of)
@some
@given(case=strategies.grouped(), shift=st.sampled_from([-2.0, 0.5, 4.0]))
def test_a_constant_added_to_a_groups_rewards_changes_no_credit(function, case, shift):
    s = case.signals.having(scored=case.signals.end)
    first = (s.group == s.group[0])[:, None]
    moved = s.having(reward=s.reward + shift * (s.end & first))
    assert gap(function(moved), function(s)) <= 1e-9  # (x + c) − (mean + c) rounds, ε divides


@some
@given(case=strategies.paired(), shift=st.sampled_from([-2.0, 0.5, 4.0]))
def test_a_constant_added_to_a_pair_changes_no_preference(case, shift):
    s = case.signals
    moved = s.having(reward=s.reward + shift * s.end)
    assert torch.equal(credit.preference_sign(moved), credit.preference_sign(s))


@some
@given(case=strategies.grouped())
def test_leave_one_out_is_a_scaled_centring_and_both_sum_to_zero(case):
    """G/(G−1) (R − mean), row by row, and neither favours a group."""
    s = case.signals
    size = (s.group[:, None] == s.group).sum(1).double()[:, None]
    alone, middle = credit.leave_one_out(s), credit.group_centred(s)
    assert gap(alone, size / (size - 1) * middle) <= ROUNDING
    for g in s.group.unique():
        assert abs(middle[s.group == g, 0].sum()) <= 1e-12


@some
@given(case=strategies.grouped())
def test_whitened_credits_have_mean_zero_and_spread_one_over_decisions(case):
    s = case.signals.having(reward=case.signals.q)  # any rewards at all
    x = credit.whitened(credit.reward_to_go())(s)[s.mask]
    assert abs(x.mean()) <= 1e-6
    assert len(x) < 2 or x.var(correction=0) == pytest.approx(1, abs=1e-4) or (x == 0).all()


# -- averages ------------------------------------------------------------------------------------


@some
@given(case=strategies.grouped())
def test_what_each_average_sums_to(case):
    mask, weight = case.signals.mask, case.signals.weight
    length = mask.sum(1)
    sums = {
        aggregate.sum_tokens: (weight * length).sum(),
        aggregate.per_sequence: (weight * (length > 0)).sum(),
        aggregate.per_token: torch.tensor(float(mask.any())),
        aggregate.fixed_length(7): (weight * length).sum() / 7,
        aggregate.per_pair: 2 * (weight * length).sum(),
    }
    for average, expected in sums.items():
        got = average(mask, weight)
        assert got.sum().item() == pytest.approx(expected.item(), abs=1e-12)
        assert (got[~mask] == 0).all()


def test_the_averages_by_hand():
    """Losses (1, 1) and (2, 2, 2, 2), at most 4 tokens: four averages, four numbers."""
    loss = torch.tensor([[1.0, 1, 0, 0], [2, 2, 2, 2]], dtype=torch.float64)
    mask, weight = loss > 0, torch.full((2,), 0.5, dtype=torch.float64)

    def average(a) -> float:
        return (a(mask, weight) * loss).sum().item()

    assert average(aggregate.per_sequence) == pytest.approx(1.5, abs=1e-12)
    assert average(aggregate.per_token) == pytest.approx(10 / 6, abs=1e-12)
    assert average(aggregate.sum_tokens) == pytest.approx(5, abs=1e-12)
    assert average(aggregate.fixed_length(4)) == pytest.approx(1.25, abs=1e-12)
    assert average(aggregate.per_pair) == pytest.approx(10, abs=1e-12)


# -- traits --------------------------------------------------------------------------------------

COEFFICIENTS = {
    "plain": coefficient.plain,
    "importance": coefficient.importance,
    "clipped_ratio": coefficient.clipped_ratio(),
    "dual_clipped_ratio": coefficient.dual_clipped_ratio(),
    "clipped_importance": coefficient.clipped_importance(),
    "sequence_ratio": coefficient.sequence_ratio(),
    "soft_gate": coefficient.soft_gate(),
    "preference_margin": coefficient.preference_margin(),
    "mean_preference_margin": coefficient.mean_preference_margin(),
    "identity_margin": coefficient.identity_margin(),
    "reference_free_margin": coefficient.reference_free_margin(),
    "truncated_importance": coefficient.truncated_importance(coefficient.clipped_ratio()),
    "total": coefficient.total(coefficient.plain, coefficient.clipped_ratio()),
}
PULLS = {
    "toward_reference": coefficient.toward_reference(),
    "reference_k2": coefficient.reference_k2(),
    "reference_k1": coefficient.reference_k1(),
}
CREDITS = {
    "above_greedy": credit.above_greedy,
    "action_value": credit.action_value,
    "baselined_return": credit.baselined_return,
    "correct": credit.correct(),
    "gae": credit.gae(),
    "group_centred": credit.group_centred,
    "group_over_mean": credit.group_over_mean,
    "group_relative": credit.group_relative(),
    "group_relative_steps": credit.group_relative_steps(),
    "leave_one_out": credit.leave_one_out,
    "one": credit.one,
    "penalised": credit.penalised(credit.reward_to_go()),
    "preference_sign": credit.preference_sign,
    "reward_to_go": credit.reward_to_go(),
    "start_discounted": credit.start_discounted(credit.td_error),
    "td_error": credit.td_error,
    "total_return": credit.total_return,
    "vtrace": credit.vtrace(),
    "whitened": credit.whitened(credit.gae()),
}
OPTIONAL = {f.name for f in fields(Signals)} - {"mask", "reward", "discount", "end", "weight"}


def test_every_function_of_the_core_is_held_to_its_traits():
    assert set(CREDITS) == set(credit.__all__)
    assert set(COEFFICIENTS) | set(PULLS) == set(coefficient.__all__)


@pytest.mark.parametrize("name", sorted(COEFFICIENTS))
@some
@given(case=strategies.paired(), data=st.data())
def test_a_coefficient_proportional_to_the_credit_is_zero_with_it(name, case, data):
    function = COEFFICIENTS[name]
    assert traits_of(function).proportional
    s = case.signals
    zero = torch.rand(s.mask.shape) < data.draw(st.sampled_from([0.2, 0.5, 1.0]))
    earned = torch.where(zero, 0.0, 1.5).double()
    known = s.having(logp=case.logp.detach(), credit=earned)
    assert (function(known)[zero] == 0).all()


@pytest.mark.parametrize("name", sorted(PULLS))
def test_a_pull_toward_the_reference_is_there_where_nothing_was_earned(name):
    case = cases.groups()
    assert not traits_of(PULLS[name]).proportional
    both = coefficient.total(coefficient.clipped_ratio(), PULLS[name])
    assert not traits_of(both).proportional
    logp = case.logp.detach()
    known = case.signals.having(logp=logp, credit=torch.zeros_like(logp))
    assert (both(known)[known.mask] != 0).all()


@pytest.mark.parametrize("name", sorted({**CREDITS, **COEFFICIENTS, **PULLS}))
def test_every_signal_that_is_read_is_declared(name):
    function = {**CREDITS, **COEFFICIENTS, **PULLS}[name]
    case = cases.pairs(away=0.1)
    known = case.signals.having(logp=case.logp.detach())
    known = known.having(scored=known.end, credit=credit.preference_sign(known))
    declared = traits_of(function).reads | ({"credit"} if name in COEFFICIENTS else set())
    assert declared <= OPTIONAL
    alone = known.having(**dict.fromkeys(OPTIONAL - declared))
    assert torch.equal(function(alone), function(known))


@pytest.mark.parametrize("name", sorted({**CREDITS, **COEFFICIENTS, **PULLS}))
def test_every_signal_that_is_declared_is_read(name):
    """A reference policy is loaded for whoever declares `logp_ref`: nobody may do so in vain."""
    function = {**CREDITS, **COEFFICIENTS, **PULLS}[name]
    case = cases.pairs(away=0.1)
    known = case.signals.having(logp=case.logp.detach())
    known = known.having(scored=known.end, credit=credit.preference_sign(known))
    for signal in traits_of(function).reads:
        with pytest.raises(ConfigError, match=f"reads `{signal}`"):
            function(known.having(**{signal: None}))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_what_it_says(name):
    row = recipes.RECIPES[name]
    case = cases.pairs(away=0.1) if row.data == "pairs" else cases.groups(away=0.1)
    alone = case.with_signals(**dict.fromkeys(OPTIONAL - row.reads))
    if "logp" in row.reads:
        assert torch.equal(coefficients(alone, row), coefficients(case, row))
    else:
        assert torch.equal(row.credit(alone.signals), row.credit(case.signals))


@pytest.mark.parametrize("name", NAMES)
def test_a_coefficient_looks_no_further_than_its_row_or_pair(name):
    """Another row's log-probabilities change nothing here."""
    row = recipes.RECIPES[name]
    case = cases.pairs(away=0.1) if row.data == "pairs" else cases.groups(away=0.1)
    known = case.signals.having(logp=case.logp.detach())
    known = known.having(credit=row.credit(known))
    unit = known.group if row.data == "pairs" else torch.arange(len(known.mask))
    other = (unit != unit[0])[:, None]
    moved = known.having(logp=known.logp - 0.5 * other)
    mine = ~other[:, 0]
    assert torch.equal(row.coefficient(moved)[mine], row.coefficient(known)[mine])


@pytest.mark.parametrize("name", sorted({**CREDITS, **COEFFICIENTS, **PULLS}))
def test_no_function_changes_what_it_is_given(name):
    function = {**CREDITS, **COEFFICIENTS, **PULLS}[name]
    case = cases.pairs(away=0.1)
    known = case.signals.having(logp=case.logp.detach())
    known = known.having(scored=known.end, credit=credit.preference_sign(known))
    before = {f.name: getattr(known, f.name).clone() for f in fields(Signals)}
    function(known).add_(1.0) if name != "plain" else function(known)
    for field in fields(Signals):
        assert torch.equal(getattr(known, field.name), before[field.name]), field.name


@pytest.mark.parametrize("name", sorted(COEFFICIENTS))
def test_what_reads_a_whole_row_keeps_it_whole_before_the_forward_pass(name):
    """With a credit that is 0 at some of a row's decisions: a sequence's ratio needs them all."""
    case = cases.pairs(away=0.1)
    row = Recipe("groups", credit.one, COEFFICIENTS[name])
    known = case.signals.having(logp=case.logp.detach())
    earned = credit.preference_sign(known) * (torch.arange(known.mask.shape[1]) % 2 == 0)
    known = known.having(credit=earned)
    live = row.live(known.mask, earned, aggregate.sum_tokens(known.mask, known.weight))
    assert live.sum() < known.mask.sum() or traits_of(COEFFICIENTS[name]).whole_row
    unseen = known.having(logp=torch.where(live, known.logp, 0.0))
    push, blind = row.coefficient(known), row.coefficient(unseen)
    assert torch.equal(torch.where(live, blind, 0.0), torch.where(live, push, 0.0))
