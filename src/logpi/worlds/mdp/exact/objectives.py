"""What a recipe may ascend, by name: each a live scalar of the policy, exact.

Every objective takes the model and the policy, and what it needs of: a `reference` policy, the
weight `beta` of its divergence, the group size `k`, and the `horizon` after which trajectories are
cut. p(s₀) is the probability that a trajectory from s₀ succeeds, where the return has two values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.exact.gradient import value_of_visited
from logpi.worlds.mdp.exact.outcomes import outcomes, successes
from logpi.worlds.mdp.exact.regularised import state_kl, trajectory_kl
from logpi.worlds.mdp.exact.sums import expected_sum, reward_table, visits
from logpi.worlds.mdp.exact.tables import AnyPolicy, TabularPolicy, flat_gradient, log_table
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["OBJECTIVES", "Given", "objective_gradient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an objective may depend on besides the model and the policy."""

    reference: AnyPolicy | None = None
    beta: float = 0.1  # the weight of the divergence from the reference
    k: int = 4  # rows of a group
    horizon: int | None = None

    @property
    def anchor(self) -> AnyPolicy:
        """The reference; raises `ConfigError` where none was given."""
        if self.reference is None:
            raise ConfigError("this objective compares with a reference policy: give `reference`.")
        return self.reference


def objective_gradient(
    name: str, m: FiniteMDP, policy: TabularPolicy, given: Given | None = None
) -> Float[Tensor, " P"]:
    """∇ of the objective of that name, flat and in the order of the policy's parameters.

    Raises `ConfigError` where there is no such objective, or where the model has none: no success,
    no reference, too many trajectories.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state").having(start=np.array([1.0, 0.0]))
    >>> objective_gradient("return", m, TabularSoftmax(m), Given(horizon=1)).tolist()
    [-0.33, 0.0, 0.33, 0.0, 0.0, 0.0]
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f"there is no objective {name!r}.{did_you_mean(name, OBJECTIVES)} "
            f"There are: {', '.join(OBJECTIVES)}."
        )
    with torch.enable_grad():
        return flat_gradient(OBJECTIVES[name](m, policy, given or Given()), policy)


def undiscounted(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[Σ_t r_t], whatever the model's discount."""
    table = log_table(m, policy)
    return expected_sum(m, table, reward_table(m), discount=1.0, horizon=given.horizon)


