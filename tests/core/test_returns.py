"""Returns, advantages and V-trace against numbers worked by hand, and against each other."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core import cases
from tests.core.cases import gap

from logpi.core import Batch, credit, returns
from logpi.core.errors import ShapeError, TrajectoryError

some = settings(max_examples=20)


def table(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def one_episode(reward: list[float], gamma: float) -> dict[str, torch.Tensor]:
    end = torch.zeros(1, len(reward), dtype=torch.bool)
    end[0, -1] = True
    discount = torch.full(end.shape, gamma, dtype=torch.float64)
    return {"discount": discount * ~end, "end": end}


# -- returns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "gamma", "expected"),
    [
        # 3 · .9² , 3 · .9 , 3
        ([0, 0, 3], 0.9, [2.43, 2.7, 3.0]),
        # 10 + .8 (0 + .8 · −50) , .8 · −50 , −50
        ([10, 0, -50], 0.8, [-22, -40, -50]),
        # undiscounted: plain sums from the right
        ([1, -2, 4], 1.0, [3, 2, 4]),
        # a discount of 0 leaves the reward
        ([1, -2, 4], 0.0, [1, -2, 4]),
    ],
)
def test_the_return_of_one_episode(reward, gamma, expected):
    got = returns.discounted_sum(table([reward]), **one_episode(reward, gamma))
    assert got[0].tolist() == pytest.approx(expected, abs=1e-12)


# One row, three episodes, γ = ½, rewards 1 2 4 | 8 16 | 32 64, and V = 100 wherever it is asked:
#   decisions 0–2  terminated after 2:  discount 0 there
#   decisions 3–4  truncated after 4:   discount ½ and an end
#   decisions 5–6  cut by the row's end: discount ½ and an end, like any truncation
REWARD = table([[1, 2, 4, 8, 16, 32, 64]])
DISCOUNT = table([[0.5, 0.5, 0, 0.5, 0.5, 0.5, 0.5]])
END = torch.tensor([[False, False, True, False, True, False, True]])
FOLLOWING = torch.full((1, 7), 100.0, dtype=torch.float64)


def test_termination_truncation_and_row_end():
    """What was collected counts for all three; nothing flows back across an end."""
    got = returns.discounted_sum(REWARD, DISCOUNT, END)
    #                  1+.5·4  2+.5·4  4 | 8+.5·16  16 | 32+.5·64  64
    assert got.tolist() == [[3, 4, 4, 16, 16, 64, 64]]


def test_termination_truncation_and_row_end_with_a_bootstrap():
    """A truncation and the row's end add ½ V = 50, a termination adds nothing."""
    got = returns.discounted_sum(REWARD, DISCOUNT, END, FOLLOWING)
    #                  3  4  4 | 8+.5·66  16+50 | 32+.5·114  64+50
    assert got.tolist() == [[3, 4, 4, 41, 66, 89, 114]]


def test_the_lambda_return_of_the_stream():
    """λ = ½: R + γ (½ V + ½ G^λ) inside, R + γ V at a truncation, R at a termination."""
    got = returns.lambda_return(REWARD, DISCOUNT, END, FOLLOWING, lam=0.5)
    #  2: 4                        1: 2 + .5 (50 + 2) = 28      0: 1 + .5 (50 + 14) = 33
    #  4: 16 + 50 = 66             3: 8 + .5 (50 + 33) = 49.5
    #  6: 64 + 50 = 114            5: 32 + .5 (50 + 57) = 85.5
    assert got.tolist() == [[33, 28, 4, 49.5, 66, 85.5, 114]]


def test_discount_to_here_starts_again_with_every_episode():
    got = returns.discount_to_here(DISCOUNT, END)
    assert got.tolist() == [[1, 0.5, 0.25, 1, 0.5, 1, 0.5]]


def test_the_first_trajectorys_return_ignores_what_follows():
    assert returns.trajectory_return(REWARD, DISCOUNT, END).tolist() == [3]


def test_rows_without_columns_have_no_return():
    empty, ends = torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.bool)
    assert returns.trajectory_return(empty, empty, ends).tolist() == [0, 0, 0]
    assert returns.discounted_sum(empty, empty, ends).shape == (3, 0)
    assert returns.lambda_return(empty, empty, ends, empty, lam=0.5).shape == (3, 0)


