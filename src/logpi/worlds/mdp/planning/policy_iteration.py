"""Policy iteration: exact, truncated (modified), and inexact with Krylov steps."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import bicgstab, gmres

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.bellman import best_actions
from logpi.worlds.mdp.planning.chain import Chain, can_reach, chain_of
from logpi.worlds.mdp.planning.circles import View, without_circles
from logpi.worlds.mdp.planning.endings import hitting_policy
from logpi.worlds.mdp.planning.evaluate import chain_value, require_proper
from logpi.worlds.mdp.planning.operators import Operator, first_value, operator_of
from logpi.worlds.mdp.planning.policies import deterministic
from logpi.worlds.mdp.planning.search import Search, refuse_bound
from logpi.worlds.mdp.solution import Solution

__all__ = ["inexact_policy_iteration", "policy_iteration", "truncated_policy_iteration"]

FALLBACK = 10
"""Sweeps of a policy, at least, where Krylov steps do not help."""


def policy_iteration(
    m: FiniteMDP,
    *,
    tolerance: float = 1e-6,
    history: bool = False,
    start_policy: ArrayLike | None = None,
    start_value: Float[ndarray, " S"] | None = None,
) -> Solution:
    """An optimal policy and its value, by solving for the value of one policy after another.

    v_k = (I − γ P_k)⁻¹ r_k,   π_{k+1} = greedy for v_k           Howard 1960; Zhao, sec. 4.2

    It begins with `start_policy`, else with the greedy one for `start_value` (zeros). Ties, up to
    rounding, go to the first action; it ends where nothing beats the policy's own actions: v rises
    in every step, so that ties cannot lead in circles. With discount 1 it begins with a policy that
    ends, and ties go to its own action. In `history` v_k is the value of π_k.

    Raises as `value_iteration` does, and `ModelError` where discount is 1 and `start_policy` may
    never end.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=0.9)
    >>> [k.value.tolist() for k in policy_iteration(m, start_policy=[0, 0], history=True).history]
    [[-10.0, -9.0], [10.0, 10.0]]
    """
    view = without_circles(m)
    op = operator_of(view.m)
    search = Search(op, "policy iteration", tolerance, history)
    policy = _first_policy(op, view, start_policy, start_value)
    v, total = np.zeros(m.states), -np.inf
    while True:
        v = _value_of(op, policy, v, given=search.sweeps == 0)
        q = op.q(v)
        search.sweeps += 1
        search.keep(v, q, policy)
        better = _improved(op, v, q, policy)
        # A value that does not rise is rounding's doing: in exact arithmetic each step raises it.
        if better is None or v.sum() <= total:
            return view.read(search.last(v, q, policy))
        policy, total = better, float(v.sum())


def _first_policy(
    op: Operator, view: View, policy: ArrayLike | None, value: Float[ndarray, " S"] | None
) -> Int[ndarray, " S"]:
    m = op.m
    if policy is not None:
        given = view.enter(np.asarray(policy))
        return np.where(m.terminal, -1, deterministic(m, given).argmax(1))
    if m.discount == 1 and value is None:
        return hitting_policy(m)
    return best_actions(op.q(first_value(m, value)))


def _value_of(
    op: Operator, policy: Int[ndarray, " S"], v: Float[ndarray, " S"], *, given: bool
) -> Float[ndarray, " S"]:
    chain = chain_of(op.m, deterministic(op.m, policy))
    if op.m.discount == 1 and not can_reach(chain.transitions, chain.terminal).all():
        if given:
            require_proper(chain)
        # An improvement over a policy that ends, and it need not end: it earns by going on.
        raise refuse_bound(op, deterministic(op.m, policy) - 1.0)
    return chain_value(chain, op.m.discount, v)


def _improved(
    op: Operator, v: Float[ndarray, " S"], q: Float[ndarray, "S A"], policy: Int[ndarray, " S"]
) -> Int[ndarray, " S"] | None:
    """The first best actions, up to what rounding can have made up; None where that gains nothing.

    A tie that is broken anew may cost `noise` in every state and step. Where that could outweigh
    what the best improvement gains, each state keeps its action unless another is really better.
    """
    own = np.where(op.live, q[np.arange(len(v)), policy], 0.0)
    noise = 4 * max(op.contraction.rounding(v), float(np.abs(own - v).max()))
    gain = op.best(q) - own
    most = float(gain.max())
    if not most > noise:
        return None
    if most * (1 - op.m.discount) <= 2 * len(v) * noise:
        return np.where(gain > noise, best_actions(q), policy)
    return np.where(op.live, (q >= op.best(q)[:, None] - noise).argmax(1), -1)


def truncated_policy_iteration(
    m: FiniteMDP,
    *,
    tolerance: float = 1e-6,
    history: bool = False,
    start_value: Float[ndarray, " S"] | None = None,
    evaluation_sweeps: int = 20,
) -> Solution:
    """The optimal value, by a greedy step and then a few sweeps of the greedy policy, in turn.

    v_{k+1} = T_π^n T v_k,   π greedy for v_k           Puterman & Shin 1978; Zhao, sec. 4.3

    `evaluation_sweeps` = n; 0 is value iteration, infinitely many would be policy iteration. With
    discount 1 it begins with the value of a policy that ends, from which it rises.

    Raises as `value_iteration` does, and `ConfigError` where n is negative.

    >>> from logpi.worlds.mdp.zoo import make
    >>> truncated_policy_iteration(make("two_state", discount=0.9)).policy
    array([2, 1])
    """
    if evaluation_sweeps < 0:
        raise ConfigError(f"evaluation_sweeps is {evaluation_sweeps} but counts sweeps: 0 or more.")
    view = without_circles(m)
    op = operator_of(view.m)
    search = Search(op, f"truncated policy iteration, {evaluation_sweeps}", tolerance, history)
    v = _rising_value(op, start_value)
    while True:
        q = op.q(v)
        search.sweeps += 1 + evaluation_sweeps
        search.keep(v, q)
        if (found := search.judge(v, q)) is not None:
            return view.read(found)
        v = op.best(q) + search.shift
        if evaluation_sweeps:
            chain = _chain(op, best_actions(q))
            for _ in range(evaluation_sweeps):
                v = chain.reward + m.discount * (chain.transitions @ v)


def _rising_value(op: Operator, value: Float[ndarray, " S"] | None) -> Float[ndarray, " S"]:
    """A v ≤ T v to begin with, unless one is given: sweeps of greedy policies only raise it."""
    if value is None and op.m.discount == 1:
        return _value_of(op, hitting_policy(op.m), np.zeros(op.m.states), given=False)
    return first_value(op.m, value)


def _chain(op: Operator, policy: Int[ndarray, " S"]) -> Chain:
    return chain_of(op.m, deterministic(op.m, policy))


def inexact_policy_iteration(
    m: FiniteMDP,
    *,
    tolerance: float = 1e-6,
    history: bool = False,
    start_value: Float[ndarray, " S"] | None = None,
    inner: Literal["bicgstab", "gmres"] = "bicgstab",
) -> Solution:
    """The optimal value, by Krylov steps towards the value of the greedy policy, kept if they help.

    (I − γ P_π) x = T v − v, nearly;   v ← v + x           Gargiani, Liao & Lygeros 2023

    A step is kept where it `_helps`; else sweeps take its place. Raises as `value_iteration` does.

    >>> from logpi.worlds.mdp.zoo import make
    >>> inexact_policy_iteration(make("two_state", discount=0.9)).policy
    array([2, 1])
    """
    if inner not in _INNER:
        raise ConfigError(f"inner is {inner!r} but must be 'bicgstab' or 'gmres'.")
    view = without_circles(m)
    op = operator_of(view.m)
    search = Search(op, f"inexact policy iteration, {inner}", tolerance, history)
    v = _rising_value(op, start_value)
    q = op.q(v)
    while True:
        search.sweeps += 1
        search.keep(v, q)
        if (found := search.judge(v, q)) is not None:
            return view.read(found)
        backed_up, chain = op.best(q), _chain(op, best_actions(q))
        trial, products = _either_step(chain, m.discount, v, inner)
        ahead = op.q(trial)
        search.sweeps += 1 + -(-products // m.actions)  # a product is of one policy's rows
        if _helps(op, chain, (v, backed_up), (trial, op.best(ahead))):
            v, q = trial, ahead
            continue
        v = _swept(chain, m.discount, backed_up, max(products, FALLBACK))
        q = op.q(v)
        search.sweeps += 1 + -(-products // m.actions)


def _swept(
    chain: Chain, discount: float, v: Float[ndarray, " S"], times: int
) -> Float[ndarray, " S"]:
    """V after so many sweeps of one policy."""
    for _ in range(times):
        v = chain.reward + discount * (chain.transitions @ v)
    return v


def _either_step(
    chain: Chain, discount: float, v: Float[ndarray, " S"], inner: str
) -> tuple[Float[ndarray, " S"], int]:
    """The Krylov step of `inner`, or of the other method where that breaks down; products taken."""
    trial, products = _krylov_step(chain, discount, v, inner)
    if _solved(chain, discount, v, trial):
        return trial, products
    trial, more = _krylov_step(chain, discount, v, _OTHER[inner])
    return trial, products + more


_INNER = {"bicgstab": bicgstab, "gmres": gmres}
_OTHER = {"bicgstab": "gmres", "gmres": "bicgstab"}


def _krylov_step(
    chain: Chain, discount: float, v: Float[ndarray, " S"], inner: str
) -> tuple[Float[ndarray, " S"], int]:
    """v + x with (I − γ P_π) x ≈ T_π v − v, and the matrix products that it took."""
    change = chain.reward + discount * (chain.transitions @ v) - v
    if discount == 1 and not can_reach(chain.transitions, chain.terminal).all():
        return np.full(len(v), np.nan), 1  # the system is singular
    system = csr_array(eye_array(len(v), format="csr") - discount * chain.transitions)
    loops = np.where((diagonal := system.diagonal()) > 0, diagonal, 1.0)
    left = csr_array(system.multiply(1 / loops[:, None]))
    steps = itertools.count()
    options = {"callback_type": "pr_norm", "restart": 30} if inner == "gmres" else {}
    with np.errstate(all="ignore"):  # a breakdown gives a NaN, which is then not kept
        x, _ = _INNER[inner](
            left, change / loops, rtol=1e-2, maxiter=100, callback=lambda _: next(steps), **options
        )
    products = next(steps) * (2 if inner == "bicgstab" else 1)
    return np.where(chain.terminal, 0.0, v + x), max(1, products)


def _helps(
    op: Operator,
    chain: Chain,
    now: tuple[Float[ndarray, " S"], Float[ndarray, " S"]],
    then: tuple[Float[ndarray, " S"], Float[ndarray, " S"]],
) -> bool:
    """Whether (v', T v') is an improvement over (v, T v); False where v' holds a NaN."""
    (v, backed_up), (trial, ahead) = now, then
    nearer = np.abs(ahead - trial).max() < np.abs(backed_up - v).max()
    return _solved(chain, op.m.discount, v, trial) and bool(nearer or (trial >= backed_up).all())


def _solved(
    chain: Chain, discount: float, v: Float[ndarray, " S"], trial: Float[ndarray, " S"]
) -> bool:
    before = chain.reward + discount * (chain.transitions @ v) - v
    after = chain.reward + discount * (chain.transitions @ trial) - trial
    return bool(np.abs(after).max() <= np.abs(before).max() / 2)  # False for a NaN
