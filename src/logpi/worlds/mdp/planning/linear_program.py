"""Planning as a linear program: values in the primal, visitation in the dual."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import linprog
from scipy.sparse import csc_array, csr_array

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.circles import without_circles
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration
from logpi.worlds.mdp.planning.search import check_tolerance
from logpi.worlds.mdp.solution import Solution

__all__ = ["LIMIT", "linear_program", "occupancy"]

LIMIT = 200_000
"""The most stored transitions that HiGHS is given: its time grows faster than their number."""


def linear_program(m: FiniteMDP, *, tolerance: float = 1e-6, history: bool = False) -> Solution:
    """The optimal value, as the smallest v that no action can improve; by SciPy's HiGHS.

    min Σ_s v(s)   subject to   v(s) ≥ r(s, a) + γ Σ_s' p(s' | s, a) v(s')      Puterman 1994, 6.9

    The simplex method's accuracy is 1e-7 or so. Its policy, read off the dual, is then evaluated by
    solving its linear system, and improved where that shows the need, so that the bound is as sharp
    as policy iteration's; `facts["distance"]` tells how far the program's own values were off.

    Raises `ConfigError` where the model stores more than `LIMIT` transitions, and as
    `policy_iteration` does.

    >>> from logpi.worlds.mdp.zoo import make
    >>> linear_program(make("two_state", discount=0.9)).value
    array([10., 10.])
    """
    check_tolerance(tolerance)
    view = without_circles(m)
    weight = np.full(m.states, 1.0)
    value, mass = _primal(view.m, weight)
    policy = np.where(view.m.terminal, -1, np.where(view.m.allowed, mass, -1.0).argmax(1))
    found = policy_iteration(view.m, tolerance=tolerance, history=history, start_policy=policy)
    distance = float(np.abs(found.value - value).max())
    facts = {**found.facts, "distance": distance}
    return view.read(replace(found, method="linear program, HiGHS", facts=facts))


def occupancy(m: FiniteMDP) -> Float[ndarray, "S A"]:
    """How often an optimal policy is in each state and takes each action there, discounted.

    max Σ r(s, a) x(s, a)   subject to
    Σ_a x(s', a) − γ Σ_{s, a} p(s' | s, a) x(s, a) = start(s'),   x ≥ 0         Puterman 1994, 6.9

    The dual program, as accurate as HiGHS is. Σ_a x is the `visitation` of the policy x / Σ_a x.

    Raises `ConfigError` where the model stores more than `LIMIT` transitions.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.9).having(start=np.array([1.0, 0.0]))
    >>> occupancy(m)
    array([[0., 0., 1.],
           [0., 9., 0.]])
    """
    _, mass = _primal(m, m.start.astype(np.float64))
    return np.maximum(mass, 0)


def _primal(
    m: FiniteMDP, weight: Float[ndarray, " S"]
) -> tuple[Float[ndarray, " S"], Float[ndarray, "S A"]]:
    """The values, and the dual mass of each pair; `weight` is what the objective gives a state."""
    if m.transitions.nnz > LIMIT:
        raise ConfigError(
            f"{m.name} stores {m.transitions.nnz} transitions, more than the {LIMIT} that a linear "
            "program is given: use method='policy_iteration' or 'auto'."
        )
    live = np.flatnonzero(~m.terminal)
    pairs = np.flatnonzero(m.allowed.ravel())
    own = csr_array(
        (np.ones(len(pairs)), (np.arange(len(pairs)), pairs // m.actions)),
        shape=(len(pairs), m.states),
    )
    gap = csc_array(m.discount * m.transitions[pairs].astype(np.float64) - own)[:, live]
    reward = m.reward.ravel()[pairs].astype(np.float64)
    done = linprog(weight[live], A_ub=gap, b_ub=-reward, bounds=(None, None), method="highs")
    if not done.success:
        raise ModelError(f"{m.name}: HiGHS finds no solution of the linear program: {done.message}")
    value, mass = np.zeros(m.states), np.zeros(m.reward.size)
    value[live] = done.x
    mass[pairs] = -done.ineqlin.marginals
    return value, mass.reshape(m.reward.shape)