# -- advantages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lam", "expected"),
    [
        # δ = .9 · .6 − .5 , .9 · .7 − .6 , 1 − .7
        (0.0, [0.04, 0.03, 0.3]),
        # .03 + .45 · .3 = .165 , .04 + .45 · .165 = .11425
        (0.5, [0.11425, 0.165, 0.3]),
        (0.95, [0.2849575, 0.2865, 0.3]),
        # G − V = .81 − .5 , .9 − .6 , 1 − .7
        (1.0, [0.31, 0.3, 0.3]),
    ],
)
def test_gae_by_hand(lam, expected):
    """Rewards 0 0 1, values .5 .6 .7, γ = .9."""
    signals = cases.random_case([3], group=[0], reward=[1]).signals.having(
        value=table([[0.5, 0.6, 0.7]]),
        next_value=table([[0.6, 0.7, 0.0]]),
        discount=table([[0.9, 0.9, 0.0]]),
    )
    got = credit.gae(lam=lam)(signals)
    assert got[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_gae_of_a_stream_by_hand():
    """λ = ½, V = 10 everywhere, γ = ½: the episodes of the stream above."""
    signals = cases.random_case([7], group=[0], reward=[0]).signals.having(
        reward=REWARD,
        discount=DISCOUNT,
        end=END,
        value=torch.full((1, 7), 10.0, dtype=torch.float64),
        next_value=torch.full((1, 7), 10.0, dtype=torch.float64),
    )
    # δ = R − 5 where the discount is ½, R − 10 after the termination:
    #     −4  −3  −6 | 3  11 | 27  59
    assert credit.td_error(signals).tolist() == [[-4, -3, -6, 3, 11, 27, 59]]
    # A = δ + ¼ A_{t+1} inside an episode:
    #     −4 + ¼ (−4.5)   −3 + ¼ (−6)   −6 | 3 + 11/4   11 | 27 + 59/4   59
    assert credit.gae(lam=0.5)(signals).tolist() == [[-5.125, -4.5, -6, 5.75, 11, 41.75, 59]]


seeds = st.integers(0, 2**16)
lams = st.sampled_from([0.0, 0.3, 0.95, 1.0])


@some
@given(seed=seeds)
def test_gae_with_lambda_zero_is_the_td_error_and_with_one_the_return_less_the_value(seed):
    s = cases.streams(seed=seed).signals
    assert gap(credit.gae(lam=0.0)(s), credit.td_error(s)) == 0
    in_full = credit.gae(lam=1.0)(s)
    assert gap(in_full[s.mask], credit.baselined_return(s)[s.mask]) <= 1e-12
    whole = returns.discounted_sum(s.reward, s.discount, s.end, s.next_value)
    assert gap(in_full[s.mask], (whole - s.value)[s.mask]) <= 1e-12


@some
@given(seed=seeds, lam=lams)
def test_the_lambda_return_is_gae_plus_the_value(seed, lam):
    """Where V(s_{t+1}) is the next decision's V, as it is within an episode."""
    s = cases.streams(seed=seed).signals
    target = returns.lambda_return(s.reward, s.discount, s.end, s.next_value, lam=lam)
    assert gap((target - s.value)[s.mask], credit.gae(lam=lam)(s)[s.mask]) <= 1e-12


@some
@given(seed=seeds)
def test_the_lambda_return_at_its_ends(seed):
    s = cases.streams(seed=seed).signals
    zero = returns.lambda_return(s.reward, s.discount, s.end, s.next_value, lam=0.0)
    assert gap(zero, s.reward + s.discount * s.next_value) == 0
    one = returns.lambda_return(s.reward, s.discount, s.end, s.next_value, lam=1.0)
    assert gap(one, returns.discounted_sum(s.reward, s.discount, s.end, s.next_value)) <= 1e-12


@some
@given(seed=seeds)
def test_with_values_of_zero_gae_and_the_baselined_return_are_the_reward_to_go(seed):
    s = cases.streams(seed=seed).signals
    s = s.having(value=torch.zeros_like(s.value), next_value=torch.zeros_like(s.value))
    assert gap(credit.gae(lam=1.0)(s), credit.reward_to_go()(s)) <= 1e-12
    assert gap(credit.baselined_return(s), credit.reward_to_go()(s)) == 0


@some
@given(seed=seeds)
def test_within_one_episode_the_total_return_is_the_first_reward_to_go(seed):
    s = cases.groups(seed=seed).signals
    assert gap(credit.total_return(s)[:, 0], credit.reward_to_go()(s)[:, 0]) == 0


# -- V-trace -------------------------------------------------------------------------------------


def test_vtrace_by_hand():
    """Two decisions, γ = 1, V = (1, 2), rewards (3, 4), terminated; ρ = (2, ½), ρ̄ = c̄ = 1.

    δ_1 = 4 − 2 = 2         ρ̄_1 δ_1 = ½ · 2 = 1             v_1 = 2 + 1 = 3
    δ_0 = 3 + 2 − 1 = 4     ρ̄_0 δ_0 = 4, c_0 = 1            v_0 = 1 + 4 + 1 · 1 = 6
    """
    value, following = table([[1, 2]]), table([[2, 0]])
    reward, discount = table([[3, 4]]), table([[1, 0]])
    end, ratio = torch.tensor([[False, True]]), table([[2, 0.5]])
    delta = returns.td_error(reward, discount, value, following)
    assert delta.tolist() == [[4, 2]]
    target = returns.vtrace_value(value, delta, discount, end, ratio)
    assert target.tolist() == [[6, 3]]
    # with ρ̄ = 4 the first ratio counts in full, and c̄ = ¼ lets a quarter of what follows through:
    # v_0 = 1 + 2 · 4 + ¼ · 1 = 9¼
    wide = returns.vtrace_value(value, delta, discount, end, ratio, rho_max=4.0, c_max=0.25)
    assert wide.tolist() == [[9.25, 3]]
    # r + γ v_1 − V(s_0) = 3 + 3 − 1 , 4 − 2
    got = returns.vtrace_advantage(reward, discount, end, target, value=value, next_value=following)
    assert got.tolist() == [[5, 2]]


@some
@given(seed=seeds)
def test_on_policy_vtrace_is_the_lambda_return_with_lambda_one(seed):
    s = cases.streams(seed=seed).signals
    delta, ones = credit.td_error(s), torch.ones_like(s.reward)
    target = returns.vtrace_value(s.value, delta, s.discount, s.end, ones)
    monte_carlo = returns.lambda_return(s.reward, s.discount, s.end, s.next_value, lam=1.0)
    assert gap(target[s.mask], monte_carlo[s.mask]) <= 1e-12
    # and with c̄ = λ the λ-return of that λ
    target = returns.vtrace_value(s.value, delta, s.discount, s.end, ones, c_max=0.4)
    partly = returns.lambda_return(s.reward, s.discount, s.end, s.next_value, lam=0.4)
    assert gap(target[s.mask], partly[s.mask]) <= 1e-12
    on_policy = s.having(logp=s.logp_old)
    assert gap(credit.vtrace()(on_policy)[s.mask], credit.gae(lam=1.0)(s)[s.mask]) <= 1e-12


@some
@given(seed=seeds, rho_max=st.sampled_from([0.5, 1.0, 3.0]))
def test_vtrace_is_the_sum_that_the_paper_prints(seed, rho_max):
    """v_s = V(s) + Σ_k γ^{k−s} (Π_{s≤i<k} c_i) ρ̄_k δ_k, cut at the episode's end."""
    case = cases.streams(seed=seed, away=0.6)
    s = case.signals
    ratio = (case.logp.detach() - s.logp_old).exp()
    delta = credit.td_error(s)
    got = returns.vtrace_value(s.value, delta, s.discount, s.end, ratio, rho_max=rho_max)
    n, t = s.mask.shape
    for i in range(n):
        for start in range(t):
            total, factor = s.value[i, start].item(), 1.0
            for k in range(start, t):
                total += factor * min(ratio[i, k].item(), rho_max) * delta[i, k].item()
                factor *= s.discount[i, k].item() * min(ratio[i, k].item(), 1.0)
                if s.end[i, k]:
                    break
            assert got[i, start].item() == pytest.approx(total, abs=1e-12)


def test_vtrace_takes_what_the_policy_did_not_decide_as_it_came():
    """In a hole of the mask nobody chose, so there is no ratio to correct by."""
    case = cases.streams(away=0.6)
    s = case.signals.having(logp=case.logp.detach())
    elsewhere = s.having(logp_old=torch.where(s.mask, s.logp_old, 50.0))
    assert gap(credit.vtrace()(elsewhere), credit.vtrace()(s)) == 0


# -- what a batch refuses ------------------------------------------------------------------------


def facts(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    s = cases.groups().signals
    names = ("mask", "reward", "discount", "end", "weight", "logp_old", "group")
    return {name: getattr(s, name) for name in names} | changed


@pytest.fixture
def unchecked():
    """Without the type checks that only tests have: the user sees logpi's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_a_batch_of_the_right_shapes_is_accepted():
    assert Batch(inputs=None, **facts()).rows == 11


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("mask", torch.ones(6, dtype=torch.bool), r"`mask` is \[6\]"),
        ("reward", torch.zeros(11, 5), r"`reward` is \[11, 5\] but `mask` asks for \[11, 6\]"),
        ("weight", torch.ones(10), r"`weight` is \[10\] but `mask` asks for \[11\]"),
        ("group", torch.zeros(11), "`group` is torch.float32 but must be integer"),
        ("end", torch.zeros(11, 6), "`end` is torch.float32 but must be boolean"),
        ("logp_old", torch.zeros(11, 6, dtype=torch.long), "must be floating point"),
    ],
)
def test_a_tensor_of_another_shape_or_kind_is_named(name, tensor, message, unchecked):
    with pytest.raises(ShapeError, match=message):
        Batch(inputs=None, **facts(**{name: tensor}))


def test_decisions_after_the_last_end_are_refused():
    end = facts()["end"].clone()
    end[4] = False
    with pytest.raises(TrajectoryError, match="row 4 has decisions after its last `end`"):
        Batch(inputs=None, **facts(end=end))
