"""The Fisher information of a policy, and the gradient that does not depend on its parameters."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from logpi.worlds.mdp.exact.gradient import weights_and_q
from logpi.worlds.mdp.exact.sums import visits
from logpi.worlds.mdp.exact.tables import TabularPolicy, log_table, parameters
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["fisher", "natural_gradient", "score_matrix"]

_AT_ONCE = 1024  # rows of the Jacobian in one backward pass


def score_matrix(policy: TabularPolicy) -> Float[Tensor, "S A P"]:
    """∇logπ(a|s) of every state and action, in float64; 0 where an action is not allowed.

    Raises `ConfigError` where the policy has no parameter that takes a gradient.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> score_matrix(TabularSoftmax(make("two_state")))[0, 2].tolist()
    [-0.33, -0.33, 0.67, 0.0, 0.0, 0.0]
    """
    live = parameters(policy)
    with torch.enable_grad():
        table = policy.table()
    entries = torch.eye(table.numel(), dtype=table.dtype, device=table.device)
    blocks: list[Tensor] = []
    for some in entries.split(_AT_ONCE):
        found = torch.autograd.grad(
            table,
            live,
            some.view(-1, *table.shape),
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
            materialize_grads=True,
        )
        blocks.append(torch.cat([g.flatten(1) for g in found], dim=1).to("cpu", torch.float64))
    return torch.cat(blocks).view(*table.shape, -1)


def fisher(
    m: FiniteMDP,
    policy: TabularPolicy,
    *,
    start_discounted: bool = True,
    horizon: int | None = None,
) -> Float[Tensor, "P P"]:
    """F = Σ_s d(s) Σ_a π(a|s) ∇logπ ∇logπᵀ, with d(s) = Σ_t γ^t Pr(s_t = s), not normalised.

    It is the Hessian of Σ_s d(s) KL(π_old(·|s)‖π(·|s)) at π = π_old, and with
    `start_discounted=False` (γ^t left out) the Fisher information of a whole trajectory
    (Bagnell & Schneider 2003). TRPO's is its mean per decision: divide by Σ_s d(s).

    Raises as `gradient` does.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.0).having(start=np.array([1.0, 0.0]))
    >>> fisher(m, TabularSoftmax(m))[:3, :3].tolist()
    [[0.22, -0.11, -0.11], [-0.11, 0.22, -0.11], [-0.11, -0.11, 0.22]]
    """
    score = score_matrix(policy).flatten(0, 1)
    pi = log_table(m, policy).detach().exp()
    discount = m.discount if start_discounted else 1.0
    weight = visits(m, pi.numpy(), discount=discount, horizon=horizon).sum(0)
    share = (torch.from_numpy(weight)[:, None] * pi).flatten()
    return score.T @ (share[:, None] * score)


def natural_gradient(
    m: FiniteMDP,
    policy: TabularPolicy,
    *,
    start_discounted: bool = True,
    horizon: int | None = None,
) -> Float[Tensor, " P"]:
    """F⁺ ∇J, the shortest x with F x = ∇J: the direction of steepest ascent per KL. Kakade 2001.

    It is the best fit of the advantage by a linear function of the score,

    x = argmin Σ_s d(s) Σ_a π(a|s) (A(s, a) − xᵀ ∇logπ(a|s))²

    and found as such: least squares need no F, whose condition is the square. For a tabular softmax
    x[s, a] is A(s, a) less its mean over the state's actions, wherever d(s) > 0.

    Raises as `gradient` does.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.0).having(start=np.array([1.0, 0.0]))
    >>> natural_gradient(m, TabularSoftmax(m)).round(decimals=6).abs().tolist()
    [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    score = score_matrix(policy).flatten(0, 1)
    pi = log_table(m, policy).detach().exp().numpy()
    weight, q = weights_and_q(m, pi, start_discounted=start_discounted, horizon=horizon)
    visited = weight.sum(0)
    mean = np.einsum("ts,tsa->sa", weight, q) / np.where(visited > 0, visited, 1)[:, None]
    advantage = mean - (pi * mean).sum(1, keepdims=True)
    root = np.sqrt(visited[:, None] * pi).ravel()
    counted = root > 0
    rows = torch.from_numpy(root[counted])
    target = rows * torch.from_numpy(advantage.ravel()[counted])
    matrix = rows[:, None] * score[torch.from_numpy(counted)]
    return torch.linalg.lstsq(matrix, target[:, None], driver="gelsd").solution[:, 0]
