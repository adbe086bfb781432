"""Published numbers of single methods, from the public functions in a few lines each."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from logpi.core import Signals, coefficient, credit, returns
from logpi.core.aggregate import fixed_length, per_sequence, per_token, sum_tokens
from logpi.core.divergence import effective_sample_size
from logpi.core.surrogate import surrogate


def facts(**known: Tensor) -> Signals:
    """One decision a row, for as many rows as there are."""
    n = len(next(iter(known.values())))
    column = torch.zeros(n, 1, dtype=torch.float64)
    return Signals(
        mask=torch.ones(n, 1, dtype=torch.bool),
        reward=column,
        discount=column,
        end=torch.ones(n, 1, dtype=torch.bool),
        weight=torch.full((n,), 1 / n, dtype=torch.float64),
        **{name: x[:, None] for name, x in known.items()},
    )


def double(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


# -- SAPO, arXiv 2511.20347: f(ρ) = 4/τ σ(τ (ρ − 1)) ----------------------------------------------


def gate(ratio: float, tau: float) -> float:
    return 4 / tau / (1 + math.exp(-tau * (ratio - 1)))


@pytest.mark.parametrize(
    ("ratio", "value"), [(0.8, 1.8006640107500886), (1.0, 2.0), (1.2, 2.1993359892499114)]
)
def test_the_soft_gate_is_the_slope_of_what_sapo_prints(ratio, value):
    """Its coefficient over ρ, integrated from ρ = 1, is f(ρ) − f(1)."""
    assert gate(ratio, 1.0) == pytest.approx(value, abs=1e-12)
    node, weight = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(12))
    at = 1 + (ratio - 1) * (node + 1) / 2
    s = facts(credit=torch.ones_like(at), logp=at.log(), logp_old=torch.zeros_like(at))
    slope = (coefficient.soft_gate()(s)[:, 0] / at) @ weight * (ratio - 1) / 2
    assert 2.0 + slope.item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("tau", [0.3, 1.0, 1.05, 4.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_soft_gate_has_slope_one_at_ratio_one_for_every_tau(tau, sign):
    s = facts(credit=double(sign), logp=double(0.0), logp_old=double(0.0))
    assert coefficient.soft_gate(tau, tau)(s).item() == sign


# -- importance sampling ---------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.6), (1.5, 0.8), (2.5, 1.0)])
def test_ratios_make_every_proposal_right_and_far_ones_useless(mean, spread):
    """E[σ(x) − ½] for x ∼ N(−½, ½²) is −0.115976, whoever proposes: by quadrature."""
    x = torch.linspace(-15, 15, 60_001, dtype=torch.float64)
    p, q = (torch.distributions.Normal(m, s).log_prob(x) for m, s in ((-0.5, 0.5), (mean, spread)))
    s = facts(credit=x.sigmoid() - 0.5, logp=p, logp_old=q)
    push = coefficient.importance(s)[:, 0]
    share = q.exp() * (x[1] - x[0])
    assert (share * push).sum().item() == pytest.approx(-0.115976, abs=5e-7)


def test_far_proposals_have_few_effective_samples():
    """Of 100,000 draws N(0, .6) is worth many, N(2.5, 1) hardly any."""
    draw = torch.Generator().manual_seed(0)
    target, worth = torch.distributions.Normal(-0.5, 0.5), []
    for mean, spread in ((0.0, 0.6), (1.5, 0.8), (2.5, 1.0)):
        q = torch.distributions.Normal(mean, spread)
        x = mean + spread * torch.randn(100_000, generator=draw, dtype=torch.float64)
        log_ratio = target.log_prob(x) - q.log_prob(x)
        worth.append(float(effective_sample_size(log_ratio)) / len(x))
        if mean == 0:
            s = facts(credit=x.sigmoid() - 0.5, logp=target.log_prob(x), logp_old=q.log_prob(x))
            assert coefficient.importance(s).mean().item() == pytest.approx(-0.115976, abs=2e-3)
    assert worth[0] > 0.2 > 0.02 > worth[1] > worth[2]


# -- a step, sums, averages ------------------------------------------------------------------------


@pytest.mark.parametrize("x", [1.0, -1.0])
def test_a_step_of_gradient_ascent(x):
    """y = −x², step .01: from ±1 to ±.98, where y stands for a log-probability."""
    place = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    one = torch.ones_like(place)
    surrogate(-(place**2), one, one).backward()
    torch.optim.SGD([place], lr=0.01).step()
    assert place.item() == pytest.approx(0.98 * x, abs=1e-15)


def test_one_gamma_too_many():
    """Σ_{k=t+1}^T γ^{k−t} r_k is γ G_t: [2.187, 2.43, 2.7] instead of [2.43, 2.7, 3]."""
    r, gamma = torch.tensor([[0.0, 0.0, 3.0]], dtype=torch.float64), 0.9
    g = returns.discounted_sum(r, torch.full_like(r, gamma), torch.tensor([[False, False, True]]))
    assert g[0].tolist() == pytest.approx([2.43, 2.7, 3.0], abs=1e-12)
    printed = [sum(gamma ** (k - t) * r[0, k - 1] for k in range(t + 1, 4)) for t in range(3)]
    assert [float(x) for x in printed] == pytest.approx((gamma * g[0]).tolist(), abs=1e-12)


def test_averages_of_two_rows():
    """Rows [1, 1] and [2, 2, 2, 2]: 1.5, 5/3, 5 and 1.25 by what verl and TRL call the mean."""
    value = double(1, 1, 0, 0, 2, 2, 2, 2).view(2, 4)
    mask, half = value > 0, double(0.5, 0.5)
    found = {
        "sequence mean, token mean": per_sequence(mask, half),
        "token mean": per_token(mask, half),
        "sequence mean, token sum": sum_tokens(mask, half),
        "Dr. GRPO": fixed_length(4)(mask, half),
    }
    got = [float((weight * value).sum()) for weight in found.values()]
    assert got == pytest.approx([1.5, 5 / 3, 5.0, 1.25], abs=1e-12)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_z_scores_of_a_group_with_one_right_answer(size):
    """(1 − 1/G)/std and −(1/G)/std with std = 1/√G (ddof 1): (G−1)/√G and −1/√G."""
    total = torch.zeros(size, dtype=torch.float64)
    total[0] = 1
    found = credit.group_relative(epsilon=0.0)(_rows(total))[:, 0]
    assert found[0].item() == pytest.approx((size - 1) / size**0.5, abs=1e-12)
    assert found[1:].tolist() == pytest.approx([-1 / size**0.5] * (size - 1), abs=1e-12)


def _rows(total: Tensor) -> Signals:
    return facts(credit=total).having(
        reward=total[:, None], group=torch.zeros(len(total), dtype=torch.long)
    )
