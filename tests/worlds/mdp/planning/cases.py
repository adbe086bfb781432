"""What the tests of planning share: small models with anything in them, and exact values."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import csr_array

from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.endings import hitting_policy

seeds = st.integers(0, 1_000_000)


def make_model(
    p, reward, discount, *, allowed=None, dtype=np.float64, index=np.int32, start=None
) -> FiniteMDP:
    """From dense p [S·A, S]."""
    t = csr_array(np.asarray(p, dtype=dtype))
    t = csr_array((t.data, t.indices.astype(index), t.indptr.astype(index)), shape=t.shape)
    return from_csr(t, np.asarray(reward, dtype=dtype), discount, allowed=allowed, start=start)


def random_model(seed: int, discount: float, *, dtype=np.float64, ending=False) -> FiniteMDP:
    """Up to 5 states and 3 actions: self-loops, terminal states, ties, actions not allowed.

    With `ending`, every action can move to a smaller state, and state 0 is terminal: every policy
    ends.
    """
    rng = np.random.default_rng(seed)
    states, actions = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    p = rng.random((states * actions, states)) * (rng.random((states * actions, states)) < 0.5)
    p[np.arange(len(p)), rng.integers(0, states, len(p))] += 0.1
    allowed = rng.random((states, actions)) < 0.85
    if ending:
        own = np.arange(len(p)) // actions
        p[np.arange(len(p)), (own * rng.random(len(p))).astype(int)] += 0.1
        allowed[:, 0], allowed[0] = True, False
    p /= p.sum(1, keepdims=True)
    size = 10.0 ** rng.integers(-3, 4)
    reward = size * rng.integers(-3, 4, (states, actions))  # integers make ties
    start = rng.dirichlet(np.ones(states))
    return make_model(p, reward, discount, allowed=allowed, dtype=dtype, start=start)


def exact_optimum(m: FiniteMDP) -> list[Fraction]:
    """v* of the model as stored, without any rounding: policy iteration in rational numbers."""
    policy = hitting_policy(m) if m.discount == 1 else m.allowed.argmax(1)
    while True:
        v = exact_value(m, policy)
        better = policy.copy()
        for s in np.flatnonzero(~m.terminal):
            q = {int(a): _backup(m, v, s, a) for a in np.flatnonzero(m.allowed[s])}
            best = max(q, key=lambda a: q[a])
            if q[best] > q[int(policy[s])]:
                better[s] = best
        if (better == policy).all():
            return v
        policy = better


def exact_value(m: FiniteMDP, policy: np.ndarray) -> list[Fraction]:
    """v_π in rational numbers, by Gaussian elimination."""
    n, gamma = m.states, Fraction(m.discount)
    rows = [[Fraction(int(i == j)) for j in range(n)] + [Fraction(0)] for i in range(n)]
    for s in np.flatnonzero(~m.terminal):
        rows[s][n] = Fraction(float(m.reward[s, policy[s]]))
        for to, probability in zip(*m.row(int(s), int(policy[s])), strict=True):
            rows[s][to] -= gamma * Fraction(float(probability))
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(n):
            if k != i and rows[k][i]:
                rows[k] = [x - rows[k][i] * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[n] for row in rows]


def _backup(m: FiniteMDP, v: list[Fraction], s: int, a: int) -> Fraction:
    to, probability = m.row(int(s), int(a))
    future = sum(
        (Fraction(float(p)) * v[t] for t, p in zip(to, probability, strict=True)), Fraction(0)
    )
    return Fraction(float(m.reward[s, a])) + Fraction(m.discount) * future


def distance(value: np.ndarray, exact: list[Fraction]) -> Fraction:
    """max |value − exact|, without rounding."""
    return max(abs(Fraction(float(x)) - y) for x, y in zip(value, exact, strict=True))


def loss(m: FiniteMDP, policy: np.ndarray, exact: list[Fraction]) -> Fraction:
    """max v* − v_π, without rounding."""
    own = exact_value(m, np.where(m.terminal, 0, policy))
    return max(x - y for x, y in zip(exact, own, strict=True))
