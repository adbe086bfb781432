"""The surrogate's gradient is the gradient of the loss as everybody writes it, for every row."""

from __future__ import annotations

import pytest
import torch
from tests.core import cases, losses
from tests.core.cases import Case, coefficients, gap, gradient

from logpi import recipes
from logpi.core import Recipe, coefficient, regulariser
from logpi.core.coefficient import truncated_importance
from logpi.core.divergence import entropy
from logpi.core.errors import ConfigError, GroupError, PairError, TrajectoryError

TOLERANCE = 1e-12  # float64

VARIANTS = [
    ("reinforce_total", {"start_discounted": True}),
    ("reinforce", {"baseline": 0.7}),
    ("reinforce", {"start_discounted": True}),
    ("a2c", {"lam": 0.9}),
    ("off_policy_ac", {"rho_max": 1.0}),
    ("off_policy_ac", {"rho_max": 0.8}),
    ("off_policy_ac", {"rho_max": 2.0}),
    ("trpo", {"lam": 1.0}),
    ("ppo", {"lam": 0.0, "low": 0.1, "high": 0.3}),
    ("ppo", {"beta": 0.3}),
    ("ppo", {"cap": 1.5}),
    ("ppo_dual_clip", {"cap": 1.2}),
    ("rft", {"threshold": 1.5}),
    ("online_rft", {"threshold": -1.0}),
    ("dpo", {"beta": 1.3}),
    ("dpo_mean", {"beta": 2.0}),
    ("ipo", {"beta": 0.7}),
    ("simpo", {"beta": 5.0, "gamma": 0.0}),
    ("remax", {"beta": 0.2}),
    ("rloo", {"clip": 0.2}),
    ("rloo", {"beta": 0.2}),
    ("reinforce_pp", {"beta": 0.0}),
    ("reinforce_pp", {"beta": 0.5, "low": 0.3}),
    ("reinforce_pp_baseline", {"beta": 0.1}),
    ("grpo", {"beta": 0.0}),
    ("grpo", {"beta": 0.5, "low": 0.1, "high": 0.4}),
    ("grpo_process", {"beta": 0.0}),
    ("dr_grpo", {"length": 6, "beta": 0.1}),
    ("dapo", {"low": 0.05, "high": 0.5, "beta": 0.1}),
    ("gspo", {"low": 0.1, "high": 0.1, "beta": 0.1}),
    ("cispo", {"low": 0.2, "high": 0.28}),
    ("cispo", {"beta": 0.1}),
    ("sapo", {"tau_positive": 2.0, "tau_negative": 3.0, "beta": 0.1}),
]
ROWS = [(name, {}) for name in recipes.RECIPES] + VARIANTS


def case_for(name: str, *, away: float, seed: int) -> Case:
    """The kind of batch that the recipe's source would draw."""
    recipe = recipes.RECIPES[name]
    if recipe.data == "pairs":
        return cases.pairs(away=away, seed=seed)
    if name == "grpo_process":
        return cases.steps(away=away, seed=seed)
    reads_streams = {"reinforce", "reinforce_baseline", "qac", "a2c", "off_policy_ac", "trpo"}
    if name in reads_streams | {"ppo", "ppo_dual_clip"}:
        return cases.streams(away=away, seed=seed)
    return cases.groups(away=away, seed=seed)


def loss_gradient(case: Case, name: str, **constants: object) -> torch.Tensor:
    loss = losses.LOSSES[name](case, **constants)
    return torch.autograd.grad(loss, case.logits)[0]


def test_every_recipe_has_a_written_out_loss():
    assert set(losses.LOSSES) == set(recipes.RECIPES)


@pytest.mark.parametrize("away", [0.0, 0.05, 0.7])
@pytest.mark.parametrize(("name", "constants"), ROWS)
def test_surrogate_has_the_gradient_of_the_written_out_loss(name, constants, away):
    for seed in range(2):
        case = case_for(name, away=away, seed=seed)
        cases.batch_of(case)
        ours = gradient(case, recipes.recipe(name, **constants))
        assert gap(ours, loss_gradient(case, name, **constants)) <= TOLERANCE


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_groups_and_pairs_work_for_recipes_that_read_streams_too(name):
    if recipes.RECIPES[name].data in ("on-policy", "replay", "demonstrations", "filtered"):
        case = cases.groups(away=0.3)
        ours = gradient(case, recipes.RECIPES[name])
        assert gap(ours, loss_gradient(case, name)) <= TOLERANCE


