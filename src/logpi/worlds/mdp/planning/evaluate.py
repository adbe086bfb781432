"""The value of a given policy, solved for: v_π, q_π, advantages, and where the policy goes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.certificate import bracket, contraction, weighted_factor
from logpi.worlds.mdp.planning.chain import Chain, can_reach, chain_of, recurrent_classes
from logpi.worlds.mdp.planning.linear import solve_identity_minus
from logpi.worlds.mdp.planning.policies import as_probabilities

__all__ = [
    "action_values",
    "advantages",
    "evaluate",
    "is_proper",
    "stationary",
    "visitation",
]


def evaluate(
    m: FiniteMDP, policy: ArrayLike, *, tolerance: float | None = None, horizon: int | None = None
) -> Float[ndarray, " S"]:
    """v_π, by solving Bellman's linear equations; 0 in terminal states.

    v_π = r_π + γ P_π v_π   ⇔   v_π = (I − γ P_π)⁻¹ r_π           Zhao, eq. 2.10

    The solve is exact up to rounding. With `tolerance` the error is also certified. With a
    `horizon` the task is over after so many decisions: the value is that of as many sweeps of
    iterative policy evaluation from zeros, whatever the discount.

    Raises `ModelError` where discount is 1 and the policy does not surely reach a terminal state,
    and `ConfigError` where the tolerance is below what rounding lets one certify.

    >>> from logpi.worlds.mdp.zoo import make
    >>> evaluate(make("two_state", discount=0.9), [0, 0])
    array([-10.,  -9.])
    >>> evaluate(make("two_state", discount=0.9), [0, 0], horizon=2)  # Zhao, Table 4.4
    array([-1.9, -0.9])
    """
    chain = chain_of(m, as_probabilities(m, policy))
    if horizon is not None:
        return _value_of_decisions(chain, m.discount, horizon)
    if m.discount == 1:
        require_proper(chain)
    v = chain_value(chain, m.discount)
    if tolerance is not None and (bound := chain_bound(chain, m.discount, v)) > tolerance:
        raise ConfigError(
            f"tolerance {tolerance:g} is below what float64 can certify for this policy: "
            f"the smallest is {bound:.2g}."
        )
    return v


def _value_of_decisions(chain: Chain, discount: float, horizon: int) -> Float[ndarray, " S"]:
    if not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ConfigError(f"horizon is {horizon!r} but counts decisions: 1 or more.")
    v = np.zeros(len(chain.reward))
    for _ in range(horizon):
        v = np.where(chain.terminal, 0.0, chain.reward + discount * (chain.transitions @ v))
    return v


def chain_value(
    chain: Chain, discount: float, start: Float[ndarray, " S"] | None = None
) -> Float[ndarray, " S"]:
    """The value of a chain's states, from `start` on where the solver iterates."""
    v = solve_identity_minus(discount * chain.transitions, chain.reward, x=start)
    return np.where(chain.terminal, 0.0, v)


def chain_bound(chain: Chain, discount: float, v: Float[ndarray, " S"]) -> float:
    """A certified bound on |v − v_π|: from the residual's span, or from the time to the end."""
    k = contraction(
        chain.transitions, chain.reward, discount, rows=~chain.terminal, extra=chain.mixed
    )
    backed_up = chain.reward + discount * (chain.transitions @ v)
    low, high = bracket(k, v, backed_up)
    change = backed_up - v
    bound = max(-low - float(change.min()), high + float(change.max()), 0.0)
    if discount < 1 and not chain.terminal.any():
        return bound
    weight = solve_identity_minus(discount * chain.transitions, np.ones(len(v)))
    factor = weighted_factor(chain.transitions, weight, discount, extra=chain.mixed)
    return min(bound, (float(np.abs(change).max()) + k.rounding(v)) * factor)


def action_values(m: FiniteMDP, policy: ArrayLike) -> Float[ndarray, "S A"]:
    """q_π(s, a) = r(s, a) + γ Σ_s' p(s' | s, a) v_π(s'); −inf where the action is not allowed.

    Raises as `evaluate` does.

    >>> from logpi.worlds.mdp.zoo import make
    >>> action_values(make("two_state", discount=0.9), [0, 0])
    array([[-10. ,  -9. ,  -7.1],
           [ -9. ,  -7.1,  -9.1]])
    """
    return backup(m, evaluate(m, policy))


