"""Models from dense arrays, P[s, a, s'] or P[a, s, s']."""

from __future__ import annotations

from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from logpi.core.errors import ModelError
from logpi.worlds.mdp.csr import Facts, floats, from_csr
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["from_dense"]


def from_dense(
    transitions: npt.ArrayLike,
    reward: npt.ArrayLike,
    discount: float,
    *,
    order: Literal["sas", "ass"] | None = None,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model of dense arrays: `transitions` is P[s, a, s'] or P[a, s, s'].

    `order` is "sas" or "ass"; it is needed only where there are as many actions as states, and
    the shape cannot tell. `reward` is [S], [S, A], or like `transitions`, where it depends on the
    successor; the other arguments are those of `from_csr`.

    Raises `ModelError`, which names the first bad state and action.

    >>> P = [[[0.2, 0.8]], [[1.0, 0.0]]]
    >>> from_dense(P, [1.0, 0.0], 0.9).row(0, 0)[1].tolist()
    [0.2, 0.8]
    """
    p = floats(transitions, None)
    name = facts.get("name", "mdp")
    order = _order(p.shape, order, name)
    p = p.transpose(1, 0, 2) if order == "ass" else p
    S, A, _ = p.shape
    t = csr_array(p.reshape(S * A, S))
    r = floats(reward, p.dtype)
    if r.ndim < 3:
        return from_csr(t, r, discount, **facts)
    r = r.transpose(1, 0, 2) if order == "ass" else r
    if r.shape != p.shape:
        raise ModelError(
            f"{name}: `reward` is {list(np.shape(reward))} but `transitions` is "
            f"{list(np.shape(transitions))}: r(s, a, s') has the same shape."
        )
    # p != 0, not p > 0: what is negative or NaN is stored, and named by the check
    return from_csr(t, None, discount, outcome_reward=r[p != 0], **facts)


def _order(
    shape: tuple[int, ...], given: Literal["sas", "ass"] | None, name: str
) -> Literal["sas", "ass"]:
    """The given order, or the only one that the shape allows."""
    if len(shape) != 3 or shape[2] not in shape[:2] or not all(shape):
        raise ModelError(
            f"{name}: `transitions` is {list(shape)} but must be [S, A, S] or [A, S, S], with at "
            "least one state and one action."
        )
    if given is not None:
        if shape[2] != shape[0 if given == "sas" else 1]:
            raise ModelError(
                f"{name}: `transitions` is {list(shape)}, which read as {given!r} does not lead "
                "from states to states."
            )
        return given
    if shape[0] == shape[1] != 1:
        raise ModelError(
            f"{name}: `transitions` is {list(shape)}, as many actions as states: say whether it is "
            "P[s, a, s'] (order='sas') or P[a, s, s'] (order='ass')."
        )
    return "sas" if shape[0] == shape[2] else "ass"
