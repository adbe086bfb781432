"""Soft Bellman equations: rewards less the price of information, and the policy they make best."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certificate import EPSILON, bracket
from logpi.worlds.mdp.planning.chain import Chain, can_reach, chain_of
from logpi.worlds.mdp.planning.endings import hitting_policy
from logpi.worlds.mdp.planning.evaluate import chain_value
from logpi.worlds.mdp.planning.linear import solve_identity_minus
from logpi.worlds.mdp.planning.operators import Operator, first_value, largest, operator_of
from logpi.worlds.mdp.planning.policies import as_probabilities
from logpi.worlds.mdp.planning.search import Proof, check_tolerance, refuse_tolerance
from logpi.worlds.mdp.solution import Iterate, Solution

__all__ = ["soft_policy_iteration"]

MOST = 500
"""Newton's method takes some ten steps; after so many, the value has no bound."""


@dataclass(frozen=True, slots=True)
class _Soft:
    """The soft Bellman operator of a model, a price β > 0 and a reference, or ones."""

    op: Operator
    beta: float
    reference: Float[ndarray, "S A"]

    def value(self, q: Float[ndarray, "S A"]) -> Float[ndarray, " S"]:
        """β log Σ_a ref(a|s) exp(q(s,a) / β), without overflow."""
        top, mass = self._mass(q)
        return np.where(self.op.live, top + self.beta * np.log(mass.sum(1)), 0.0)

    def policy(self, q: Float[ndarray, "S A"]) -> Float[ndarray, "S A"]:
        """π(a|s) ∝ ref(a|s) exp(q(s,a) / β); zeros in terminal states."""
        mass = self._mass(q)[1]
        return np.where(self.op.live[:, None], mass / mass.sum(1, keepdims=True), 0.0)

    def _mass(self, q: Float[ndarray, "S A"]) -> tuple[Float[ndarray, " S"], Float[ndarray, "S A"]]:
        """The largest q of each state, and ref · exp((q − that) / β); ones in terminal states."""
        q = np.where(self.op.live[:, None], q, 0.0)
        top = largest(q)
        with np.errstate(under="ignore"):
            mass = self.reference * np.exp((q - top[:, None]) / self.beta)
        return top, np.where(self.op.live[:, None], mass, 1.0)

    def chain(self, pi: Float[ndarray, "S A"]) -> Chain:
        """The policy's chain, whose rewards are less the price of leaving the reference."""
        chain = chain_of(self.op.m, pi)
        ratio = np.divide(pi, self.reference, out=np.ones_like(pi), where=pi > 0)
        reward = chain.reward - self.beta * (pi * np.log(ratio)).sum(1)
        return Chain(chain.transitions, reward, chain.terminal, chain.mixed)

    def rounding(self, v: Float[ndarray, " S"]) -> float:
        """How far a soft backup of v can be from the exact one, beyond what a backup is."""
        future = self.op.contraction.reward + float(np.abs(v).max())
        return EPSILON * (self.beta * (self.reference.shape[1] + 16) + 2 * future)


def soft_policy_iteration(
    m: FiniteMDP,
    *,
    beta: float,
    reference: ArrayLike | None = None,
    tolerance: float = 1e-6,
    history: bool = False,
    start_value: Float[ndarray, " S"] | None = None,
) -> Solution:
    """The value and the policy that are best when information costs β a nat.

    V(s) = β log Σ_a ref(a|s) exp(Q(s,a)/β),  Q = r + γPV,  π(a|s) = ref(a|s) exp((Q(s,a) − V(s))/β)

    maximises E[Σ γ^t (r_t − β log(π/ref))]: with a `reference` policy, less the reverse KL to it;
    without, ref = 1 and π's entropy is rewarded (Ziebart 2010; arXiv 1702.08165, eq. 4–6). Solved
    by Newton's method, and certified as the hard equations are. The policy is [S, A].

    Raises `ConfigError` unless β > 0 and where rounding hides the tolerance.
    >>> from logpi.worlds.mdp.zoo import make
    >>> soft_policy_iteration(make("two_state", discount=0.9), beta=0.1).policy.sum(1)
    array([1., 1.])
    """
    began = time.thread_time()
    check_tolerance(tolerance)
    soft = _operator(m, beta, reference)
    kept: list[Iterate] = []
    patience = _Patience()
    v = first_value(m, start_value) if start_value is not None else _rising_value(soft)
    for sweeps in range(1, MOST):
        q = soft.op.q(v)
        pi = soft.policy(q)
        kept += [Iterate(value=v.copy(), q=q.copy(), policy=pi)] if history else []
        found = _finished(soft, q, pi, _proof(soft, v, q, pi))
        if found.bound <= tolerance:
            took = {"sweeps": sweeps, "seconds": time.thread_time() - began}
            return replace(found, history=tuple(kept), **took)
        if patience.lost(found.bound):
            raise refuse_tolerance(m, tolerance, patience.smallest)
        v = _value_of(soft, pi, v)
    raise _unbounded(soft)