@pytest.mark.parametrize("name", ["gspo", "grpo", "sft", "ppo", "dpo"])
def test_the_oracle_is_not_trivially_zero(name):
    case = case_for(name, away=0.05 if name != "gspo" else 0.0, seed=0)
    assert loss_gradient(case, name).abs().max() > 1e-3


def test_gspo_is_the_minimum_of_one_ratio_per_sequence():
    for away, constants in [(0.0, {}), (0.3, {}), (0.3, {"low": 0.1, "high": 0.1})]:
        case = cases.groups(away=away)
        ours = gradient(case, recipes.recipe("gspo", **constants))
        loss = losses.gspo_sequence(case, **constants)
        assert gap(ours, torch.autograd.grad(loss, case.logits)[0]) <= TOLERANCE


@pytest.mark.parametrize("name", ["ppo", "grpo", "dapo", "rloo"])
@pytest.mark.parametrize("side", ["low", "high"])
def test_a_ratio_on_the_boundary_is_not_clipped(name, side):
    """The boundary is set on a ratio of the batch, exactly: 1 + (ρ − 1) = ρ for ρ in [½, 2]."""
    for seed in range(4):
        case = case_for(name, away=0.2, seed=seed)
        ratio = losses.ratio_of(case).detach()
        credit = recipes.RECIPES[name].credit(case.signals.having(logp=case.logp.detach()))
        pushed = case.signals.mask & (credit > 0 if side == "high" else credit < 0)
        beyond = pushed & (ratio > 1 if side == "high" else ratio < 1) & (ratio < 2) & (ratio > 0.5)
        row, column = beyond.nonzero()[0].tolist()
        bound = abs(ratio[row, column].item() - 1)
        constants = {"clip": bound} if name == "rloo" else {"low": bound, "high": bound}
        edge = 1 + bound if side == "high" else 1 - bound
        assert edge == ratio[row, column]
        recipe = recipes.recipe(name, **constants)
        assert coefficients(case, recipe)[row, column] != 0
        ours = gradient(case, recipe)
        assert gap(ours, loss_gradient(case, name, **constants)) <= TOLERANCE


def test_the_dual_clip_at_its_cap_has_a_kink_and_takes_the_side_that_still_pushes():
    z = torch.zeros(1, 3, dtype=torch.float64)
    signals = cases.random_case([3], group=[0], reward=[1]).signals
    ratio = torch.tensor([[3.0, 3.1, 2.9]], dtype=torch.float64)
    cap = ratio.log().exp()[0, 0].item()
    push = coefficient.dual_clipped_ratio(cap=cap)
    value = push(signals.having(credit=z - 1, logp=ratio.log(), logp_old=z))
    assert value[0, 0] == -cap
    assert value[0, 1] == 0
    assert value[0, 2] == pytest.approx(-2.9, abs=1e-12)


# 1 ± ε, A = ±1: objective's derivative with respect to ρ. PPO, figure 1.
@pytest.mark.parametrize(
    ("ratio", "credit", "slope"),
    [(0.5, 1, 1), (1, 1, 1), (1.5, 1, 0), (0.5, -1, 0), (1, -1, -1), (1.5, -1, -1)],
)
def test_the_clip_table_of_ppo(ratio, credit, slope):
    signals = cases.random_case([1], group=[0], reward=[1]).signals
    z = torch.zeros(1, 1, dtype=torch.float64)
    known = signals.having(credit=z + credit, logp=(z + ratio).log(), logp_old=z)
    assert coefficient.clipped_ratio()(known).item() == pytest.approx(slope * ratio, abs=1e-12)


