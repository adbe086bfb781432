"""Value iteration, Jacobi and Gauss–Seidel, stopped by proof."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numba import njit
from numpy import ndarray

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.circles import without_circles
from logpi.worlds.mdp.planning.operators import Operator, first_value, operator_of
from logpi.worlds.mdp.planning.search import Search
from logpi.worlds.mdp.solution import Solution

__all__ = ["gauss_seidel", "value_iteration"]

BETWEEN = 4
"""Gauss–Seidel sweeps between two checks: a check is a Jacobi sweep, which helps less."""


def value_iteration(
    m: FiniteMDP,
    *,
    tolerance: float = 1e-6,
    history: bool = False,
    start_value: Float[ndarray, " S"] | None = None,
) -> Solution:
    """The optimal value, by v ← max_a [r + γ P v] from `start_value` (zeros) on.

    v_{k+1} = T v_k           Bellman 1957; Zhao, eq. 4.1; Puterman 1994, sec. 6.3

    It stops where MacQueen's and Porteus's bounds prove the tolerance, and returns their middle.
    The iterates of `history` are (v_k, q_k = backup of v_k, π_{k+1} = greedy for q_k).

    Raises `ConfigError` where rounding hides the tolerance, and with discount 1 `ModelError` where
    the value is not finite or not unique.

    >>> from logpi.worlds.mdp.zoo import make
    >>> value_iteration(make("two_state", discount=0.9)).value
    array([10., 10.])
    """
    view = without_circles(m)
    op = operator_of(view.m)
    search = Search(op, "value iteration", tolerance, history)
    v = first_value(m, start_value)
    while True:
        q = op.q(v)
        search.sweeps += 1
        search.keep(v, q)
        if (found := search.judge(v, q)) is not None:
            return view.read(found)
        v = op.best(q) + search.shift


def gauss_seidel(
    m: FiniteMDP,
    *,
    tolerance: float = 1e-6,
    history: bool = False,
    start_value: Float[ndarray, " S"] | None = None,
) -> Solution:
    """The optimal value, by sweeps that use every new value at once, in the order of the states.

    v(s) ← max_a [r(s, a) + γ Σ_s' p(s' | s, a) v(s')]           Puterman 1994, sec. 6.3.3

    Every few sweeps an ordinary backup tells how far it is: spans bound the error of that backup,
    not of a Gauss–Seidel sweep. The iterates of `history` are those of the checks.

    Raises as `value_iteration` does.

    >>> from logpi.worlds.mdp.zoo import make
    >>> gauss_seidel(make("two_state", discount=0.9)).value
    array([10., 10.])
    """
    view = without_circles(m)
    op = operator_of(view.m)
    search = Search(op, "Gauss–Seidel value iteration", tolerance, history)
    v = first_value(m, start_value)
    while True:
        q = op.q(v)
        search.sweeps += 1
        search.keep(v, q)
        if (found := search.judge(v, q)) is not None:
            return view.read(found)
        v = op.best(q)
        _in_place(op, v, BETWEEN)
        search.sweeps += BETWEEN


def _in_place(op: Operator, v: Float[ndarray, " S"], sweeps: int) -> None:
    t = op.transitions
    _sweep(t.indptr, t.indices, t.data, op.reward, (op.m.discount, sweeps, v))


@njit(cache=True)
def _sweep(indptr, indices, data, reward, state):  # pyright: ignore[reportMissingParameterType] # numba infers
    discount, sweeps, v = state
    for _ in range(sweeps):
        for s in range(reward.shape[0]):
            best = -np.inf
            for a in range(reward.shape[1]):
                if reward[s, a] > -np.inf:
                    row = s * reward.shape[1] + a
                    total = 0.0
                    for z in range(indptr[row], indptr[row + 1]):
                        total += data[z] * v[indices[z]]
                    best = max(best, reward[s, a] + discount * total)
            if best > -np.inf:
                v[s] = best
