"""Policy iteration for models that sweeps alone solve slowly: self-loops eliminated, flow followed.

Each round sweeps a few times over all actions, which improves the policy and moves its borders, and
then evaluates the policy: Newton's step e = (I − γP_π)⁻¹ (T v − v), solved by `flow.cycle`. Where
few states have anything to say at first (a goal), the first policy comes from one sweep that begins
there. Whatever the rounds do, the bound comes from one backup at the end.
"""

# pyright: reportMissingParameterType=false
# numba infers the types of compiled functions from their first call.

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certify import Run, run_of
from logpi.worlds.mdp.planning.flow import Chain, Level, cycle, levels_of
from logpi.worlds.mdp.planning.kernels import add_longest, greedy_sweep, jit
from logpi.worlds.mdp.planning.modified import try_modified
from logpi.worlds.mdp.planning.ordering import backward_order, flow_order
from logpi.worlds.mdp.solution import Solution

__all__ = ["eliminate", "flow_policy_iteration", "try_flow"]

IMPROVE = 10
"""Sweeps over all actions in a round; fewer as soon as hardly an action changes."""

CYCLES = 4
"""Cycles in a round, twice as many where hardly an action changes: `SHARP` ends them before."""

SHARP = 0.02
"""A policy is evaluated until the change of a sweep is this part of the residual."""

STALE = 0.005
"""The part of the states that may change their actions before pieces are cut anew."""

FEW = 0.01
"""The part of the states that counts as few, where the first sweep changes little but theirs."""

ALWAYS_FEW = 10
"""So many states are few in any model."""

VISITS = 8
"""Sweeps that improve the numbers of visits, which are kept from one policy to the next."""


def flow_policy_iteration(
    m: FiniteMDP, *, tolerance: float = 1e-6, relative: bool = False
) -> Solution:
    """The optimal value, by policy iteration whose policies are evaluated along their flow.

    π greedy for v,   v ← v + (I − γP_π)⁻¹ (T v − v)          Puterman & Brumelle 1979

    Raises `ConfigError` where rounding hides the tolerance, or for discount 1.

    >>> from logpi.worlds.mdp.zoo import make
    >>> flow_policy_iteration(make("two_state", discount=0.9)).value
    array([10., 10.])
    """
    return try_flow(run_of(m, tolerance=tolerance, relative=relative))


def try_flow(run: Run, *, method: str = "") -> Solution:
    """The solution, from the v that the run has come to; see `flow_policy_iteration`.

    >>> from logpi.worlds.mdp.zoo import make
    >>> run = run_of(make("slip_grid", rows=9, cols=9, discount=0.999), tolerance=1e-6)
    >>> try_flow(run).bound < 1e-6
    True
    """
    method = method or "policy iteration along the flow"
    sweeps, newton = _begin(run), _Newton(run)
    for _ in range(200):
        near, moved = _improve(run, sweeps)
        if near:
            newton.forget()  # the proof needs the room
            if (found := run.conclude(method)) is not None:
                return found
            _, moved = _improve(run, 1)
        if not newton.step(moved):
            break
        sweeps = IMPROVE
    found = try_modified(run, limit=math.inf, method=f"{method}, then modified policy iteration")
    assert isinstance(found, Solution)
    return found


def _improve(run: Run, sweeps: int) -> tuple[bool, int]:
    """Sweeps over all actions: whether that is enough, and the actions that changed.

    Where it is, v is the last sweep's result; else the policy is greedy for v, and T v in `out`.
    """
    changed = 0
    while True:
        low, high, moved = greedy_sweep(run.rows, run.v, run.out, run.policy)
        run.sweeps += 1
        sweeps -= 1
        changed += int(moved)
        near = run.near(low, high)
        again = sweeps > 0 and moved > 1e-4 * len(run.v)
        if near or again:
            run.swap()
        if near or not again:
            return near, changed


