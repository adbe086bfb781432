"""What a policy is worth from the start, and how strongly each action is pushed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact.sums import expected_sum, reward_table
from logpi.worlds.mdp.exact.tables import AnyPolicy, log_table
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.evaluate import action_values, evaluate

__all__ = ["beta", "objective"]


def objective(m: FiniteMDP, policy: AnyPolicy, *, horizon: int | None = None) -> float:
    """J = Σ_s start(s) V^π(s) = E[Σ_t γ^t r_t], the return discounted from the start.

    With a horizon T only the first T decisions count. Raises `ModelError` where the discount is 1,
    there is no horizon, and the policy may go on for ever.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.9).having(start=np.array([1.0, 0.0]))
    >>> objective(m, [2, 1]), objective(m, [2, 1], horizon=2)
    (10.0, 1.9)
    """
    table = log_table(m, policy).detach()
    if horizon is None:
        return float(m.start @ evaluate(m, table.exp().numpy()))
    return float(expected_sum(m, table, reward_table(m), discount=m.discount, horizon=horizon))


def beta(m: FiniteMDP, policy: AnyPolicy) -> Float[ndarray, "S A"]:
    """β(s, a) = q_π(s, a) / π(a|s); 0 where an action is not allowed.

    ∇logπ(a|s) · q = (q/π) ∇π(a|s)          Zhao, section 9.4

    A step along it raises the probability of actions of large value (exploitation), and of those
    that are rare (exploration), as long as q is positive. Raises `ConfigError` where an allowed
    action is never taken, and `ModelError` as `objective` does.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.0)
    >>> beta(m, np.full((2, 3), 1 / 3))
    array([[-3., 0., 3.],
           [ 0., 3., -3.]])
    """
    pi = log_table(m, policy).detach().exp().numpy()
    never = m.allowed & (pi == 0)
    if never.any():
        state, action = np.argwhere(never)[0]
        raise ConfigError(
            f"the policy never takes action {action} in state {state}, so q/π is infinite there."
        )
    q = np.where(m.allowed, action_values(m, pi), 0.0)
    return q / np.where(m.allowed, pi, 1.0)
