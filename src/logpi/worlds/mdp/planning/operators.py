"""A model as the solvers read it: in float64, with what its certificates need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certificate import EPSILON, Contraction, contraction

__all__ = ["Operator", "first_value", "largest", "operator_of"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Bellman's optimality operator: a float32 model's numbers are exact in float64."""

    m: FiniteMDP
    transitions: csr_array  # [S·A, S], float64
    reward: Float[ndarray, "S A"]  # float64; −inf where an action is not allowed
    terminal: Bool[ndarray, " S"]
    contraction: Contraction

    def q(self, v: Float[ndarray, " S"]) -> Float[ndarray, "S A"]:
        """One backup of v, which must be 0 in terminal states."""
        return self.reward + self.m.discount * (self.transitions @ v).reshape(self.reward.shape)

    def best(self, q: Float[ndarray, "S A"]) -> Float[ndarray, " S"]:
        """The largest action value of every state; 0 in terminal states."""
        return np.where(self.terminal, 0.0, largest(q))

    def rounding(self, v: Float[ndarray, " S"]) -> Float[ndarray, "S A"]:
        """How far each entry of q(v) can be from the exact backup."""
        future = self.m.discount * (self.transitions @ np.abs(v)).reshape(self.reward.shape)
        paid = np.where(self.m.allowed, np.abs(self.reward), 0.0)
        return 0.52 * EPSILON * ((self.contraction.terms + 2) * future + paid)

    @property
    def live(self) -> Bool[ndarray, " S"]:
        """True where a decision is taken."""
        return ~self.terminal


def largest(q: Float[ndarray, "S A"]) -> Float[ndarray, " S"]:
    """The largest entry of every row; by columns where these are few, which is much faster.

    >>> largest(np.array([[1.0, 3.0], [2.0, 0.0]]))
    array([3., 2.])
    """
    return reduce(np.maximum, q.T) if q.shape[1] <= 16 else q.max(1)


def operator_of(m: FiniteMDP) -> Operator:
    """The model's operator; shares its transitions where they are float64.

    >>> from logpi.worlds.mdp.zoo import make
    >>> op = operator_of(make("two_state", discount=0.9))
    >>> op.best(op.q(np.array([0.0, 0.0])))
    array([1., 1.])
    """
    t = m.transitions
    exact = t if t.dtype == np.float64 else csr_array(t.astype(np.float64))
    reward = np.where(m.allowed, m.reward, -np.inf).astype(np.float64)
    rows = m.allowed.ravel()
    return Operator(
        m, exact, reward, m.terminal, contraction(exact, m.reward.ravel(), m.discount, rows=rows)
    )


def first_value(m: FiniteMDP, start_value: Float[ndarray, " S"] | None) -> Float[ndarray, " S"]:
    """Where the iteration begins: a float64 copy of `start_value`, or zeros.

    Raises `ShapeError` unless it is [S], `ConfigError` where it holds a NaN or an infinity.

    >>> from logpi.worlds.mdp.zoo import make
    >>> first_value(make("two_state"), None)
    array([0., 0.])
    """
    if start_value is None:
        return np.zeros(m.states)
    v = np.asarray(start_value, dtype=np.float64)
    if v.shape != (m.states,):
        raise ShapeError(f"`start_value` is {list(v.shape)} but must be [{m.states}]: [S].")
    if not np.isfinite(v).all():
        s = int(np.argmin(np.isfinite(v)))
        raise ConfigError(f"`start_value` is {v[s]} in state {s} but must be finite.")
    return np.where(m.terminal, 0.0, v)
