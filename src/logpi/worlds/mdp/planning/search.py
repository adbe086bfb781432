"""One run of a solver: its clock, its iterates, and the proof with which it may stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.bellman import best_actions
from logpi.worlds.mdp.planning.certificate import EPSILON, bracket
from logpi.worlds.mdp.planning.endings import earns_for_ever, hitting_policy, sandwich
from logpi.worlds.mdp.planning.operators import Operator
from logpi.worlds.mdp.solution import Iterate, Solution

__all__ = ["Proof", "Search", "check_tolerance", "refuse_bound", "refuse_tolerance"]

PATIENCE = 1000
"""So many judgements without any progress mean that rounding is all that is left."""


class Proof(NamedTuple):
    """|q + shift − q*| ≤ error, likewise for values, and v* − v_π ≤ loss for the greedy π."""

    error: float
    shift: float
    loss: float


@dataclass(slots=True)
class Search:
    """What every solver shares: `keep` the iterates, `judge` whether v is close enough.

    Raises `ConfigError` unless the tolerance is positive and finite, and where the rows' sums undo
    the discount; `ModelError` where the discount is 1 and some state can never reach an end.
    """

    op: Operator
    method: str
    tolerance: float
    history: bool = False
    sweeps: int = 0
    kept: list[Iterate] = field(default_factory=list[Iterate])
    began: float = field(default_factory=time.thread_time)
    tried: int = 0  # sweeps at the last attempt to enclose v* that failed
    ready: float = math.inf  # the change from which on another attempt can succeed
    shift: float = 0.0  # what to add to the next v, where the bound suffers from a common change
    smallest: float = math.inf  # measure of a change
    idle: int = 0  # judgements since that

    def __post_init__(self) -> None:
        """Check what can be checked before the first sweep."""
        check_tolerance(self.tolerance)
        self.ready = self.tolerance / 2
        if self.op.m.discount == 1:
            hitting_policy(self.op.m)
        elif self.op.contraction.high >= 1 and not self.op.terminal.any():
            raise refuse_bound(self.op, self.op.reward)

    def keep(
        self,
        v: Float[ndarray, " S"],
        q: Float[ndarray, "S A"],
        policy: Int[ndarray, " S"] | None = None,
    ) -> None:
        """Remember an iterate, where history was asked for; the policy is the greedy one for q."""
        if self.history:
            policy = best_actions(q) if policy is None else policy
            self.kept.append(Iterate(value=v.copy(), q=q.copy(), policy=policy.copy()))

    def last(
        self, v: Float[ndarray, " S"], q: Float[ndarray, "S A"], policy: Int[ndarray, " S"]
    ) -> Solution:
        """The solution where going on is no use; raises as `judge` does."""
        found = self.judge(v, q, policy=policy, final=True)
        assert found is not None
        return found

    def judge(
        self,
        v: Float[ndarray, " S"],
        q: Float[ndarray, "S A"],
        *,
        policy: Int[ndarray, " S"] | None = None,
        final: bool = False,
    ) -> Solution | None:
        """The solution, where q, the backup of v, proves an error of at most the tolerance.

        None to go on; `final` says that going on is no use. Then, and where rounding hides what is
        left of the error, raises `ConfigError` with the smallest tolerance that can be certified.
        `policy` is one that is greedy up to rounding, the first best actions where it is not given.
        """
        op, backed_up = self.op, self.op.best(q)
        policy = best_actions(q) if policy is None else policy
        proof = self._by_span(v, backed_up)
        aim = self._aim(q, proof)
        if proof.error > aim:
            largest = float(np.abs(backed_up - v).max())
            stuck = final or self._stuck(v, backed_up, proof)
            if self._due(stuck, largest):
                proof = min(proof, self._by_time_to_end(v, q, policy, largest))
            if proof.error > aim and not stuck:
                return None
            if not math.isfinite(proof.error):
                raise refuse_bound(op, q)
        found = self._finished(q, policy, proof._replace(loss=self._loss(v, q, policy, proof)))
        if found.bound > self.tolerance:
            least = max(found.bound, 1.3 * self._cast(q, proof))
            raise refuse_tolerance(op.m, self.tolerance, least)
        return found

    def _aim(self, q: Float[ndarray, "S A"], proof: Proof) -> float:
        """The error to reach before the result is rounded to the model's dtype."""
        cast = self._cast(q, proof)
        return max(self.tolerance - cast, cast / 4)

    def _cast(self, q: Float[ndarray, "S A"], proof: Proof) -> float:
        """The most that rounding to the model's dtype can change."""
        if self.op.m.dtype == np.float64:
            return 0.0
        largest = float(np.abs(q[self.op.m.allowed]).max(initial=0)) + abs(proof.shift)
        return largest * float(np.finfo(self.op.m.dtype).eps) / 2

    def _by_span(self, v: Float[ndarray, " S"], backed_up: Float[ndarray, " S"]) -> Proof:
        low, high = bracket(self.op.contraction, v, backed_up)
        if not math.isfinite(high - low):
            return Proof(math.inf, 0.0, math.inf)
        middle = (low + high) / 2
        largest = float(np.abs(backed_up).max()) + abs(middle)
        return Proof((high - low) / 2 + EPSILON * largest, middle, math.inf)

    def _stuck(
        self, v: Float[ndarray, " S"], backed_up: Float[ndarray, " S"], proof: Proof
    ) -> bool:
        """Whether rounding is all that is left; says too by how much v had better be shifted."""
        change = backed_up - v
        largest, k = float(np.abs(change).max()), self.op.contraction
        left, self.shift = largest, 0.0
        if math.isfinite(proof.error):
            span = float(change.max() - change.min())
            unsure = largest * (k.high - k.low) / (1 - k.high)  # the rows' sums differ
            left = span + unsure
            self.shift = proof.shift if unsure > span and not self.op.terminal.any() else 0.0
        self.idle = 0 if left < self.smallest else self.idle + 1
        self.smallest = min(left, self.smallest)
        return left <= 4 * k.rounding(v) or self.idle > PATIENCE

    def _due(self, stuck: bool, change: float) -> bool:
        """Whether the dearer proof, which takes linear solves, can succeed."""
        if not self.op.terminal.any():
            return False
        return stuck or (change <= self.ready and self.sweeps >= 2 * self.tried)

    def _by_time_to_end(
        self,
        v: Float[ndarray, " S"],
        q: Float[ndarray, "S A"],
        policy: Int[ndarray, " S"],
        change: float,
    ) -> Proof:
        found = sandwich(self.op, v, q, policy)
        if found is None:  # v is not near enough, nobody knows by how much
            self.tried = self.sweeps
            return Proof(math.inf, 0.0, math.inf)
        self.ready = 0.9 * change * self.tolerance / found[0]
        return Proof(found[0], 0.0, found[1])

    def _loss(
        self,
        v: Float[ndarray, " S"],
        q: Float[ndarray, "S A"],
        policy: Int[ndarray, " S"],
        proof: Proof,
    ) -> float:
        """What following the policy loses at most: the same bounds, for T_π in place of T."""
        backed_up = self.op.best(q)
        own = np.where(self.op.live, q[np.arange(len(policy)), policy], 0.0)
        low, _ = bracket(self.op.contraction, v, own)
        _, high = bracket(self.op.contraction, v, backed_up)
        return min(proof.loss, high - low + float((backed_up - own).max()))

    def _finished(
        self, q: Float[ndarray, "S A"], policy: Int[ndarray, " S"], proof: Proof
    ) -> Solution:
        exact = q + proof.shift
        stored = exact.astype(self.op.m.dtype)
        used = self.op.m.allowed
        cast = float(np.abs(stored[used] - exact[used]).max(initial=0))
        return Solution(
            value=np.where(self.op.terminal, self.op.m.dtype.type(0), stored.max(1)),
            q=stored,
            policy=policy,
            bound=proof.error + cast,
            method=self.method,
            sweeps=self.sweeps,
            seconds=time.thread_time() - self.began,
            history=tuple(self.kept),
            facts={"policy_loss": proof.loss},
        )


