"""Models whose learning is worked out by hand."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from logpi.worlds.mdp.build import from_csr, from_dense


def chain(rewards, *, discount=0.9):
    """States 0, 1, …, one action each, that pay `rewards` in turn; then the end."""
    n = len(rewards)
    p = np.eye(n + 1, k=1)[None]
    return from_dense(p, [[r] for r in [*rewards, 0]], discount, terminal=[n], start=0)


def revisit(*, discount=0.5):
    """0 → 1 → 0 → 1 … with certainty, paying 1 on leaving 0 and 2 on leaving 1; it never ends."""
    return from_dense([[[0, 1], [1, 0]]], [[1], [2]], discount, start=0)


def loop(*, discount=1.0, stay=0.5):
    """One state that pays 1 a step and ends with probability 1 − stay."""
    return from_dense([[[stay, 1 - stay], [0, 1]]], [[1], [0]], discount, terminal=[1], start=0)


def fan(probabilities):
    """One state, one action, and a successor of each probability, all of them terminal."""
    n = len(probabilities)
    rows = np.zeros((n + 1, n + 1))
    rows[0, 1:] = probabilities
    data = csr_array(rows)
    return from_csr(data, None, 1.0, outcome_reward=np.arange(float(data.nnz)),
                    terminal=range(1, n + 1), start=0)  # fmt: skip
