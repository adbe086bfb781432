"""The Markov chain that a policy makes of a model, and who reaches whom in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["Chain", "can_reach", "chain_of", "recurrent_classes", "row_lengths"]


@dataclass(frozen=True, slots=True)
class Chain:
    """A Markov chain with rewards, in float64; the rows of terminal states are empty."""

    transitions: csr_array  # [S, S]: P_π
    reward: Float[ndarray, " S"]  # r_π, 0 in terminal states
    terminal: Bool[ndarray, " S"]
    mixed: int  # the most actions that a row is a mixture of


def chain_of(m: FiniteMDP, pi: Float[ndarray, "S A"]) -> Chain:
    """The chain of a policy's table: P_π = Σ_a π(a|s) p(·|s, a), r_π = Σ_a π(a|s) r(s, a).

    Rows of actions that the policy never takes are not read.

    >>> from logpi.worlds.mdp.zoo import make
    >>> chain_of(make("two_state"), np.array([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]])).reward
    array([0.5, 1. ])
    """
    s, a = np.nonzero(pi)
    weight = pi[s, a]
    taken = m.transitions[s * m.actions + a]
    if (weight == 1).all():  # one action a state: no sum to take
        taken = taken.astype(np.float64)
        if len(s) < m.states or not (s == np.arange(m.states)).all():
            taken = _spread(taken, s, m.states)
    else:
        mixing = csr_array((weight, (s, np.arange(len(s)))), shape=(m.states, len(s)))
        taken = csr_array(mixing @ taken.astype(np.float64))
    reward = np.zeros(m.states)
    np.add.at(reward, s, weight * m.reward[s, a])
    return Chain(taken, reward, m.terminal, int((pi > 0).sum(1).max()))


def _spread(rows: csr_array, where: Int[ndarray, " k"], states: int) -> csr_array:
    """The same rows at the places `where`, which rise, and empty rows elsewhere."""
    length = np.zeros(states + 1, dtype=rows.indptr.dtype)
    length[where + 1] = row_lengths(rows)
    return csr_array((rows.data, rows.indices, np.cumsum(length)), shape=(states, states))


def can_reach(transitions: csr_array, target: Bool[ndarray, " S"]) -> Bool[ndarray, " S"]:
    """Where a walk along positive entries of [S, S] can lead into `target`.

    >>> line = csr_array(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> can_reach(line, np.array([False, True, False]))
    array([ True,  True, False])
    """
    row, column = _edges(transitions)
    # The search runs backwards from one more vertex, number `states`, which leads to every target.
    states, ends = len(target), np.flatnonzero(target)
    source = np.concatenate([column, np.full(len(ends), states)])
    sink = np.concatenate([row, ends])
    back = csr_array((np.ones(len(source)), (source, sink)), shape=(states + 1, states + 1))
    found = np.zeros(states + 1, dtype=bool)
    found[breadth_first_order(back, states, return_predecessors=False)] = True
    return found[:states]


def row_lengths(matrix: csr_array) -> Int[ndarray, " n"]:
    """The number of entries that each row stores.

    >>> row_lengths(csr_array(np.array([[1.0, 0.0], [0.5, 0.5]]))).tolist()
    [1, 2]
    """
    return np.diff(matrix.indptr)


def _edges(transitions: csr_array) -> tuple[Int[ndarray, " k"], Int[ndarray, " k"]]:
    """The rows and columns of the positive entries."""
    length = row_lengths(transitions)
    row = np.repeat(np.arange(len(length)), length)
    positive = transitions.data > 0  # a stored zero is no way
    return row[positive], transitions.indices[positive]


def recurrent_classes(transitions: csr_array, terminal: Bool[ndarray, " S"]) -> list[ndarray]:
    """The closed classes of a chain, as arrays of states; terminal states belong to none.

    >>> two = csr_array(np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> [c.tolist() for c in recurrent_classes(two, np.zeros(3, dtype=bool))]
    [[1], [2]]
    """
    row, column = _edges(transitions)
    graph = csr_array((np.ones(len(row)), (row, column)), shape=transitions.shape)
    count, label = connected_components(graph, directed=True, connection="strong")
    closed = np.ones(count, dtype=bool)
    closed[label[row[label[row] != label[column]]]] = False
    closed[label[terminal]] = False
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(count + 1))
    return [order[starts[c] : starts[c + 1]] for c in np.flatnonzero(closed)]
