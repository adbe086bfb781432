"""Expected sums over time, differentiated through Bellman's equation; and how often states occur.

The horizon is None, for sums until termination or for ever, or T: then only the first T decisions
count, values depend on the time, and the policy does not.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.chain import Chain, can_reach, chain_of
from logpi.worlds.mdp.planning.evaluate import action_values
from logpi.worlds.mdp.planning.linear import solve_identity_minus

__all__ = [
    "DENSE",
    "action_values_over_time",
    "expected_sum",
    "reward_table",
    "values",
    "visits",
]

DENSE = 4000
"""The most states for which Bellman's equation is solved with a gradient: the solve is dense."""


def expected_sum(
    m: FiniteMDP,
    table: Float[Tensor, "S A"],
    reward: Float[Tensor, "S A"],
    *,
    discount: float,
    horizon: int | None = None,
) -> Float[Tensor, ""]:
    """E[Σ_t γ^t r(s_t, a_t)] from the start, with the gradients of the policy and of the reward.

    >>> from logpi.worlds.mdp.exact.tables import log_table
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.9).having(start=np.array([1.0, 0.0]))
    >>> expected_sum(m, log_table(m, [2, 1]), reward_table(m), discount=0.9).item()
    10.0
    """
    first = values(m, table, reward, discount=discount, horizon=horizon)[0]
    return torch.from_numpy(m.start.astype(np.float64)) @ first


def reward_table(m: FiniteMDP) -> Float[Tensor, "S A"]:
    """r(s, a) in float64; 0 where the action is not allowed, whatever the model holds there.

    >>> from logpi.worlds.mdp.zoo import make
    >>> reward_table(make("two_state")).tolist()
    [[-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]
    """
    return torch.from_numpy(np.where(m.allowed, m.reward, 0).astype(np.float64))


def values(
    m: FiniteMDP,
    table: Float[Tensor, "S A"],
    reward: Float[Tensor, "S A"],
    *,
    discount: float,
    horizon: int | None = None,
) -> Float[Tensor, "T S"]:
    """V_t(s) before decision t = 0, 1, ..., T − 1, with gradients; without a horizon V(s), T = 1.

    V = r_π + γ P_π V,   or backwards   V_t = r_π + γ P_π V_{t+1}   from   V_T = 0

    Raises `ModelError` where γ is 1, there is no horizon, and the policy may go on for ever, and
    `ConfigError` where the model has too many states for a dense solve.

    >>> from logpi.worlds.mdp.exact.tables import log_table
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state")
    >>> values(m, log_table(m, [2, 1]), reward_table(m), discount=0.5, horizon=2).tolist()
    [[1.5, 1.5], [1.0, 1.0]]
    """
    pi = table.exp()
    expected = (pi * reward).sum(1)
    if horizon is None:
        return _solved(m, pi, expected, discount)[None]
    if horizon < 1:
        raise ConfigError(f"horizon is {horizon} but must be at least one decision, or None.")
    pair, successor, probability = _transitions(m)
    nothing = expected.new_zeros(m.states * m.actions)
    value, later = torch.zeros_like(expected), []
    for _ in range(horizon):
        following = nothing.index_add(0, pair, probability * value[successor])
        value = expected + discount * (pi * following.view_as(pi)).sum(1)
        later.append(value)
    return torch.stack(later[::-1])


def _solved(
    m: FiniteMDP, pi: Float[Tensor, "S A"], expected: Float[Tensor, " S"], discount: float
) -> Float[Tensor, " S"]:
    if m.states > DENSE:
        raise ConfigError(
            f"{m.name!r} has {m.states} states, and a gradient through Bellman's equation solves a "
            f'dense system, of at most {DENSE}. Use how="theorem", or give a `horizon`.'
        )
    if discount == 1:
        _require_end(chain_of(m, pi.detach().numpy()))
    pair, successor, probability = _transitions(m)
    entry = pair // m.actions * m.states + successor
    flow = pi.flatten()[pair] * probability
    chain = pi.new_zeros(m.states**2).index_add(0, entry, flow)
    system = torch.eye(m.states, dtype=pi.dtype) - discount * chain.view(m.states, m.states)
    return torch.linalg.solve(system, expected)


def _transitions(m: FiniteMDP) -> tuple[Tensor, Tensor, Tensor]:
    """P(s'|s, a) where it is positive: s·A + a, s' and the probability; allowed actions alone."""
    p = m.transitions
    pair = np.repeat(np.arange(m.states * m.actions), np.diff(p.indptr))
    used = m.allowed.ravel()[pair] & (p.data > 0)
    successor, probability = p.indices[used].astype(np.int64), p.data[used].astype(np.float64)
    return (
        torch.from_numpy(pair[used]),
        torch.from_numpy(successor),
        torch.from_numpy(probability),
    )


def visits(
    m: FiniteMDP, pi: Float[ndarray, "S A"], *, discount: float, horizon: int | None = None
) -> Float[ndarray, "T S"]:
    """γ^t Pr(s_t = s) for t = 0, ..., T − 1; without a horizon their sum d(s) over all t, T = 1.

    d = (I − γ P_πᵀ)⁻¹ start,   or forwards   d_{t+1} = γ P_πᵀ d_t   from   d_0 = start

    Raises `ModelError` where γ is 1, there is no horizon, and the policy may go on for ever.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state").having(start=np.array([1.0, 0.0]))
    >>> visits(m, np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), discount=0.5, horizon=2).tolist()
    [[1.0, 0.0], [0.0, 0.5]]
    """
    chain = chain_of(m, pi)
    flow, first = chain.transitions.T.tocsr() * discount, m.start.astype(np.float64)
    if horizon is None:
        if discount == 1:
            _require_end(chain)
        return np.maximum(solve_identity_minus(flow, first), 0)[None]
    found = [first]
    for _ in range(horizon - 1):
        found.append(flow @ found[-1])
    return np.stack(found)


def action_values_over_time(
    m: FiniteMDP, pi: Float[ndarray, "S A"], *, horizon: int | None = None
) -> Float[ndarray, "T S A"]:
    """Q_t(s, a) for t = 0, ..., T − 1, when T − t decisions are left; without a horizon Q, T = 1.

    Q_t = r + γ P V_{t+1},   V_t = Σ_a π Q_t,   V_T = 0

    0 where an action is not allowed.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.5)
    >>> action_values_over_time(m, np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), horizon=2)[0]
    array([[-0.5,  0.5,  1.5],
           [ 0.5,  1.5, -0.5]])
    """
    if horizon is None:
        return np.where(m.allowed, action_values(m, pi), 0.0)[None]
    value, backwards = np.zeros(m.states), list[ndarray]()
    for _ in range(horizon):
        found = np.where(m.allowed, backup(m, value), 0.0)
        value = (pi * found).sum(1)
        backwards.append(found)
    return np.stack(backwards[::-1])


def _require_end(chain: Chain) -> None:
    reaches = can_reach(chain.transitions, chain.terminal)
    if not reaches.all():
        raise ModelError(
            f"an undiscounted sum over time is infinite here: from state {int(np.argmin(reaches))} "
            "this policy never reaches a terminal state. Give `horizon`, or discount (for a "
            "gradient: start_discounted=True and a discount below 1)."
        )
