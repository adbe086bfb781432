"""A fixed number of decisions: backward induction, and policies that depend on the time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.bellman import best_actions
from logpi.worlds.mdp.planning.operators import Operator, first_value, operator_of
from logpi.worlds.mdp.solution import Iterate, Solution

__all__ = ["FiniteHorizon", "finite_horizon"]

MOST = 1 << 28
"""The most numbers that values and policies may take together: 2 GiB of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteHorizon:
    """The optimal values and decisions of every time t, of which T decisions are taken in all.

    |value − v*| ≤ bound everywhere: nothing but rounding is left.
    """

    value: Float[ndarray, "T+1 S"]  # value[t] with T − t decisions to come; value[T] is given
    policy: Int[ndarray, "T S"]  # policy[t] is the decision at time t; −1 in terminal states
    q: Float[ndarray, "S A"]  # of the first decision
    bound: float
    seconds: float  # CPU seconds of this thread

    @property
    def horizon(self) -> int:
        """The number of decisions, T."""
        return len(self.policy)

    def solution(self, *, history: bool = False) -> Solution:
        """The first decision as a `Solution`; `history` holds (value[t], policy[t]), t = 0 ... T−1.

        >>> from logpi.worlds.mdp.zoo import make
        >>> finite_horizon(make("two_state", discount=0.9), horizon=2).solution().value
        array([1.9, 1.9])
        """
        steps = zip(self.value, self.policy, strict=False) if history else ()
        return Solution(
            value=self.value[0],
            q=self.q,
            policy=self.policy[0],
            bound=self.bound,
            method=f"backward induction, horizon {self.horizon}",
            sweeps=self.horizon,
            seconds=self.seconds,
            history=tuple(Iterate(value=v, policy=policy) for v, policy in steps),
            facts={"horizon": float(self.horizon)},
        )


def finite_horizon(
    m: FiniteMDP,
    *,
    horizon: int,
    discount: float | None = None,
    final_value: Float[ndarray, " S"] | None = None,
) -> FiniteHorizon:
    """The optimal values of `horizon` decisions, from the last to the first.

    v_t(s) = max_a [r(s, a) + γ Σ_s' p(s' | s, a) v_{t+1}(s')],   v_T = final_value (zeros)

    Puterman 1994, sec. 4.5. `discount` takes the place of the model's, if given: with a horizon, 1
    is as good as any. The bound is what rounding can have added up to.

    Raises `ConfigError` where the horizon is not at least 1, or is so long that its values do not
    fit, or where the discount is outside [0, 1]; `ShapeError` unless `final_value` is [S].

    >>> from logpi.worlds.mdp.zoo import make
    >>> finite_horizon(make("two_state"), horizon=3, discount=1.0).value
    array([[3., 3.],
           [2., 2.],
           [1., 1.],
           [0., 0.]])
    """
    began = time.thread_time()
    _check(m, horizon, discount)
    op = operator_of(m if discount is None else m.having(discount=discount))
    value = np.zeros((horizon + 1, m.states), dtype=m.dtype)
    policy = np.empty((horizon, m.states), dtype=np.int64)
    value[horizon] = first_value(m, final_value)
    q, bound = _backward(op, first_value(m, final_value), value, policy)
    # Only what is handed out is rounded to the model's dtype, so that this adds up no further.
    cast = 0.0 if m.dtype == np.float64 else float(np.finfo(m.dtype).eps) * np.abs(value).max()
    return FiniteHorizon(
        value=value,
        policy=policy,
        q=q.astype(m.dtype),
        bound=bound + float(cast),
        seconds=time.thread_time() - began,
    )


def _backward(
    op: Operator, v: Float[ndarray, " S"], value: ndarray, policy: ndarray
) -> tuple[Float[ndarray, "S A"], float]:
    """The first decision's q, and what rounding can have added; fills values and policies."""
    q, bound = op.reward, 0.0
    for t in reversed(range(len(policy))):
        q = op.q(v)
        bound = op.contraction.high * bound + op.contraction.rounding(v)
        v = op.best(q)
        value[t] = v
        policy[t] = best_actions(q)
    return q, bound


def _check(m: FiniteMDP, horizon: int, discount: float | None) -> None:
    if not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ConfigError(f"horizon is {horizon!r} but counts decisions: 1 or more.")
    if discount is not None and not 0 <= discount <= 1:
        raise ConfigError(f"discount is {discount} but must lie in [0, 1].")
    if horizon * m.states > MOST:
        raise ConfigError(
            f"{horizon} decisions in {m.states} states make {horizon * m.states:.2g} values, more "
            f"than the {MOST:.2g} that are kept. Shorten the horizon, or solve with a discount."
        )
