"""Models from arrays of outcomes, and the checks that every entry of the zoo makes."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.csr import Facts, allowed_mask, from_csr
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["check_at_least", "check_probability", "from_outcomes", "normal_points", "uniform_over"]


def from_outcomes(
    successor: Int[ndarray, "S A K"],
    probability: ArrayLike,
    reward: ArrayLike,
    discount: float,
    *,
    dtype: Any = np.float64,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """Return the model in which action a leads from s to one of K listed successors.

    `probability` and `reward` broadcast to [S, A, K]; a reward [S, A] says that it does not depend
    on the successor. Outcomes of probability 0 are dropped, and those that meet in one successor
    become one: their probabilities add, and r(s, a, s') is their expected reward. The other
    arguments are those of `from_csr`.

    >>> m = from_outcomes(np.array([[[0, 1]], [[1, 1]]]), [0.5, 0.5], [[[0, 1]], [[2, 4]]], 0.9)
    >>> m.reward.ravel(), m.outcome_reward
    (array([0.5, 3. ]), array([0., 1., 3.]))
    """
    states, actions, _ = successor.shape
    possible = allowed_mask((states, actions), facts)
    facts["allowed"], facts["terminal"] = possible, None
    p = np.broadcast_to(np.asarray(probability, dtype), successor.shape)
    r = np.asarray(reward, dtype)
    kept = possible[:, :, None] & (p > 0)
    pointers = np.concatenate([[0], np.cumsum(kept.sum(2).ravel())])
    transitions = _csr(p[kept], successor[kept], pointers, states)
    if r.ndim < 3:
        r = np.where(possible, np.broadcast_to(r, possible.shape), r.dtype.type(0))
        return from_csr(transitions, r, discount, **facts)
    r = np.broadcast_to(r, successor.shape)
    most = r.max(2, where=kept, initial=-np.inf)
    if (r.min(2, where=kept, initial=np.inf) >= most).all():  # one reward for each state and action
        return from_csr(transitions, np.where(possible, most, 0), discount, **facts)
    weighted = _csr((p * r)[kept], successor[kept], pointers, states)
    mean = np.divide(weighted.data, transitions.data)
    return from_csr(transitions, None, discount, outcome_reward=mean, **facts)


def _csr(data: ndarray, columns: ndarray, pointers: ndarray, states: int) -> csr_array:
    """Canonical CSR: columns sorted, those that are equal added, int32 wherever it suffices."""
    index = np.int32 if pointers[-1] < 2**31 else np.int64
    shape = (len(pointers) - 1, states)
    matrix = csr_array((data, columns.astype(index), pointers.astype(index)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def uniform_over(states: int, chosen: ArrayLike) -> Float[ndarray, " S"]:
    """Return the uniform distribution over the chosen states, given as numbers or as a mask.

    >>> uniform_over(4, [1, 3])
    array([0. , 0.5, 0. , 0.5])
    """
    out = np.zeros(states)
    out[np.asarray(chosen)] = 1
    return out / out.sum()


def normal_points(deviation: float, points: int) -> tuple[ndarray, ndarray]:
    """Return values and probabilities of a discrete noise that stands for N(0, deviation²).

    Gauss-Hermite quadrature: its moments up to 2·points − 1 are exactly the normal ones. A model
    keeps one reward for each successor, so each value needs a terminal state of its own.

    >>> normal_points(1.0, 2)
    (array([-1., 1.]), array([0.5, 0.5]))
    """
    check_at_least(points=(points, 1), deviation=(deviation, 0.0))
    if deviation == 0 or points == 1:
        return np.zeros(1), np.ones(1)
    at, weight = np.polynomial.hermite_e.hermegauss(points)
    return deviation * at, weight / weight.sum()


def check_probability(**given: float) -> None:
    """Return nothing; raises `ConfigError` where a named number is not a probability."""
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"`{name}` is {value} but must be a probability, in [0, 1].")


def check_at_least(**given: tuple[float, float]) -> None:
    """Return nothing; raises `ConfigError` where a named number is below its least value.

    Where the least value is an integer, the number must be one.
    """
    for name, (value, least) in given.items():
        whole = isinstance(least, int)
        known = isinstance(value, int | np.integer if whole else int | float | np.number)
        if not known or not value >= least:
            what = "a whole number of at least" if whole else "at least"
            raise ConfigError(f"`{name}` is {value!r} but must be {what} {least}.")
