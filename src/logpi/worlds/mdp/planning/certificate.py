"""Bounds on the error of a value that hold in spite of rounding: proofs, not estimates.

Every bound here is a statement, in exact arithmetic, about the model *as stored*, whose rows sum
to 1 only nearly. What the computer adds by rounding is bounded with the standard model of
floating-point sums (Higham 2002, sec. 3.1) and counted in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.worlds.mdp.planning.chain import row_lengths

__all__ = ["EPSILON", "Contraction", "bracket", "contraction", "weighted_factor"]

EPSILON = float(np.finfo(np.float64).eps)
"""Twice the unit roundoff u."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """What a Bellman operator v ↦ r + γPv does to a constant and to rounding.

    Adding c ≥ 0 to every value adds between `low`·c and `high`·c to every backup: both are γ, but
    for the sums of the stored rows.
    """

    low: float
    high: float
    terms: int  # the most roundings in a row's sum
    reward: float  # the largest |r|

    def rounding(self, v: Float[ndarray, " S"]) -> float:
        """How far a float64 backup r + γ(Pv) can be from the exact one.

        n products and n − 1 sums err by n u Σ p|v|, the discount and the reward by one u each.
        """
        future = self.high * float(np.abs(v).max(initial=0))
        return 0.51 * EPSILON * ((self.terms + 2) * future + self.reward)


def contraction(
    transitions: csr_array,
    reward: Float[ndarray, " n"],
    discount: float,
    *,
    rows: Bool[ndarray, " n"],
    extra: int = 0,
) -> Contraction:
    """The `Contraction` of those of the rows [n, S], with rewards r [n], that are in use.

    `extra` counts the roundings that the stored numbers already hold: the terms of a mixture.

    >>> half = csr_array(np.full((2, 2), 0.5))
    >>> contraction(half, np.array([0.0, 3.0]), 0.9, rows=np.array([True, True])).reward
    3.0
    """
    terms = int(row_lengths(transitions).max(initial=0)) + extra
    total = np.asarray(transitions.sum(1, dtype=np.float64))[rows]
    slack = EPSILON * (terms + 2)
    # A terminal state is a row that sums to 1, so that 1 belongs to the range where there is one;
    # a range that is too wide costs nothing where there is none.
    low, high = float(total.min(initial=1.0)), float(total.max(initial=1.0))
    largest = float(np.abs(reward[rows]).max(initial=0))
    return Contraction(discount * low * (1 - slack), discount * high * (1 + slack), terms, largest)


def bracket(
    k: Contraction, v: Float[ndarray, " S"], backed_up: Float[ndarray, " S"], *, slack: float = 0.0
) -> tuple[float, float]:
    """(low, high) such that Tv + low ≤ v* ≤ Tv + high in every state, where Tv is `backed_up`.

    lo ≤ Tv − v ≤ hi   ⇒   Tv + γ lo / (1 − γ) ≤ v* ≤ Tv + γ hi / (1 − γ)

    MacQueen 1966 and Porteus 1971; Puterman 1994, eq. 6.6.10. γ is `k.low` or `k.high`, whichever
    is the worse for the sign. A terminal state counts with its change of 0: it is a state that
    returns to itself, and its v must be 0. Infinite where the rows' sums undo the discount.

    Rounding in Tv is counted, and `slack` on top of it.

    >>> k = Contraction(0.9, 0.9, 1, 1.0)
    >>> low, high = bracket(k, np.zeros(2), np.ones(2))
    >>> round(low, 9), round(high, 9)
    (9.0, 9.0)
    """
    change = backed_up - v
    slack = slack + k.rounding(v)
    lo, hi = float(change.min()), float(change.max())
    lo, hi = lo - EPSILON * abs(lo) - slack, hi + EPSILON * abs(hi) + slack
    high = _most(hi, k.high if hi > 0 else k.low) + slack
    low = -_most(-lo, k.high if lo < 0 else k.low) - slack
    return low, high


def _most(change: float, factor: float) -> float:
    """At least (factor + factor² + ...) times the change."""
    if factor >= 1:
        return math.inf if change > 0 else 0.0
    # 1 − factor is exact for factor ≥ 1/2 (Sterbenz), so that two roundings remain.
    exact = change * factor / (1 - factor)
    return exact + 4 * EPSILON * abs(exact)


def weighted_factor(
    transitions: csr_array, weight: Float[ndarray, " S"], discount: float, *, extra: int = 0
) -> float:
    """max w / min(w − γPw): how much a change of the values can grow, by the weight w > 0.

    |Tv − v| ≤ e   ⇒   |v − v*| ≤ e · w / min(w − γPw)           Bertsekas & Tsitsiklis 1996, 2.2

    With w the expected time to the end it holds with discount 1 too. `transitions` are the rows
    [S, S] of the policy in question. Infinite where w proves nothing.

    >>> line = csr_array(np.array([[0.0, 1.0], [0.0, 0.0]]))
    >>> round(weighted_factor(line, np.array([2.0, 1.0]), 1.0), 9)
    2.0
    """
    if not np.isfinite(weight).all() or not (weight > 0).all():
        return math.inf
    largest = float(weight.max())
    terms = int(row_lengths(transitions).max(initial=0)) + extra
    slack = EPSILON * (terms + 4) * 2 * largest
    least = float((weight - discount * (transitions @ weight)).min()) - slack
    return largest / least * (1 + 4 * EPSILON) if least > 0 else math.inf