def test_one_step_of_cross_entropy_is_one_step_of_policy_gradient():
    """Logits log(.2, .5, .3), target 0, reward 1, step .1: the same gradient and probabilities."""
    logits = torch.tensor([[[0.2, 0.5, 0.3]]], dtype=torch.float64).log().requires_grad_()
    signals = cases.random_case([1], group=[0], reward=[1]).signals
    case = Case(logits, torch.tensor([[0]]), signals)
    for name in ("sft", "reinforce"):
        push = gradient(case, recipes.RECIPES[name])
        assert push.flatten().tolist() == pytest.approx([-0.8, 0.5, 0.3], abs=1e-12)
        after = (logits.detach() - 0.1 * push).softmax(-1).flatten().tolist()
        assert after == pytest.approx([0.2203, 0.4836, 0.2960], abs=5e-5)


def test_grpo_coefficient_by_hand():
    """A = .5, π_ref = .3, π = .2, β = .04: .5 + .04 (.3/.2 − 1) = .52. DeepSeekMath, eq. 21."""
    z = torch.zeros(1, 1, dtype=torch.float64)
    known = cases.random_case([1], group=[0], reward=[1]).signals.having(
        credit=z + 0.5, logp=(z + 0.2).log(), logp_old=(z + 0.2).log(), logp_ref=(z + 0.3).log()
    )
    assert recipes.RECIPES["grpo"].coefficient(known).item() == pytest.approx(0.52, abs=1e-12)


def test_dpo_mean_coefficient_by_hand():
    """Log-ratios (−.2, −.1) and (.3, .5, −.4), β = .1: β/2 σ(.1 (.15 + .4/3)) a chosen token."""
    signals = cases.random_case([2, 3], group=[0, 0], reward=[1, 0]).signals
    log_ratio = torch.tensor([[-0.2, -0.1, 0.0], [0.3, 0.5, -0.4]], dtype=torch.float64)
    z = torch.zeros_like(log_ratio)
    known = signals.having(logp=log_ratio, logp_ref=z)
    row = recipes.RECIPES["dpo_mean"]
    push = row.coefficient(known.having(credit=row.credit(known)))
    assert push[0, :2].tolist() == pytest.approx([0.025354142975474406] * 2, abs=1e-12)


def test_gspo_ratio_by_hand():
    """Log-ratios (.2, −.1, .05): s = exp(.05), not the sequence's own ratio exp(.15)."""
    z = torch.zeros(1, 3, dtype=torch.float64)
    gaps = torch.tensor([[0.2, -0.1, 0.05]], dtype=torch.float64)
    known = cases.random_case([3], group=[0], reward=[1]).signals.having(
        credit=z + 1, logp=gaps, logp_old=z
    )
    push = coefficient.sequence_ratio(low=1.0, high=1.0)(known)
    assert push[0].tolist() == pytest.approx([1.0512710963760241] * 3, abs=1e-12)


def test_sapo_gate_has_slope_one_at_ratio_one_and_falls_to_both_sides():
    z = torch.zeros(1, 3, dtype=torch.float64)
    ratio = torch.tensor([[0.2, 1.0, 4.0]], dtype=torch.float64)
    known = cases.random_case([3], group=[0], reward=[1]).signals.having(
        credit=z + 1, logp=ratio.log(), logp_old=z
    )
    slope = coefficient.soft_gate(tau_positive=2.0)(known) / ratio
    assert slope[0, 1] == 1
    assert slope[0, 0] < 1
    assert slope[0, 2] < 1


def test_truncated_importance_multiplies_the_whole_coefficient():
    case = cases.groups(away=0.7)
    s = case.signals
    row = Recipe("groups", recipes.RECIPES["grpo"].credit, truncated_importance(coefficient.plain))
    factor = torch.exp(s.logp_old - s.logp_sampler).clamp(max=2.0)
    advantage = losses.compared(case, losses.z_score, losses.scores(case))
    loss = losses.sequence_sum(-factor * advantage * case.logp, s.mask)
    assert gap(gradient(case, row), torch.autograd.grad(loss, case.logits)[0]) <= TOLERANCE
    assert (factor == 2).any()


