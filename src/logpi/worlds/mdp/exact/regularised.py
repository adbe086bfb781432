"""Policies near a reference: the divergence of whole trajectories, and the best such policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact.sums import expected_sum
from logpi.worlds.mdp.exact.tables import AnyPolicy, log_ratio, log_table
from logpi.worlds.mdp.exact.trajectories import Trajectories, trajectories
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["RegularisedOptimum", "regularised_optimum", "state_kl", "trajectory_kl"]


def trajectory_kl(
    m: FiniteMDP,
    policy: AnyPolicy,
    other: AnyPolicy,
    *,
    discount: float = 1.0,
    horizon: int | None = None,
) -> Float[Tensor, ""]:
    """KL(p_π(τ)‖p_π'(τ)) of whole trajectories in nats, with the gradients of both policies.

    E_π[Σ_t γ^t (log π(a_t|s_t) − log π'(a_t|s_t))];   the KL where γ = 1, as by default

    The model's own probabilities cancel. Raises `ConfigError` where it is infinite because π' never
    takes an action that π may take, and `ModelError` where π may go on for ever undiscounted.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state").having(start=np.array([1.0, 0.0]))
    >>> trajectory_kl(m, [2, 1], np.array([[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]), horizon=3).exp()
    tensor(8.0000, dtype=torch.float64)
    """
    table = log_table(m, policy)
    gap = log_ratio(m, table, log_table(m, other))
    return expected_sum(m, table, gap, discount=discount, horizon=horizon)


def state_kl(m: FiniteMDP, policy: AnyPolicy, other: AnyPolicy) -> Float[Tensor, " S"]:
    """KL(π(·|s)‖π'(·|s)) of every state in nats, with the gradients of both; 0 in terminal states.

    Raises `ConfigError` where it is infinite.

    >>> from logpi.worlds.mdp.zoo import make
    >>> half = np.array([[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    >>> state_kl(make("two_state"), [2, 1], half).exp().tolist()
    [2.0, 2.0]
    """
    table = log_table(m, policy)
    return (table.exp() * log_ratio(m, table, log_table(m, other))).sum(1)


@dataclass(frozen=True, slots=True)
class RegularisedOptimum:
    """The policy that maximises E[R] − β KL(p_π‖p_ref), and what it reaches."""

    policy: Float[ndarray, "S A"]  # the reference's own where the reference never comes
    objective: float  # Σ start(s₀) β log Z(s₀)

    def distance(
        self, m: FiniteMDP, policy: AnyPolicy, *, horizon: int | None = None
    ) -> Float[Tensor, ""]:
        """KL(p_π(τ)‖p*(τ)): what the policy's objective falls short by, over β."""
        return trajectory_kl(m, policy, self.policy, horizon=horizon)


def regularised_optimum(
    m: FiniteMDP, reference: AnyPolicy, *, beta: float, limit: int = 1_000_000
) -> RegularisedOptimum:
    """The best policy near a reference, in closed form over all trajectories.

    p*(τ) = p_ref(τ) exp(R(τ)/β) / Z(s₀),   max = β log Z(s₀)          Ziebart 2010; DPO, eq. 4

    This holds where actions alone decide what happens: for bandits and for language models. Raises
    `ConfigError` where the model adds luck or discounts, or some trajectory never ends, or there
    are more than `limit`; `planning.soft` solves those by the soft Bellman equation.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("bandit", means=(1.0, 0.0))
    >>> best = regularised_optimum(m, np.array([[0.5, 0.5]] * 2), beta=1 / np.log(3))
    >>> best.policy[0]
    array([0.75, 0.25])
    """
    if not beta > 0:
        raise ConfigError(f"beta is {beta} but the weight of the KL must be positive.")
    found = trajectories(m, reference, limit=limit)
    _check_closed(m, found)
    table = log_table(m, reference).detach()
    decided = found.length > 0
    first = found.state[decided, 0]
    logp = found.log_prob(table)[decided].sum(1) + found.returns(m.discount)[decided] / beta
    partition = torch.full((m.states,), -torch.inf, dtype=torch.float64)
    for s in first.unique():
        partition[s] = logp[first == s].logsumexp(0)
    weight = torch.from_numpy(m.start.astype(np.float64))[first] * (logp - partition[first]).exp()
    share = torch.zeros(m.states * m.actions, dtype=torch.float64)
    pair = found.state * m.actions + found.action
    spread = (weight[:, None] * found.mask[decided]).flatten()
    share.index_add_(0, pair[decided].flatten(), spread)
    share = share.view(m.states, m.actions)
    total = share.sum(1, keepdim=True)
    policy = torch.where(total > 0, share / total.clamp(min=1e-300), table.exp())
    reached = m.start * np.where(partition.isfinite(), partition.numpy(), 0.0)
    return RegularisedOptimum(policy.numpy(), float(beta * reached.sum()))


def _check_closed(m: FiniteMDP, found: Trajectories) -> None:
    decided = found.length > 0
    first = torch.from_numpy(m.start.astype(np.float64))[found.state[decided, 0]]
    if bool((found.environment[decided] < first * (1 - 1e-9)).any()):
        raise ConfigError(
            f"in {m.name!r} the same actions can lead to different states, so the best regularised "
            "policy is not p_ref(τ) exp(R(τ)/β): use planning.soft."
        )
    if m.discount != 1 and found.mask.shape[1] > 1:
        raise ConfigError(
            f"{m.name!r} discounts by {m.discount:g} over several decisions, and the closed form "
            "weighs every decision's KL alike: use planning.soft, or a discount of 1."
        )
