"""Whether episodes end by themselves, or must be cut."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.chain import can_reach, chain_of
from logpi.worlds.mdp.planning.policies import uniform

__all__ = ["endless_state"]

_ROUNDS = 10_000  # after which episodes are taken for endless


def endless_state(
    m: FiniteMDP, behaviour: Float[ndarray, "S A"] | None, *, explores: bool
) -> int | None:
    """A state that an episode may come to and go on from for ever; None where episodes surely end.

    With a `behaviour`, under it; else under any policy that `explores`, which takes every action
    with a positive probability; else under whatever policy there is, a greedy one that goes round
    in a circle included.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("cliff")
    >>> endless_state(m, None, explores=True), endless_state(m, None, explores=False)
    (None, 0)
    """
    support = uniform(m) if behaviour is None else behaviour
    chain = chain_of(m, support)
    endless = ~can_reach(chain.transitions, chain.terminal) if explores else _circles(m)
    backward = csr_array(chain.transitions.T)
    reachable = can_reach(backward, m.start > 0)
    found = np.flatnonzero(endless & reachable)
    return int(found[0]) if len(found) else None


def _circles(m: FiniteMDP) -> Bool[ndarray, " S"]:
    """Where some policy never ends: the largest set with an action that surely stays in it."""
    t = m.transitions
    ways = csr_array(((t.data > 0).astype(np.int32), t.indices, t.indptr), shape=t.shape)
    inside = ~m.terminal
    for _ in range(_ROUNDS):
        leaves = (ways @ (~inside).astype(np.int32)).reshape(m.allowed.shape) > 0
        left = inside & (m.allowed & ~leaves).any(1)
        if (left == inside).all():
            break
        inside = left
    return inside
