"""What the tests of the fast solvers share: random models, and their exact values."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import csr_array

from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.model import FiniteMDP


def random_model(seed: int, *, dtype=np.float64, index=np.int32, discount: float | None = None):
    """A small model with anything in it: self-loops, terminal states, disallowed actions."""
    rng = np.random.default_rng(seed)
    states, actions = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    p = rng.random((states * actions, states)) * (rng.random((states * actions, states)) < 0.5)
    p[np.arange(len(p)), rng.integers(0, states, len(p))] += 0.1
    allowed = rng.random((states, actions)) < 0.9
    p[~allowed.ravel()] = 0  # and these rows are empty
    sums = np.where(allowed.ravel(), p.sum(1), 1)
    t = csr_array((p / sums[:, None]).astype(dtype))
    t = csr_array((t.data, t.indices.astype(index), t.indptr.astype(index)), shape=t.shape)
    reward = rng.normal(size=(states, actions)).astype(dtype)
    discount = float(rng.choice([0.0, 0.5, 0.9, 0.99])) if discount is None else discount
    return from_csr(t, reward, discount, allowed=allowed)


def exact_values(m: FiniteMDP) -> np.ndarray:
    """v* by policy iteration with dense LU, in float64."""
    p = m.transitions.astype(np.float64).toarray().reshape(m.states, m.actions, m.states)
    live, s = ~m.terminal, np.arange(m.states)
    policy = m.allowed.argmax(1)
    while True:
        chosen = np.where(live[:, None], p[s, policy], 0)
        reward = np.where(live, m.reward[s, policy].astype(np.float64), 0)
        v = np.linalg.solve(np.eye(m.states) - m.discount * chosen, reward)
        q = np.where(m.allowed, m.reward + m.discount * p @ v, -np.inf)
        better = live & (q.max(1) > q[s, policy] + 1e-12 * (1 + np.abs(v).max()))
        if not better.any():
            return v
        policy = np.where(better, q.argmax(1), policy)


seeds = st.integers(0, 10_000)
