"""Going round at no cost: with discount 1, the model in which it has been taken out.

Where a set of states can be kept to for ever, by actions of reward 0 (bumping into a wall, staying
where one is), every constant solves Bellman's equation there, and no iteration from above can be
trusted. Such a set, a *maximal end component*, has one value: one may go wherever in it one likes,
and then leave by the best way out, or never, for 0.   de Alfaro 1997, sec. 3.3
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.endings import hitting_policy, steps_to
from logpi.worlds.mdp.solution import Iterate, Solution

__all__ = ["View", "collapsed", "end_components", "without_circles"]


def end_components(
    m: FiniteMDP, usable: Bool[ndarray, "S A"]
) -> tuple[Int[ndarray, " S"], Bool[ndarray, "S A"]]:
    """The number of each state's maximal end component (−1 for none), and the actions that stay.

    The components are the largest sets of states that usable actions can keep to for ever, and in
    which they lead from every state to every other. Found by taking out, again and again, what
    leaves its strongly connected component.           de Alfaro 1997, algorithm 3.1

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state")
    >>> end_components(m, m.reward >= 0)[0]
    array([0, 0])
    """
    t = m.transitions
    positive = t.data > 0
    pair = np.repeat(np.arange(m.states * m.actions), np.diff(t.indptr))[positive]
    successor = t.indices[positive]
    stays = (usable & m.allowed).ravel()
    while True:
        use = stays[pair]
        edges = (pair[use] // m.actions, successor[use])
        graph = csr_array((np.ones(len(edges[0])), edges), shape=(m.states, m.states))
        _, label = connected_components(graph, directed=True, connection="strong")
        leaving = pair[use][label[edges[0]] != label[edges[1]]]
        if not stays[leaving].any():
            break
        stays[leaving] = False
    stays = stays.reshape(m.reward.shape)
    member = stays.any(1)
    number = np.full(m.states, -1)
    number[member] = np.unique(label[member], return_inverse=True)[1]
    return number, stays


@dataclass(frozen=True, slots=True)
class View:
    """A model without its free circles, `m`, and how to read a solution of it in the original.

    The states of a component become a line: in each one may leave as before, or go on to the next;
    in the last, stop. Whoever would enter the component enters at its head, the first of the line,
    whose value is therefore the value of all. The shape [S, A] stays what it was.
    """

    original: FiniteMDP
    m: FiniteMDP
    head: Int[ndarray, " S"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    slot: Int[ndarray, " S"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    stays: Bool[ndarray, "S A"] = field(default_factory=lambda: np.empty((0, 0), dtype=bool))

    def enter(self, policy: Int[ndarray, " S"]) -> Int[ndarray, " S"]:
        """The original's policy in the view: to stay in a component is to go on along its line."""
        if not len(self.head):
            return policy
        staying = (self.slot >= 0) & self.stays[np.arange(len(policy)), policy]
        return np.where(staying, self.slot, policy)

    def read(self, found: Solution) -> Solution:
        """The solution of the original; its policy goes to where each component is best left.

        Where it is best never left, the policy goes round for ever, at no cost.
        """
        if not len(self.head):
            return found
        return replace(
            found,
            value=found.value[self.head],
            q=self._q(found.value, found.q),
            policy=self._policy(found.policy),
            history=tuple(self._iterate(k) for k in found.history),
        )

    def _iterate(self, k: Iterate) -> Iterate:
        return Iterate(
            value=k.value[self.head],
            q=None if k.q is None else self._q(k.value, k.q),
            policy=None if k.policy is None else self._policy(k.policy),
        )

    def _q(self, v: Float[ndarray, " S"], q: Float[ndarray, "S A"]) -> Float[ndarray, "S A"]:
        own = np.where(self.stays, v[self.head][:, None], q)
        return np.where(self.original.allowed, own, -np.inf)

    def _policy(self, policy: ndarray) -> ndarray:
        inside, states = self.slot >= 0, len(policy)
        leaves = np.flatnonzero(inside & (policy != self.slot))
        first = np.full(states, states)  # the first of the line that leaves it
        np.minimum.at(first, self.head[leaves], leaves)
        left_at = first[self.head]
        target = np.zeros(states, dtype=bool)
        target[left_at[inside & (left_at < states)]] = True
        way = steps_to(self.original, target, self.stays)
        round_and_round = self.stays.argmax(1)
        moving = np.where(left_at < states, way, round_and_round)
        return np.where(inside & ~target, moving, policy)


def without_circles(m: FiniteMDP) -> View:
    """The view of the model to solve in; with a discount below 1, the model itself.

    Raises `ModelError`, naming the state, where discount is 1 and no policy can end.

    >>> from logpi.worlds.mdp.zoo import make
    >>> view = without_circles(make("maze", discount=1.0))
    >>> bool(view.m.allowed.sum() < make("maze").allowed.sum())
    True
    """
    if m.discount < 1:
        return View(m, m)
    hitting_policy(m)
    number, stays = end_components(m, m.reward == 0)
    return collapsed(m, number, stays) if stays.any() else View(m, m)


def collapsed(
    m: FiniteMDP,
    number: Int[ndarray, " S"],
    stays: Bool[ndarray, "S A"],
    payment: Float[ndarray, " S"] | None = None,
) -> View:
    """The view of a model in which its end components are lines; some state must be terminal.

    `payment` is what each state's component pays for stopping in it, 0 where it is not given.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("maze", discount=1.0)
    >>> collapsed(m, *end_components(m, m.reward == 0)).m.states == m.states
    True
    """
    line = np.lexsort((np.arange(m.states), number))
    line = line[number[line] >= 0]
    first, last = np.ones(len(line), dtype=bool), np.ones(len(line), dtype=bool)
    first[1:] = np.diff(number[line]) > 0
    last[:-1] = first[1:]
    head = np.arange(m.states)
    head[line] = line[first][number[line]]
    after = np.where(last, int(np.argmax(m.terminal)), np.roll(line, -1))
    slot = np.where(number >= 0, stays.argmax(1), -1)
    allowed = m.allowed & ~stays
    allowed[line, slot[line]] = True
    transitions = _redirected(m, head, line * m.actions + slot[line], after)
    reward = m.reward.copy()
    reward[line, slot[line]] = 0
    if payment is not None:
        reward[line[last], slot[line[last]]] = payment[line[last]]
    view = replace(
        m,
        transitions=transitions,
        reward=reward,
        allowed=allowed,
        outcome_reward=None,
        policy=None,
    )
    return View(m, view, head, slot, stays)


def _redirected(
    m: FiniteMDP, head: Int[ndarray, " S"], rows: Int[ndarray, " k"], after: Int[ndarray, " k"]
) -> csr_array:
    """The transitions with every entry made at a head, and sure jumps in some rows."""
    t = m.transitions
    shape = (m.states * m.actions, m.states)
    kept = np.ones(shape[0], dtype=t.dtype)
    kept[rows] = 0
    data = t.data * np.repeat(kept, np.diff(t.indptr))
    entered = csr_array((data, head[t.indices], t.indptr), shape=shape)
    jumps = csr_array((np.ones(len(rows), dtype=t.dtype), (rows, after)), shape=shape)
    return csr_array(entered + jumps)