@dataclass(slots=True)
class _Newton:
    """Evaluates policies: the chain and its levels are kept while the policy changes little."""

    run: Run
    chain: Chain | None = None
    b: Float[ndarray, " S"] = field(default_factory=lambda: np.empty(0))
    order: Int[ndarray, " S"] = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    levels: list[Level] = field(default_factory=list[Level])
    changed: float = math.inf  # actions that differ from those that the levels were made for
    failed: int = 0

    def forget(self) -> None:
        """Give all memory back: the next step begins anew."""
        self.chain, self.changed = None, math.inf
        self.levels.clear()
        self.b, self.order = np.empty(0), np.empty(0, dtype=np.uint32)

    def _room(self) -> Chain:
        """Room for the chain of any policy."""
        rows = self.run.rows
        states = len(rows.reward)
        room = int(add_longest(rows, np.empty(states + 1, dtype=rows.indptr.dtype)))
        # A weight's relative error matters where rows sum to 1 − 1e-7; speed and memory elsewhere.
        dtype = np.float32 if rows.discount < 1 - 1e-5 else np.float64
        index = np.int32 if room < 2**31 else np.int64
        self.b = np.empty(states, dtype=dtype)
        return Chain(
            np.empty(states + 1, dtype=index),
            np.empty(room, dtype=np.uint32),
            np.empty(room, dtype=dtype),
        )

    def step(self, moved: int) -> bool:
        """v ← v + (I − γP_π)⁻¹ (T v − v), about; False where that has failed too often.

        `run.out` holds T v. A step that leaves a larger residual is not taken.
        """
        run = self.run
        self.chain = self.chain or self._room()
        self.changed += moved
        anew = self.changed > STALE * len(run.v)
        counts = self._cut_anew() if anew else None
        np.subtract(run.out, run.v, out=run.out)
        into = self.chain, self.b
        residual = eliminate(run.rows, run.policy, self.order, run.out, into=into)
        if counts is not None:
            self.levels = levels_of(self.chain, self.b, run.out, counts=counts, visits=VISITS)
        self.levels[0].b, self.levels[0].x = self.b, run.out
        left = self._cycles(residual, CYCLES if moved > 1e-3 * len(run.v) else 2 * CYCLES)
        if left <= residual:
            _add(run.v, self.order, run.out)
            self.failed = 0
        else:
            self.failed += 1
        return self.failed < 4

    def _cut_anew(self) -> Float[ndarray, " S"]:
        """Numbers the states along the policy's flow; the visits known so far, in that order."""
        known = np.zeros(len(self.run.v), dtype=np.float32)
        if self.levels and (visits := self.levels[0].visits) is not None:
            known[self.order] = visits
        self.levels.clear()
        self.order = flow_order(self.run.rows, self.run.policy)
        self.changed = 0.0
        return known[self.order]

    def _cycles(self, residual: float, most: int) -> float:
        """The change of the last sweep, after cycles until it is small or hardly shrinks."""
        left = residual
        for k in range(5 * most):
            before, left = left, cycle(self.levels, first=k == 0)
            self.run.sweeps += self._work()
            if left <= SHARP * residual or (k >= most and left <= residual):
                break
            if k and not left <= 0.5 * before:
                self.changed = math.inf  # the pieces fit badly
                if not left <= before:
                    break
        return left

    def _work(self) -> float:
        """The transitions that a cycle reads, over those of the model."""
        read = sum(5 * 2**k * int(level.chain.indptr[-1]) for k, level in enumerate(self.levels))
        return read / len(self.run.rows.data)


def eliminate(rows, policy, order, change, *, into: tuple[Chain, ndarray]) -> float:  # pyright: ignore[reportMissingParameterType]
    """The largest |b|; writes the policy's chain and b, numbered by `order`, without self-loops.

    (v' − v)(s) (1 − γp(s|s)) = (T v − v)(s) + γ Σ_{s'≠s} p(s'|s) (v' − v)(s')

    divided by 1 − γp(s|s), which is where waiting in a state goes: Puterman 1994, sec. 6.3.3's
    Jacobi splitting. `change` is T v − v.
    """
    position = np.empty(len(order), dtype=np.uint32)
    return _eliminate(rows, policy, (order, position), change, into)


