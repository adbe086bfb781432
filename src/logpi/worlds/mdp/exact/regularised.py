"""Policies near a reference: the divergence of whole trajectories, and the best such policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.worlds.mdp.exact.objective import objective
from logpi.worlds.mdp.exact.sums import expected_sum
from logpi.worlds.mdp.exact.tables import AnyPolicy, log_ratio, log_table
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.soft import soft_policy_iteration

__all__ = ["RegularisedOptimum", "regularised_optimum", "state_kl", "trajectory_kl"]

_ENOUGH = 1e-9  # of the largest reward: Newton's last step leaves far less


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
    """The policy that maximises E[Σ γ^t (r_t − β log(π/π_ref))], and what it reaches."""

    policy: Float[ndarray, "S A"]
    objective: float  # Σ start(s₀) V(s₀)

    def distance(
        self, m: FiniteMDP, policy: AnyPolicy, *, horizon: int | None = None
    ) -> Float[Tensor, ""]:
        """E_π[Σ γ^t log(π/π*)]: exactly what the policy's objective falls short by, over β.

        Where γ = 1 this is KL(p_π(τ)‖p*(τ)) of whole trajectories, in nats.
        """
        return trajectory_kl(m, policy, self.policy, discount=m.discount, horizon=horizon)


def regularised_optimum(m: FiniteMDP, reference: AnyPolicy, *, beta: float) -> RegularisedOptimum:
    """The best policy near a reference, by the soft Bellman equation (`planning.soft`).

    V(s) = β log Σ_a π_ref(a|s) exp(Q(s, a)/β),   π*(a|s) ∝ π_ref(a|s) exp(Q(s, a)/β)

    Where actions alone decide what happens and γ = 1, as for bandits and language models, that is

    p*(τ) = p_ref(τ) exp(R(τ)/β) / Z(s₀),   max = β log Z(s₀)          Ziebart 2010; DPO, eq. 4

    Raises `ConfigError` unless β is positive, and `ModelError` where the discount is 1 and the
    reference may go on for ever, or going on pays.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("bandit", means=(1.0, 0.0))
    >>> best = regularised_optimum(m, np.array([[0.5, 0.5]] * 2), beta=1 / np.log(3))
    >>> best.policy[0]
    array([0.75, 0.25])
    """
    anchor = log_table(m, reference).detach()
    exact = m.astype(np.float64)
    scale = max(1.0, float(np.abs(exact.reward[exact.allowed]).max(initial=0.0)))
    pi = soft_policy_iteration(
        exact, beta=beta, reference=anchor.exp().numpy(), tolerance=scale * _ENOUGH
    ).policy
    # An error of the policy changes what it reaches by its square alone: V itself is not as exact.
    price = beta * log_ratio(m, log_table(m, pi), anchor).numpy()
    charged = exact.having(reward=exact.reward - price, outcome_reward=None)
    return RegularisedOptimum(pi, objective(charged, pi))
