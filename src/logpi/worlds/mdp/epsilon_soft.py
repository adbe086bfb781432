"""ε-softness as a property of the world, so that every solver finds the best ε-soft policy."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.model import FiniteMDP, check_model

__all__ = ["epsilon_soft"]


def epsilon_soft(m: FiniteMDP, epsilon: float) -> FiniteMDP:
    """The model in which the action that is chosen is replaced by a uniform one with probability ε.

    p_ε(s'|s,a) = (1 − ε) p(s'|s,a) + ε / |A(s)| Σ_b p(s'|s,b), and r_ε(s, a) likewise. Its optimal
    value is that of the best ε-soft policy of `m`, v = (1 − ε) max_a q + ε mean_a q, and its
    optimal actions are those that this policy prefers (Sutton & Barto 5.4; Zhao 5.4, Fig 5.7).
    r(s, a, s') and the policy that came with `m` are left out.

    Raises `ConfigError` unless 0 ≤ ε ≤ 1.

    >>> from logpi.worlds.mdp.planning import solve
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = epsilon_soft(make("cliff"), 0.1)
    >>> round(float(solve(m).value[36]), 2)  # the best that 10 % of random steps allow; else −13
    -20.71
    """
    check_model(m, "epsilon_soft")
    if not 0 <= epsilon <= 1:
        raise ConfigError(f"epsilon is {epsilon} but is a probability: it must lie in [0, 1].")
    state, action = np.nonzero(m.allowed)
    row, choices = state * m.actions + action, m.allowed.sum(1)
    # one row for each state, the mean of its actions; then back to each of its actions
    shape = (m.states, m.reward.size)
    mean = csr_array((1 / choices[state], (state, row)), shape=shape, dtype=m.dtype)
    back = csr_array((np.ones(len(row)), (row, state)), shape=shape[::-1], dtype=m.dtype)
    keep = csr_array((np.ones(len(row)), (row, row)), shape=(shape[1],) * 2, dtype=m.dtype)
    mixed = (1 - epsilon) * keep + epsilon * (back @ mean)
    return from_csr(
        csr_array(mixed @ m.transitions),
        (mixed @ m.reward.ravel()).reshape(m.reward.shape),
        m.discount,
        allowed=m.allowed,
        start=m.start,
        layout=m.layout,
        name=f"{m.name}, {epsilon:g}-soft",
    )
