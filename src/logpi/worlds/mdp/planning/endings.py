"""Models whose episodes end: proper policies, and bounds that hold with discount 1 as well.

Where some state is terminal, the time to the end takes the place of 1/(1 − γ).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from logpi.core.errors import ModelError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.certificate import EPSILON
from logpi.worlds.mdp.planning.chain import can_reach, chain_of, recurrent_classes
from logpi.worlds.mdp.planning.evaluate import class_distribution
from logpi.worlds.mdp.planning.linear import solve_identity_minus
from logpi.worlds.mdp.planning.operators import Operator
from logpi.worlds.mdp.planning.policies import deterministic

__all__ = ["earns_for_ever", "hitting_policy", "sandwich", "steps_to"]


ROUNDS = 50
"""Steps of each iteration of a proof before it is given up."""


def hitting_policy(m: FiniteMDP) -> Int[ndarray, " S"]:
    """A proper policy: in every state the first action that can bring the end one step closer.

    Raises `ModelError`, naming the first state from which no policy can reach a terminal one.

    >>> from logpi.worlds.mdp.zoo import make
    >>> bool((hitting_policy(make("cliff")) >= 0).sum())
    True
    """
    policy = steps_to(m, m.terminal, m.allowed)
    lost = (policy < 0) & ~m.terminal
    if lost.any():
        raise ModelError(
            f"{m.name}: with discount 1 every state must be able to reach a terminal one, and from "
            f"state {int(np.argmax(lost))} no policy does. Use a discount below 1, or say which "
            "states end the episode: `terminal=` where the model is built."
        )
    return policy


def steps_to(
    m: FiniteMDP, target: Bool[ndarray, " S"], usable: Bool[ndarray, "S A"]
) -> Int[ndarray, " S"]:
    """The first usable action that can come one step closer to `target`; −1 in it or without a way.

    >>> from logpi.worlds.mdp.zoo import make
    >>> steps_to(make("two_state"), np.array([False, True]), np.ones((2, 3), dtype=bool))
    array([ 2, -1])
    """
    t = m.transitions
    pair = np.repeat(np.arange(m.states * m.actions), np.diff(t.indptr))
    use = (t.data > 0) & usable.ravel()[pair]
    pair, successor = pair[use], t.indices[use]
    state = pair // m.actions
    # The search runs backwards from one more vertex, number S, which leads to every target.
    ends = np.flatnonzero(target)
    edges = (
        np.concatenate([successor, np.full(len(ends), m.states)]),
        np.concatenate([state, ends]),
    )
    graph = csr_array((np.ones(len(edges[0])), edges), shape=(m.states + 1, m.states + 1))
    _, parent = breadth_first_order(graph, m.states, return_predecessors=True)
    closer = successor == parent[state]
    closer &= ~target[state]
    found = np.full(m.states, m.actions)
    np.minimum.at(found, state[closer], pair[closer] % m.actions)
    return np.where(found == m.actions, -1, found)


def earns_for_ever(m: FiniteMDP, policy: Int[ndarray, " S"]) -> tuple[int, float] | None:
    """A state to which the policy returns for ever, and the reward a step there; None if it ends.

    Where several classes recur, the one that earns the most.

    >>> from logpi.worlds.mdp.zoo import make
    >>> earns_for_ever(make("two_state"), np.array([2, 1]))
    (1, 1.0)
    """
    chain = chain_of(m, deterministic(m, policy))
    if can_reach(chain.transitions, chain.terminal).all():
        return None
    found = [
        (int(states[0]), float(class_distribution(chain, states) @ chain.reward[states]))
        for states in recurrent_classes(chain.transitions, chain.terminal)
    ]
    return max(found, key=lambda pair: pair[1])


def sandwich(
    op: Operator,
    v: Float[ndarray, " S"],
    q: Float[ndarray, "S A"],
    policy: Int[ndarray, " S"],
) -> tuple[float, float] | None:
    """Certified bounds on |q − q*| and on what the policy loses: q is v's backup, π greedy for it.

    v − w ≤ T_π (v − w)   and   T (v + w) ≤ v + w   ⇒   v − w ≤ v_π ≤ v* ≤ v + w

    w(s) is what the changes T v − v and all rounding can add up to from s to the end, under the
    worst policy that is nearly greedy; both inequalities are then checked, with room for rounding.
    They hold strictly, so that with discount 1 no policy that goes on for ever is worth having and
    v* is unique (Bertsekas & Tsitsiklis 1991). As max q is within the same bound of v*, it holds
    for values too.

    None where the attempt proves nothing: v is too far from v*, or going on for ever costs nothing.
    """
    near = np.zeros(q.shape, dtype=bool)
    near[op.live, policy[op.live]] = True
    own = np.abs(op.best(q) - v) + 4 * op.rounding(v).max(1)
    if not own.any():  # nothing is earned anywhere, and v is 0
        return 0.0, 0.0
    own = np.maximum(own, 1e-6 * own.max())  # a share of its own for every state
    weight, slowest = own, policy.copy()
    for _ in range(ROUNDS):
        weight = _longest(op, near, own, (slowest, weight))
        if weight is None:
            return None
        above = v + weight
        worse = (op.q(above) + 2 * op.rounding(above) > above[:, None]) & op.m.allowed
        if not worse.any():
            return _enclosed(op, q, policy, (v - weight, above))
        if not (worse & ~near).any():
            return None
        near |= worse
    return None


def _enclosed(
    op: Operator,
    q: Float[ndarray, "S A"],
    policy: Int[ndarray, " S"],
    between: tuple[Float[ndarray, " S"], Float[ndarray, " S"]],
) -> tuple[float, float] | None:
    """The two bounds, where the lower value passes its test as the upper has passed its own."""
    below, above = between
    over, under = op.q(above), op.q(below)
    live, used = op.live, op.m.allowed
    worst = under - 2 * op.rounding(below)
    if not (worst[live, policy[live]] >= below[live]).all():
        return None
    gap = float(np.maximum(over[used] - q[used], q[used] - under[used]).max(initial=0.0))
    room = 4 * float(op.rounding(np.maximum(np.abs(above), np.abs(below))).max())
    return gap + room, float((above - below).max()) * (1 + EPSILON)


def _longest(
    op: Operator,
    near: Bool[ndarray, "S A"],
    own: Float[ndarray, " S"],
    begin: tuple[Int[ndarray, " S"], Float[ndarray, " S"]],
) -> Float[ndarray, " S"] | None:
    """w > own + γPw for all actions from `near`: the most of `own` to be met on the way to the end.

    By policy iteration from where one begins, a policy, which is changed in place, and a weight.
    None with discount 1 where some policy goes on for ever.
    """
    (policy, weight), live, discount = begin, op.live, op.m.discount
    states, ahead = np.arange(len(policy)), np.zeros(near.shape)
    for _ in range(ROUNDS):
        chain = chain_of(op.m, deterministic(op.m, np.where(live, policy, -1)))
        if discount == 1 and not can_reach(chain.transitions, chain.terminal).all():
            return None
        future = discount * chain.transitions
        weight = solve_identity_minus(future, own, x=weight, enough=0.1 * float(own.min()))
        ahead = discount * (op.transitions @ weight).reshape(near.shape)
        ahead = np.where(near, ahead, -np.inf)
        longer = live & (ahead.max(1) > ahead[states, policy] + 0.2 * own)
        if not longer.any():
            break
        policy[longer] = ahead.argmax(1)[longer]
    share = ((weight - ahead.max(1))[live] / own[live]).min(initial=1.0)
    return weight * (1.2 / share) if share > 0.1 else None
