"""`Run`: the arrays and the clock of one fast solve, and the proof that ends it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certificate import EPSILON, Contraction, bracket
from logpi.worlds.mdp.planning.kernels import Rows, backup_into, best_rewards, rows_of
from logpi.worlds.mdp.planning.search import check_tolerance, refuse_tolerance
from logpi.worlds.mdp.solution import Solution

__all__ = ["Run", "run_of"]


@dataclass(slots=True)
class Run:
    """One solve: v is where it is, `out` is room for the next, `sweeps` is work done so far."""

    m: FiniteMDP
    rows: Rows
    tolerance: float
    relative: bool  # whether the tolerance is to be multiplied by max(1, |v|)
    v: Float[ndarray, " S"]
    out: Float[ndarray, " S"]
    policy: Int[ndarray, " S"]
    pinned: bool  # whether a terminal state's value is 0, so that not all can be shifted together
    sweeps: float = 0.0
    refused: int = 0  # proofs that came out too weak
    began: float = field(default_factory=time.thread_time)

    def aim(self, size: float) -> float:
        """The error to reach, where |v*| is about `size`; rounding to float32 is allowed for."""
        aim = self.tolerance * max(1.0, size) if self.relative else self.tolerance
        if self.m.dtype == np.float64:
            return aim
        cast = float(np.finfo(self.m.dtype).eps) * size
        return max(aim - cast, cast / 4)

    def error(self, low: float, high: float) -> float:
        """The error bound, but for rounding, where a sweep's changes are in [low, high].

        (γ / (1 − γ)) · (high − low) / 2          Porteus 1971; Puterman 1994, eq. 6.6.10

        With terminal states the larger of |low| and |high| takes the place of (high − low) / 2.
        """
        radius = max(abs(low), abs(high)) if self.pinned else (high - low) / 2
        return radius * self.rows.discount / (1 - self.rows.discount)

    def size(self, low: float, high: float) -> float:
        """About how large |v*| is, after a sweep with changes in [low, high]."""
        shift = 0.0 if self.pinned else self.error(low + high, low + high)
        return max(abs(float(self.v.max()) + shift), abs(float(self.v.min()) + shift))

    def near(self, low: float, high: float) -> bool:
        """Whether a proof is worth trying after a sweep of all actions with these changes.

        Rounding is not counted yet: hence a part of the aim, and less where a proof was too weak.
        """
        part = 0.4 if self.refused else 0.9
        return self.error(low, high) <= part * self.aim(self.size(low, high))

    def swap(self) -> None:
        """The sweep's result becomes v."""
        self.v, self.out = self.out, self.v

    def conclude(self, method: str) -> Solution | None:
        """The solution, where one more backup of v proves it good enough; else None.

        The backup reads nothing but the model and v: whatever led to v, the bound holds.
        Raises `ConfigError` where rounding alone makes a proof impossible.
        """
        q = np.empty(self.rows.reward.shape, dtype=self.m.dtype)
        low, high, terms, largest = backup_into(self.rows, self.v, q, self.out, self.policy)
        self.sweeps += 1
        slack = EPSILON * (terms + 2)
        gamma = self.rows.discount
        k = Contraction(gamma * low * (1 - slack), gamma * high * (1 + slack), int(terms), largest)
        below, above = bracket(k, self.v, self.out)
        shift = 0.0 if self.pinned else (below + above) / 2
        size = max(abs(float(self.out.max())), abs(float(self.out.min()))) + abs(shift)
        bound = max(shift - below, above - shift) + EPSILON * size
        if self.m.dtype != np.float64:  # q is rounded once as it is stored, once as it is shifted
            bound += float(np.finfo(self.m.dtype).eps) * size
        aim = self.tolerance * (max(1.0, size - bound) if self.relative else 1.0)
        if bound <= aim:
            return self._finished(q, shift, bound, method)
        self._refuse(aim, bound, 2 * k.rounding(self.v) / (1 - gamma))
        self.swap()
        return None

    def _refuse(self, aim: float, bound: float, rounding: float) -> None:
        self.refused += 1
        if rounding > aim / 2 or self.refused > 20 or not math.isfinite(bound):
            smallest = max(bound, 2 * rounding)
            if self.relative:
                raise ConfigError(
                    f"a relative tolerance of {self.tolerance:g} is below what {self.m.dtype} can "
                    f"certify for {self.m.name}: an error of {smallest:.2g} can be certified."
                )
            raise refuse_tolerance(self.m, self.tolerance, smallest)

    def _finished(
        self, q: Float[ndarray, "S A"], shift: float, bound: float, method: str
    ) -> Solution:
        q += self.m.dtype.type(shift)
        value = self.out
        value += shift
        return Solution(
            value=np.where(self.policy < 0, 0.0, value).astype(self.m.dtype)
            if self.m.dtype == np.float64
            else np.where(self.policy < 0, self.m.dtype.type(0), q.max(1)),
            q=q,
            policy=self.policy.astype(np.int64),
            bound=bound,
            method=method,
            sweeps=math.ceil(self.sweeps),
            seconds=time.thread_time() - self.began,
        )


def run_of(m: FiniteMDP, *, tolerance: float, relative: bool = False) -> Run:
    """A run that has not begun: v(s) = max_a r(s, a), the first sweep from v = 0.

    Raises `ConfigError` unless the tolerance is positive and finite and the discount below 1.

    >>> from logpi.worlds.mdp.zoo import make
    >>> run_of(make("two_state", discount=0.9), tolerance=1e-6).v
    array([1., 1.])
    """
    check_tolerance(tolerance)
    if m.discount >= 1:
        raise ConfigError(
            f"{m.name} has discount 1, for which these sweeps can prove nothing: "
            "use policy_iteration or linear_program."
        )
    rows = rows_of(m)
    v = np.empty(m.states)
    ends = best_rewards(rows.reward, v)
    policy = np.full(m.states, -1, dtype=np.int32)
    return Run(m, rows, tolerance, relative, v, np.empty(m.states), policy, bool(ends))