@jit
def _eliminate(rows, policy, numbering, change, out):
    order, position = numbering
    (indptr, indices, weight), b = out
    one = np.uint64(1)
    for i in range(np.uint64(len(order))):
        position[order[i]] = i
    used, largest = np.uint64(0), 0.0
    for i in range(np.uint64(len(order))):
        s = np.uint64(order[i])
        indptr[i] = used
        b[i] = 0.0
        if policy[s] >= 0:
            row = s * np.uint64(rows.reward.shape[1]) + np.uint64(policy[s])
            begin, end = np.uint64(rows.indptr[row]), np.uint64(rows.indptr[row + one])
            stays = 0.0
            for z in range(begin, end):
                stays += rows.data[z] if np.uint64(rows.indices[z]) == s else 0.0
            factor = 1 / (1 - rows.discount * stays)
            b[i] = change[s] * factor
            for z in range(begin, end):
                if np.uint64(rows.indices[z]) != s:
                    indices[used] = position[np.uint64(rows.indices[z])]
                    weight[used] = rows.discount * factor * rows.data[z]
                    used += one
        largest = max(largest, abs(b[i]))
    indptr[len(order)] = used
    return largest


@jit
def _add(v, order, x):
    for i in range(len(order)):
        v[order[i]] += x[i]


def _begin(run: Run) -> int:
    """The sweeps of the first round, after a first v: from the sources, where they are few.

    Sources are the terminal states, and those that change most in a sweep from a constant v.
    """
    low = _start_low(run.rows, run.out)
    kept = run.v.copy()
    run.swap()
    greedy_sweep(run.rows, run.v, run.out, run.policy)
    run.sweeps += 1
    change = np.abs(run.out - run.v)
    sources = np.flatnonzero(change > change.max() / 2)
    if len(sources) > max(ALWAYS_FEW, FEW * len(change)):
        run.v[:] = kept
        return IMPROVE
    ends = np.flatnonzero(run.policy < 0)
    order = backward_order(run.rows, np.concatenate([ends, sources]))
    _first_pass(run.rows, order, run.v, run.policy, low)
    run.sweeps += 1
    return 1


@jit
def _start_low(rows, v):
    """The least value of the policy that maximises r(s, a), or below; written into v, 0 at ends."""
    least = np.inf
    ends = False
    for s in range(len(v)):
        best = -np.inf
        for a in range(rows.reward.shape[1]):
            best = max(best, np.float64(rows.reward[s, a]))
        if best > -np.inf:
            least = min(least, best)
        else:
            ends = True
    least = min(least, 0.0) if ends else least
    low = least / (1 - rows.discount) if least < np.inf else 0.0
    for s in range(len(v)):
        v[s] = 0.0
        for a in range(rows.reward.shape[1]):
            if rows.reward[s, a] > -np.inf:
                v[s] = low
    return low


@jit
def _first_pass(rows, order, v, policy, low):
    """One sweep in the given order, in which successors that come later count as staying.

    Where no action leads to an earlier state, as in the first source, they count as `low`: what is
    earned there once says already where the others had better go.
    """
    done = np.zeros(len(order), dtype=np.bool_)
    for k in range(len(order)):
        s = np.int64(order[k])
        best, choice = -np.inf, -1
        once, at_once = -np.inf, -1
        for a in range(rows.reward.shape[1]):
            reward = np.float64(rows.reward[s, a])
            if reward > once:
                once, at_once = reward, a
            if reward > -np.inf:
                total, earlier = 0.0, 0.0
                row = s * rows.reward.shape[1] + a
                for z in range(np.uint64(rows.indptr[row]), np.uint64(rows.indptr[row + 1])):
                    if done[np.uint64(rows.indices[z])]:
                        earlier += rows.data[z]
                        total += rows.data[z] * v[np.uint64(rows.indices[z])]
                if earlier > 0:
                    total = reward + rows.discount * total
                    q = total / (1 - rows.discount * (1 - earlier))
                    if q > best:
                        best, choice = q, a
        if choice >= 0:
            v[s], policy[s] = best, choice
        else:
            v[s], policy[s] = once + rows.discount * low if at_once >= 0 else 0.0, at_once
        done[s] = True
