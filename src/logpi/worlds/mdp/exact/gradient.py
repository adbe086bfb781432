"""The exact policy gradient, in three ways that share nothing but the policy.

Two directions go by the name. With `start_discounted` it is the gradient of a function,

    ∇J = Σ_t γ^t E[∇logπ(a_t|s_t) Q(s_t, a_t)],   J = E[Σ_t γ^t r_t]

the return discounted from the start. Without it, γ^t is left out, as most code does:

    g = Σ_t E[∇logπ(a_t|s_t) Q(s_t, a_t)]

which is the gradient of no function (Nota & Thomas 2020, arXiv 1906.07073), but locally that of

    Σ_s w(s) V(s),   w(s) = start(s) + (1 − γ) Σ_{t≥1} Pr(s_t = s)   held fixed:

the discounted value of wherever one is, with every later state as a start of its own. Both are one
where γ = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.exact.sums import action_values_over_time, reward_table, values, visits
from logpi.worlds.mdp.exact.tables import TabularPolicy, flat_gradient, log_table
from logpi.worlds.mdp.exact.trajectories import trajectories
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["How", "gradient", "value_of_visited", "weights_and_q"]

How = Literal["bellman", "theorem", "enumeration"]
"""Autograd through Bellman's equation, the policy gradient theorem, or all trajectories."""


def gradient(
    m: FiniteMDP,
    policy: TabularPolicy,
    *,
    how: How = "bellman",
    start_discounted: bool = True,
    horizon: int | None = None,
) -> Float[Tensor, " P"]:
    """∇J exactly, flat, in the order of the policy's parameters; see the module for both kinds.

    bellman       autograd through the solution of V = r_π + γ P_π V
    theorem       Σ_s d(s) Σ_a ∇π(a|s) Q(s, a)                            Sutton et al. 1999
    enumeration   Σ_τ p(τ) Σ_t ∇logπ(a_t|s_t) R(τ);  R from t on where γ^t is left out

    `start_discounted=True` ascends J, the return discounted from the start; False is the direction
    without γ^t. Raises `ModelError` where a sum over time is infinite (γ = 1, or False, with no
    horizon and a policy that may go on for ever), and `ConfigError` where there are too many states
    for `bellman` or too many trajectories for `enumeration`.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.0).having(start=np.array([1.0, 0.0]))
    >>> gradient(m, TabularSoftmax(m)).tolist()
    [-0.33, 0.0, 0.33, 0.0, 0.0, 0.0]
    """
    if how not in _WAYS:
        raise ConfigError(f"`how` is {how!r}: one of {', '.join(_WAYS)}.{did_you_mean(how, _WAYS)}")
    with torch.enable_grad():
        return flat_gradient(_WAYS[how](m, policy, start_discounted, horizon), policy)


def value_of_visited(
    m: FiniteMDP, policy: TabularPolicy, *, horizon: int | None = None
) -> Float[Tensor, ""]:
    """Σ_s w(s) V(s), live, with the w of the module's docstring held fixed: γ^t left out.

    Where γ = 1 it is the return. Raises as `gradient` does.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.5).having(start=np.array([1.0, 0.0]))
    >>> g = flat_gradient(value_of_visited(m, p := TabularSoftmax(m), horizon=3), p)
    >>> (g - gradient(m, p, how="theorem", start_discounted=False, horizon=3)).abs().max() < 1e-12
    tensor(True)
    """
    table = log_table(m, policy)
    value = values(m, table, reward_table(m), discount=m.discount, horizon=horizon)
    start = m.start.astype(np.float64)
    if m.discount == 1:
        return torch.from_numpy(start) @ value[0]
    seen = visits(m, table.detach().exp().numpy(), discount=1.0, horizon=horizon)
    seen[0] -= start
    weight = (1 - m.discount) * seen
    weight[0] += start
    return (torch.from_numpy(weight) * value).sum()


def weights_and_q(
    m: FiniteMDP,
    pi: Float[ndarray, "S A"],
    *,
    start_discounted: bool = True,
    horizon: int | None = None,
) -> tuple[Float[ndarray, "T S"], Float[ndarray, "T S A"]]:
    """Σ over time of the state's weight d_t(s), and Q_t(s, a); without a horizon T = 1.

    Q is 0 where an action is not allowed.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.0).having(start=np.array([1.0, 0.0]))
    >>> [x.tolist() for x in weights_and_q(m, np.array([[0.0, 1.0, 0.0]] * 2))]
    [[[1.0, 0.0]], [[[-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]]]
    """
    discount = m.discount if start_discounted else 1.0
    weight = visits(m, pi, discount=discount, horizon=horizon)
    return weight, action_values_over_time(m, pi, horizon=horizon)


def _bellman(
    m: FiniteMDP, policy: TabularPolicy, start_discounted: bool, horizon: int | None
) -> Tensor:
    if not start_discounted:
        return value_of_visited(m, policy, horizon=horizon)
    value = values(m, log_table(m, policy), reward_table(m), discount=m.discount, horizon=horizon)
    return torch.from_numpy(m.start.astype(np.float64)) @ value[0]


def _theorem(
    m: FiniteMDP, policy: TabularPolicy, start_discounted: bool, horizon: int | None
) -> Tensor:
    pi = log_table(m, policy).exp()
    weight, q = weights_and_q(
        m, pi.detach().numpy(), start_discounted=start_discounted, horizon=horizon
    )
    return (torch.from_numpy(np.einsum("ts,tsa->sa", weight, q)) * pi).sum()


def _enumeration(
    m: FiniteMDP, policy: TabularPolicy, start_discounted: bool, horizon: int | None
) -> Tensor:
    found = trajectories(m, policy, horizon=horizon)
    logp = found.log_prob(log_table(m, policy))
    if start_discounted:
        earned = found.returns(m.discount)[:, None].expand_as(logp)
    else:
        earned, later = torch.zeros_like(found.reward), torch.zeros_like(found.environment)
        for t in reversed(range(found.reward.shape[1])):
            later = found.reward[:, t] + m.discount * later
            earned[:, t] = later
    return (found.probability[:, None] * earned * logp).sum()


_WAYS: dict[str, Callable[[FiniteMDP, TabularPolicy, bool, int | None], Tensor]] = {
    "bellman": _bellman,
    "theorem": _theorem,
    "enumeration": _enumeration,
}
