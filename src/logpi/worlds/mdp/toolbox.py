"""Models from the arrays of pymdptoolbox, dense or sparse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import csr_array, issparse, vstack

from logpi.core.errors import ModelError
from logpi.worlds.mdp.csr import Facts, Sparse, as_csr, from_csr, shape_of
from logpi.worlds.mdp.dense import from_dense
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["from_mdptoolbox"]


def from_mdptoolbox(
    transitions: npt.ArrayLike | Sequence[Sparse],
    reward: npt.ArrayLike | Sequence[Sparse],
    discount: float,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model of pymdptoolbox's arrays: P[a, s, s'] dense, or A sparse matrices [S, S].

    `reward` is [S], [S, A], [A, S, S], or A sparse matrices [S, S]; the other arguments are those
    of `from_csr`.

    Raises `ModelError`, which names the first bad state and action.

    >>> P = [csr_array([[0.5, 0.5], [0.8, 0.2]]), csr_array([[0.0, 1.0], [0.1, 0.9]])]
    >>> from_mdptoolbox(P, [[5, 10], [-1, 2]], 0.9).row(1, 0)[1].tolist()
    [0.8, 0.2]
    """
    name = facts.get("name", "mdp")
    if not _are_sparse(transitions):
        r = [x.toarray() for x in _list(reward)] if _are_sparse(reward) else reward
        return from_dense(np.asarray(transitions), np.asarray(r), discount, order="ass", **facts)
    t = _interleave(transitions, "transitions", name)
    if not _are_sparse(reward) and np.ndim(np.asarray(reward)) < 3:
        return from_csr(t, np.asarray(reward), discount, **facts)
    r: Any = _interleave(reward, "reward", name)
    if shape_of(r) != shape_of(t):
        raise ModelError(
            f"{name}: `reward` is {list(shape_of(r))} but `transitions` is {list(shape_of(t))}, "
            "its matrices one below another."
        )
    rows = np.repeat(np.arange(shape_of(t)[0]), np.diff(t.indptr))
    # what r does not store is a reward of 0
    outcome = np.asarray(r[rows, t.indices]).ravel()
    return from_csr(t, None, discount, outcome_reward=outcome, **facts)


def _are_sparse(x: object) -> bool:
    return isinstance(x, Sequence | ndarray) and len(x) > 0 and all(issparse(y) for y in x)


def _list(x: Any) -> list[Any]:
    return list(x)


def _interleave(matrices: Any, what: str, name: str) -> csr_array:
    """A matrices [S, S] as one [S·A, S], row s·A + a."""
    parts = [as_csr(csr_array(x)) for x in matrices]
    A, S = len(parts), shape_of(parts[0])[0]
    wrong = [shape_of(x) for x in parts if shape_of(x) != (S, S)]
    if wrong:
        raise ModelError(f"{name}: `{what}` has a matrix {list(wrong[0])}, but must be [{S}, {S}].")
    order: Int[ndarray, " rows"] = np.arange(A * S).reshape(A, S).T.ravel()
    stacked: Any = vstack(parts, format="csr")
    return csr_array(stacked[order])