def discounted(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """J = E[Σ_t γ^t r_t], discounted from the start."""
    table = log_table(m, policy)
    return expected_sum(m, table, reward_table(m), discount=m.discount, horizon=given.horizon)


def visited(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """Σ_s w(s) V(s) with w held fixed: what E[Σ_t ∇logπ · Q] without its γ^t ascends locally."""
    return value_of_visited(m, policy, horizon=given.horizon)


def reverse_kl(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """J − β E_π[Σ_t γ^t (logπ − logπ_ref)]: KL(π‖π_ref) of trajectories, in the reward."""
    kl = trajectory_kl(m, policy, given.anchor, discount=m.discount, horizon=given.horizon)
    return discounted(m, policy, given) - given.beta * kl


def reverse_kl_of_visited(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """J − β Σ_s d_π(s) KL(π(·|s)‖π_ref(·|s)) with the visits d_π held fixed: k2 in the loss."""
    seen = _seen(m, policy, given.horizon)
    return discounted(m, policy, given) - given.beta * (seen @ state_kl(m, policy, given.anchor))


def forward_kl(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """J − β KL(p_ref(τ)‖p_π(τ)): where the reference goes."""
    kl = trajectory_kl(m, given.anchor, policy, horizon=given.horizon)
    return discounted(m, policy, given) - given.beta * kl


def forward_kl_of_visited(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """J − β Σ_s d_π(s) KL(π_ref(·|s)‖π(·|s)) with the visits d_π held fixed: k3 in the loss."""
    seen = _seen(m, policy, given.horizon)
    return discounted(m, policy, given) - given.beta * (seen @ state_kl(m, given.anchor, policy))


def _seen(m: FiniteMDP, policy: TabularPolicy, horizon: int | None) -> Float[Tensor, " S"]:
    """Expected visits, undiscounted: a batch counts every decision alike."""
    pi = log_table(m, policy).detach().exp().numpy()
    return torch.from_numpy(visits(m, pi, discount=1.0, horizon=horizon).sum(0))


def likelihood(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E_{τ∼π_ref}[Σ_t logπ(a_t|s_t)]: maximum likelihood of the reference's trajectories."""
    at, logp = log_table(m, given.anchor).detach(), log_table(m, policy)
    known = torch.where(at > -torch.inf, logp, 0.0)
    return expected_sum(m, at, known, discount=1.0, horizon=given.horizon)


def best_of_k(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[max R of k trajectories from one start]: for rewards 0 and 1, 1 − E[(1 − p)^k]."""
    total = torch.zeros((), dtype=torch.float64)
    for x in outcomes(m, policy, horizon=given.horizon):
        below = torch.cat([torch.zeros(1, dtype=torch.float64), x.probability.cumsum(0)])
        total = total + x.share * (x.returns * (below**given.k).diff()).sum()
    return total


def log_return(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[log E[R|s₀]]: its gradient is that of the return over the mean of its start."""
    total = torch.zeros((), dtype=torch.float64)
    for x in outcomes(m, policy, horizon=given.horizon):
        mean = x.probability @ x.returns
        if not mean > 0:
            raise ConfigError(f"the mean return is {mean.item():g} from some start: no logarithm.")
        total = total + x.share * mean.log()
    return total


def log_success(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[log p(s₀)]: maximum likelihood of success."""
    share, p = successes(m, policy, horizon=given.horizon)
    if not (p > 0).all():
        raise ConfigError("some start never succeeds: its log-probability is −inf.")
    return share @ p.log()


def log_success_to_order_k(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[−Σ_{j=1}^{k−1} (1 − p)^j / j], the start of the series of log p.

    The mean of (R − mean) / mean over groups of k is its gradient, exactly. arXiv 2602.02710
    """
    _check_group(given.k)
    share, p = successes(m, policy, horizon=given.horizon)
    return -torch.stack([share @ (1 - p) ** j / j for j in range(1, given.k)]).sum()


def arcsine(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[2 arcsin √p(s₀)]: its gradient is ∇p/√(p(1 − p)), what z-scores of endless groups give."""
    share, p = successes(m, policy, horizon=given.horizon)
    if not ((p > 0) & (p < 1)).all():
        raise ConfigError("some start always fails or always succeeds: arcsin √p is not smooth.")
    return share @ (2 * p.sqrt().arcsin())


def z_scored(m: FiniteMDP, policy: TabularPolicy, given: Given) -> Float[Tensor, ""]:
    """E[h(p(s₀))], whose gradient is the mean of z-scored groups of k, exactly (ddof 1, ε = 0).

    h′(p) = Σ_{K=1}^{k−1} C(k, K) p^{K−1} (1 − p)^{k−K−1} √(K (k − K) k (k − 1)) / k²

    The sum is over K successes among k; h is its integral, by Gauss's rule, which is exact for it.
    """
    k = given.k
    _check_group(k)
    share, p = successes(m, policy, horizon=given.horizon)
    node, weight = np.polynomial.legendre.leggauss(k // 2 + 1)
    u = p[:, None] * torch.from_numpy((node + 1) / 2)
    slope = torch.zeros_like(u)
    for n in range(1, k):
        paired = comb(k, n) * (n * (k - n) * k * (k - 1)) ** 0.5 / k**2
        slope = slope + paired * u ** (n - 1) * (1 - u) ** (k - n - 1)
    return share @ (p / 2 * (slope @ torch.from_numpy(weight)))


def _check_group(k: int) -> None:
    if k < 2:
        raise ConfigError(f"k is {k} but rows are compared within a group of at least 2.")


OBJECTIVES: Mapping[str, Callable[[FiniteMDP, TabularPolicy, Given], Tensor]] = {
    "return": undiscounted,
    "discounted return from the start": discounted,
    "discounted return without γ^t": visited,
    "return − β·reverse KL": reverse_kl,
    "return − β·reverse KL of visited states": reverse_kl_of_visited,
    "return − β·forward KL": forward_kl,
    "return − β·forward KL of visited states": forward_kl_of_visited,
    "likelihood of the reference": likelihood,
    "pass@k": best_of_k,
    "log of the mean return": log_return,
    "log of the success probability": log_success,
    "log of the success probability, to order k": log_success_to_order_k,
    "arcsine of the root of success": arcsine,
    "success in z-scored groups of k": z_scored,
}
"""Every objective by its name; what it is stands in the first line of its docstring."""