def check_tolerance(tolerance: float) -> None:
    """Nothing; raises `ConfigError` unless the tolerance is positive and finite.

    >>> check_tolerance(0.0)
    Traceback (most recent call last):
        ...
    logpi.core.errors.ConfigError: tolerance is 0.0 but must be a positive, finite number...
    """
    if not isinstance(tolerance, int | float | np.number) or not 0 < tolerance < math.inf:  # type: ignore[reportUnnecessaryIsInstance]  # a user's
        raise ConfigError(
            f"tolerance is {tolerance} but must be a positive, finite number: the largest error "
            "that a value may have."
        )


def refuse_tolerance(m: FiniteMDP, tolerance: float, smallest: float) -> ConfigError:
    """The error that says which tolerance can be had, rounded up.

    >>> from logpi.worlds.mdp.zoo import make
    >>> print(refuse_tolerance(make("two_state", discount=0.9), 1e-20, 3.14159e-14))
    tolerance 1e-20 is below what float64 can certify for two_state at discount 0.9: ask for 3.2...
    """
    digits = 10.0 ** (math.floor(math.log10(smallest)) - 1)
    least = math.ceil(smallest / digits) * digits
    return ConfigError(
        f"tolerance {tolerance:g} is below what {m.dtype} can certify for {m.name} at discount "
        f"{m.discount:g}: ask for {least:.2g}."
    )


def refuse_bound(op: Operator, q: Float[ndarray, "S A"]) -> Exception:
    """The error where no bound at all can be had: `ModelError` with discount 1, else `ConfigError`.

    >>> from logpi.worlds.mdp.planning.operators import operator_of
    >>> from logpi.worlds.mdp.zoo import make
    >>> op = operator_of(make("two_state", discount=1.0))
    >>> print(refuse_bound(op, op.q(np.zeros(2))))
    two_state: with discount 1 the value is infinite: from state 1 on a policy can earn 1 a step ...
    """
    name = op.m.name
    if op.m.discount < 1:
        return ConfigError(
            f"{name}: no bound can be certified: probabilities that sum to more than 1 undo the "
            f"discount {op.m.discount:.9g}. Divide each row by its sum, or lower the discount."
        )
    found = earns_for_ever(op.m, best_actions(q))
    if found is not None and found[1] > 1e-9 * op.contraction.reward:
        return ModelError(
            f"{name}: with discount 1 the value is infinite: from state {found[0]} on a policy can "
            f"earn {found[1]:.3g} a step for ever. Use a discount below 1, or `average_reward`."
        )
    where = "somewhere" if found is None else f"from state {found[0]} on"
    return ModelError(
        f"{name}: with discount 1 no bound can be certified: {where} a policy can go on for ever "
        "at an average reward of 0, so that Bellman's equation has many solutions. Use a discount "
        "below 1, or let going on cost something."
    )