@dataclass(slots=True)
class _Patience:
    """The smallest bound so far; lost when it has not shrunk for five steps."""

    smallest: float = math.inf
    idle: int = 0

    def lost(self, bound: float) -> bool:
        self.idle = 0 if bound < self.smallest else self.idle + 1
        self.smallest = min(bound, self.smallest)
        return self.idle > 5 and math.isfinite(self.smallest)


def _operator(m: FiniteMDP, beta: float, reference: ArrayLike | None) -> _Soft:
    if not 0 < beta < math.inf:
        raise ConfigError(
            f"beta is {beta} but must be positive and finite. Without a price, beta = 0, every "
            "other method solves the model."
        )
    if reference is None:
        soft = _Soft(operator_of(m), beta, m.allowed.astype(np.float64))
    else:
        table = as_probabilities(m, reference)
        soft = _Soft(operator_of(m.having(allowed=table > 0, policy=None)), beta, table)
    if m.discount == 1:
        hitting_policy(soft.op.m)
    return soft


def _rising_value(soft: _Soft) -> Float[ndarray, " S"]:
    """Zeros; with discount 1 the value of the reference, from which every Newton step rises."""
    nothing = np.zeros(soft.op.m.states)
    if soft.op.m.discount < 1:
        return nothing
    total = np.where(soft.op.live, soft.reference.sum(1), 1.0)
    return _value_of(soft, soft.reference / total[:, None], nothing)


def _value_of(
    soft: _Soft, pi: Float[ndarray, "S A"], v: Float[ndarray, " S"]
) -> Float[ndarray, " S"]:
    chain = soft.chain(pi)
    if soft.op.m.discount < 1:
        return chain_value(chain, soft.op.m.discount, v)
    if not can_reach(chain.transitions, chain.terminal).all():
        raise _unbounded(soft)  # it prefers not to end, by more than a float64 can tell
    try:
        return chain_value(chain, 1.0, v)
    except ModelError as error:
        raise _unbounded(soft) from error


def _proof(
    soft: _Soft, v: Float[ndarray, " S"], q: Float[ndarray, "S A"], pi: Float[ndarray, "S A"]
) -> Proof:
    """The bounds of `certificate.bracket`; where episodes end, those by the time to the end too."""
    backed_up = soft.value(q)
    slack = soft.rounding(v)
    low, high = bracket(soft.op.contraction, v, backed_up, slack=slack)
    proof = Proof(math.inf, 0.0, math.inf)
    if math.isfinite(high - low):
        middle = (low + high) / 2
        largest_value = float(np.abs(backed_up).max()) + abs(middle)
        proof = Proof((high - low) / 2 + slack + EPSILON * largest_value, middle, high - low)
    if soft.op.terminal.any() and float(np.abs(backed_up - v).max()) < 1e-3:
        proof = min(proof, _by_time_to_end(soft, v, q, pi))
    return proof


def _by_time_to_end(
    soft: _Soft, v: Float[ndarray, " S"], q: Float[ndarray, "S A"], pi: Float[ndarray, "S A"]
) -> Proof:
    """v − c w ≤ T(v − c w) and T(v + c w) ≤ v + c w, where w is the policy's time to the end."""
    op, none = soft.op, Proof(math.inf, 0.0, math.inf)
    future = op.m.discount * chain_of(op.m, pi).transitions
    weight = solve_identity_minus(future, np.ones(len(v)), enough=0.1)
    least = float((weight - future @ weight).min())
    if not least > 0 or not (weight > 0).all():
        return none
    change = float(np.abs(soft.value(q) - v).max())
    for more in (1.1, 2.0, 8.0):  # the policy of v + c w is not quite that of v
        top = np.abs(v) + weight
        room = op.contraction.rounding(top) + soft.rounding(top)
        scale = more * (change + 4 * room) / least
        above, below = v + scale * weight, v - scale * weight
        over, under = op.q(above), op.q(below)
        rises = (soft.value(under) - below)[op.live] >= 2 * room
        if scale <= 1 and rises.all() and ((above - soft.value(over))[op.live] >= 2 * room).all():
            used = op.m.allowed
            gap = np.maximum(over[used] - q[used], q[used] - under[used]).max(initial=0.0)
            return Proof(float(gap) + 4 * room, 0.0, float((above - below).max()))
    return none


def _finished(
    soft: _Soft, q: Float[ndarray, "S A"], pi: Float[ndarray, "S A"], proof: Proof
) -> Solution:
    m, exact = soft.op.m, q + proof.shift
    value, stored = soft.value(exact), exact.astype(m.dtype)
    used = m.allowed
    cast = float(np.abs(stored[used] - exact[used]).max(initial=0))
    rounded = value.astype(m.dtype)
    return Solution(
        value=rounded,
        q=stored,
        policy=pi,
        bound=proof.error + max(cast, float(np.abs(rounded - value).max())),
        method="soft policy iteration",
        sweeps=0,
        seconds=0.0,
        facts={"beta": soft.beta, "policy_loss": proof.loss},
    )


def _unbounded(soft: _Soft) -> ModelError:
    m = soft.op.m
    return ModelError(
        f"{m.name}: the soft value has no bound: with discount {m.discount:g} and beta "
        f"{soft.beta:g}, going on earns more than it costs. Lower the discount or beta."
    )
