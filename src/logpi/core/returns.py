"""Discounted sums along a row: returns, TD errors, λ-returns, V-trace.

A row may hold several episodes, one after another: `end` cuts every recursion, and `discount`,
which is 0 after a termination and γ after a truncation, decides whether the state that follows is
bootstrapped from.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = [
    "discount_to_here",
    "discounted_sum",
    "lambda_return",
    "sarsa_target",
    "td_error",
    "trajectory_return",
    "vtrace_advantage",
    "vtrace_value",
]


def discounted_sum(
    x: Float[Tensor, "n t"],
    discount: Float[Tensor, "n t"],
    end: Bool[Tensor, "n t"],
    last: Float[Tensor, "n t"] | None = None,
) -> Float[Tensor, "n t"]:
    """y_t = x_t + discount_t · y_{t+1} within a trajectory; `last` stands for y_{t+1} at its end.

    With x the rewards this is the return G_t (Sutton & Barto, eq. 3.8); `last`, 0 by default, is
    the value of the state after a truncation.

    >>> r, g = torch.tensor([[1.0, 1.0, 1.0]]), torch.full((1, 3), 0.5)
    >>> discounted_sum(r, g, torch.tensor([[False, False, True]])).tolist()
    [[1.75, 1.5, 1.0]]
    >>> discounted_sum(r, g, torch.tensor([[False, True, True]])).tolist()
    [[1.5, 1.0, 1.0]]
    """
    if not x.shape[1]:
        return torch.empty_like(x)
    own = x if last is None else torch.where(end, x + discount * last, x)
    factor = torch.where(end, 0.0, discount)
    finite = bool(own.isfinite().all())  # else what is not must not pass an end, as 0 · NaN would
    plain = own.is_cpu and own.dtype in (torch.float32, torch.float64)
    if finite and plain and not (own.requires_grad or factor.requires_grad):
        return _summed(own, factor)
    carry, found = torch.zeros_like(own[:, 0]), list[Tensor]()
    for here, ahead in reversed(list(zip(own.unbind(1), factor.unbind(1), strict=True))):
        carry = torch.where(ahead == 0, here, torch.addcmul(here, ahead, carry))
        found.append(carry)
    return torch.stack(found[::-1], 1)


@np.errstate(over="ignore", invalid="ignore")  # as torch does
def _summed(own: Tensor, factor: Tensor) -> Tensor:
    """The same in log₂ t passes: y_t, and the factor from t on, over twice as many steps each."""
    y, ahead = (x.t().clone(memory_format=torch.contiguous_format).numpy() for x in (own, factor))
    reach = 1
    while reach < len(y):
        y[:-reach] += ahead[:-reach] * y[reach:]
        ahead[:-reach] *= ahead[reach:]
        reach *= 2
    return torch.from_numpy(y).t().contiguous()  # pyright: ignore[reportUnknownMemberType] # ndarray of any dtype


def discount_to_here(
    discount: Float[Tensor, "n t"], end: Bool[Tensor, "n t"]
) -> Float[Tensor, "n t"]:
    """The product of the discounts before each decision since its trajectory began: γ^t.

    The exact gradient of the discounted return from the start state carries this factor (Sutton &
    Barto, section 13.3, boxed REINFORCE); most code drops it.

    >>> g = torch.full((1, 4), 0.5)
    >>> discount_to_here(g, torch.tensor([[False, True, False, True]])).tolist()
    [[1.0, 0.5, 1.0, 0.5]]
    """
    out = torch.ones_like(discount)
    for t in range(1, discount.shape[1]):
        out[:, t] = torch.where(end[:, t - 1], 1.0, out[:, t - 1] * discount[:, t - 1])
    return out


def trajectory_return(
    reward: Float[Tensor, "n t"], discount: Float[Tensor, "n t"], end: Bool[Tensor, "n t"]
) -> Float[Tensor, " n"]:
    """R(τ) = Σ_t γ^t R_{t+1} of the first trajectory of each row.

    >>> r, g = torch.tensor([[1.0, 2.0, 9.0]]), torch.full((1, 3), 0.5)
    >>> trajectory_return(r, g, torch.tensor([[False, True, True]])).tolist()
    [2.0]
    """
    if not reward.shape[1]:
        return reward.new_zeros(reward.shape[0])
    return discounted_sum(reward, discount, end)[:, 0]


def td_error(
    reward: Float[Tensor, "n t"],
    discount: Float[Tensor, "n t"],
    value: Float[Tensor, "n t"],
    next_value: Float[Tensor, "n t"],
) -> Float[Tensor, "n t"]:
    """δ_t = R_{t+1} + γ V(s_{t+1}) − V(s_t). A termination's discount of 0 stops the bootstrap.

    >>> one = torch.ones(1, 1)
    >>> td_error(one, 0.9 * one, 2 * one, 3 * one).item()
    1.7
    """
    return reward + discount * next_value - value


def sarsa_target(
    reward: Float[Tensor, "n t"],
    discount: Float[Tensor, "n t"],
    end: Bool[Tensor, "n t"],
    q: Float[Tensor, "n t"],
    next_value: Float[Tensor, "n t"],
) -> Float[Tensor, "n t"]:
    """R_{t+1} + γ Q(s_{t+1}, a_{t+1}); after an end, where no action follows, γ V(s_{t+1}).

    Sutton & Barto, eq. 6.7. At a truncation V(s) = Σ_a π(a|s) Q(s, a) stands for the action that
    was never taken.

    >>> one = torch.ones(1, 2)
    >>> end = torch.tensor([[False, True]])
    >>> sarsa_target(one, one, end, 2 * one, 5 * one).tolist()
    [[3.0, 6.0]]
    """
    following = torch.cat([q[:, 1:], next_value[:, -1:]], dim=1)
    return reward + discount * torch.where(end, next_value, following)


def lambda_return(
    reward: Float[Tensor, "n t"],
    discount: Float[Tensor, "n t"],
    end: Bool[Tensor, "n t"],
    next_value: Float[Tensor, "n t"],
    *,
    lam: float,
) -> Float[Tensor, "n t"]:
    """G^λ_t = R_{t+1} + γ [(1−λ) V(s_{t+1}) + λ G^λ_{t+1}], and R_{t+1} + γ V(s_{t+1}) at an end.

    Sutton & Barto, eq. 12.18. λ=0 is the one-step target, λ=1 the Monte Carlo return, bootstrapped
    only where the trajectory was truncated.

    >>> r, g = torch.ones(1, 2), torch.tensor([[1.0, 0.0]])
    >>> lambda_return(
    ...     r, g, torch.tensor([[False, True]]), torch.full((1, 2), 5.0), lam=1.0
    ... ).tolist()
    [[2.0, 1.0]]
    """
    cut = torch.where(end, torch.zeros_like(reward), discount * (1 - lam) * next_value)
    step = reward + cut + torch.where(end, discount * next_value, torch.zeros_like(reward))
    return discounted_sum(step, discount * lam, end)


def vtrace_value(
    value: Float[Tensor, "n t"],
    delta: Float[Tensor, "n t"],
    discount: Float[Tensor, "n t"],
    end: Bool[Tensor, "n t"],
    ratio: Float[Tensor, "n t"],
    *,
    rho_max: float = 1.0,
    c_max: float = 1.0,
) -> Float[Tensor, "n t"]:
    """v_t = V(s_t) + Σ_k γ^{k−t} (Π_{t≤i<k} c_i) ρ̄_k δ_k, ρ̄ = min(ρ, rho_max), c = min(ρ, c_max).

    V-trace, IMPALA (arXiv 1802.01561, eq. 1); `delta` is the plain TD error. On-policy (ρ = 1) it
    is the λ-return with λ = 1.

    >>> v, d = torch.zeros(1, 2), torch.ones(1, 2)
    >>> vtrace_value(v, d, d, torch.tensor([[False, True]]), torch.full((1, 2), 0.5)).tolist()
    [[0.75, 0.5]]
    """
    correction = discounted_sum(
        ratio.clamp(max=rho_max) * delta, discount * ratio.clamp(max=c_max), end
    )
    return value + correction


def vtrace_advantage(
    reward: Float[Tensor, "n t"],
    discount: Float[Tensor, "n t"],
    end: Bool[Tensor, "n t"],
    target: Float[Tensor, "n t"],
    *,
    value: Float[Tensor, "n t"],
    next_value: Float[Tensor, "n t"],
) -> Float[Tensor, "n t"]:
    """R_{t+1} + γ v_{t+1} − V(s_t), where `target` holds the V-trace values v_t of the same rows.

    IMPALA (arXiv 1802.01561, section 4.2), without its factor ρ, which is a coefficient. After an
    end the next value is the critic's.

    >>> one = torch.ones(1, 1)
    >>> vtrace_advantage(one, one, one.bool(), one, value=one, next_value=3 * one).item()
    3.0
    """
    following = torch.cat([target[:, 1:], next_value[:, -1:]], dim=1)
    return reward + discount * torch.where(end, next_value, following) - value