def advantages(m: FiniteMDP, policy: ArrayLike) -> Float[ndarray, "S A"]:
    """q_π(s, a) − v_π(s): how much better the action is than the policy; −inf where not allowed.

    Raises as `evaluate` does.

    >>> from logpi.worlds.mdp.zoo import make
    >>> advantages(make("two_state", discount=0.9), [0, 0])
    array([[ 0. ,  1. ,  2.9],
           [ 0. ,  1.9, -0.1]])
    """
    v = evaluate(m, policy)
    return backup(m, v) - v[:, None]


def visitation(m: FiniteMDP, policy: ArrayLike, *, discounted: bool = True) -> Float[ndarray, " S"]:
    """How often the policy is in each state, from the start distribution; not normalised.

    d(s) = Σ_t γ^t Pr(s_t = s)   ⇔   d = (I − γ P_πᵀ)⁻¹ start           Zhao, eq. 9.12

    `discounted=False` sets γ = 1: expected visits in an episode. A terminal state is visited once,
    on arrival. Raises `ModelError` where γ is 1 and the policy is not proper.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.9).having(start=np.array([1.0, 0.0]))
    >>> visitation(m, [2, 1])
    array([1., 9.])
    """
    chain = chain_of(m, as_probabilities(m, policy))
    discount = m.discount if discounted else 1.0
    if discount == 1:
        require_proper(chain)
    flow = chain.transitions.T.tocsr() * discount
    return np.maximum(solve_identity_minus(flow, m.start.astype(np.float64)), 0)


def stationary(m: FiniteMDP, policy: ArrayLike) -> Float[ndarray, " S"]:
    """The fraction of time spent in each state in the long run, from the start distribution.

    d = lim (1/T) Σ_{t<T} Pr(s_t = s),   d P_π = d           Zhao, sec. 8.2.1 and box 8.1

    Periodic chains and several recurrent classes are no trouble. A terminal state keeps the process
    for ever: for an episodic model, `visitation` is what you want.

    >>> from logpi.worlds.mdp.zoo import make
    >>> stationary(make("two_state"), [2, 0])
    array([0.5, 0.5])
    """
    chain = chain_of(m, as_probabilities(m, policy))
    ends = recurrent_classes(chain.transitions, chain.terminal)
    ends += [np.array([s]) for s in np.flatnonzero(chain.terminal)]
    inside = np.zeros(m.states, dtype=np.int64)  # the number of the class, 0 for transient
    for number, states in enumerate(ends, 1):
        inside[states] = number
    transient = np.flatnonzero(inside == 0)
    arrive = m.start.astype(np.float64)
    if len(transient):
        within = chain.transitions[transient][:, transient]
        visits = solve_identity_minus(within.T.tocsr(), arrive[transient])
        arrive = arrive + chain.transitions[transient].T @ visits
    long_run = np.zeros(m.states)
    for states in ends:
        long_run[states] = arrive[states].sum() * class_distribution(chain, states)
    return long_run / long_run.sum()


def class_distribution(chain: Chain, states: ndarray) -> Float[ndarray, " k"]:
    """The stationary distribution of one recurrent class.

    The expected visits between two visits of one state, normalised: a system without the singular
    direction of d (P − I) = 0. That state is a frequent one, or it might not be seen again in 1e16
    steps.
    """
    if len(states) == 1:
        return np.ones(1)
    within = chain.transitions[states][:, states]
    back = within.T.tocsr()
    guess = np.full(len(states), 1 / len(states))
    for _ in range(100):
        guess = (guess + back @ guess) / 2  # lazy: no period
    hub = int(guess.argmax())
    others = np.delete(np.arange(len(states)), hub)
    leaving = within[[hub]].toarray()[0][others]
    visits = np.ones(len(states))
    visits[others] = solve_identity_minus(within[others][:, others].T.tocsr(), leaving)
    visits = np.maximum(visits, 0)
    return visits / visits.sum()


def is_proper(m: FiniteMDP, policy: ArrayLike) -> bool:
    """Whether the policy surely ends in a terminal state, from wherever it starts.

    >>> from logpi.worlds.mdp.zoo import make
    >>> is_proper(make("two_state"), [2, 1])
    False
    """
    chain = chain_of(m, as_probabilities(m, policy))
    return bool(can_reach(chain.transitions, chain.terminal).all())


def require_proper(chain: Chain) -> None:
    """Nothing; raises `ModelError`, naming a state that the chain may never leave for an end."""
    reaches = can_reach(chain.transitions, chain.terminal)
    if not reaches.all():
        raise ModelError(
            f"with discount 1 the value is finite only where episodes end, and from state "
            f"{int(np.argmin(reaches))} this policy never reaches a terminal state. "
            "Use a discount below 1, another policy, or make a state terminal."
        )