def test_the_entropy_bonus_is_the_written_out_one():
    case = cases.groups()
    mask, weight = case.signals.mask, recipes.RECIPES["grpo"].aggregate
    p = case.logits.softmax(-1)
    written = losses.sequence_mean(0.3 * -(p * p.log()).sum(-1), mask)
    bonus = regulariser.entropy_bonus(beta=0.3)(entropy(case.logits))
    ours = (weight(mask, case.signals.weight) * bonus).sum()
    a, b = (torch.autograd.grad(x, case.logits)[0] for x in (ours, written))
    assert gap(a, b) <= TOLERANCE


# -- what must never be a NaN --------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
@pytest.mark.parametrize("away", [0.0, 0.7, 400.0])
def test_no_coefficient_is_nan(name, away):
    """Also where a ratio overflows: what is clipped, or earned nothing, is 0 and not 0 · inf."""
    case = case_for(name, away=away, seed=1)
    assert not coefficients(case, recipes.RECIPES[name]).isnan().any()


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "dr_grpo", "rloo", "max_rl", "sapo"])
def test_a_group_without_a_difference_pushes_nothing(name):
    case = cases.random_case([3, 2, 4, 1, 2], group=[0, 0, 0, 1, 1], reward=[0.1, 0.1, 0.1, 0, 1])
    constants = {"beta": 0.0} if name == "grpo" else {}
    pushed = coefficients(case, recipes.recipe(name, **constants))
    assert (pushed[:3] == 0).all()
    assert (pushed[3:][case.signals.mask[3:]] != 0).all()


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_batch_whose_rows_are_all_masked_pushes_nothing(name):
    case = case_for(name, away=0.3, seed=0)
    case = case.with_signals(mask=torch.zeros_like(case.signals.mask))
    assert (gradient(case, recipes.RECIPES[name]) == 0).all()


GROUPED = ["rloo", "reinforce_pp_baseline", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo"]


@pytest.mark.parametrize("name", [*GROUPED, "max_rl"])
def test_a_group_of_one_is_refused(name):
    case = cases.random_case([3, 2, 4], group=[4, 4, 6], reward=[1, 0, 1])
    with pytest.raises(GroupError, match=r"group 6 has 1 row.*group_size"):
        coefficients(case, recipes.RECIPES[name])


def test_a_group_with_one_step_is_refused():
    case = cases.random_case([3, 2, 4], group=[4, 4, 6], reward=[1, 0, 1])
    case = case.with_signals(scored=case.signals.end)
    with pytest.raises(GroupError, match="group 6"):
        coefficients(case, recipes.RECIPES["grpo_process"])


@pytest.mark.parametrize("name", ["dpo", "dpo_mean", "ipo", "simpo"])
@pytest.mark.parametrize(
    ("group", "reward", "message"),
    [
        ([0, 0, 0, 1], [1, 0, 0, 1], "chosen and rejected"),
        ([0, 0, 1, 2], [1, 0, 1, 0], "chosen and rejected"),
        ([0, 0, 1, 1], [1, 0, 1, 1], "same reward"),
    ],
)
def test_rows_that_are_no_pairs_are_refused(name, group, reward, message):
    case = cases.random_case([2, 3, 1, 2], group=group, reward=reward)
    with pytest.raises(PairError, match=message):
        coefficients(case, recipes.RECIPES[name])


@pytest.mark.parametrize("name", [*GROUPED, "max_rl", "reinforce_total", "remax", "dpo", "rft"])
def test_several_episodes_a_row_are_refused_by_credits_of_whole_trajectories(name):
    case = cases.streams().with_signals(group=torch.tensor([0, 0, 1, 1]))
    with pytest.raises(TrajectoryError, match="row 0 holds 2 trajectories"):
        coefficients(case, recipes.RECIPES[name])


def test_a_negative_return_is_refused_by_max_rl():
    case = cases.random_case([2, 3], group=[0, 0], reward=[1, -1])
    with pytest.raises(ConfigError, match="at least 0"):
        coefficients(case, recipes.RECIPES["max_rl"])


def test_a_group_that_earned_nothing_pushes_nothing_under_max_rl():
    case = cases.random_case([2, 3], group=[0, 0], reward=[0, 0])
    assert (gradient(case, recipes.RECIPES["max_rl"]) == 0).all()
