"""The average reward: gain and bias, for any finite model, multichain or not."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.bellman import best_actions
from logpi.worlds.mdp.planning.certificate import EPSILON
from logpi.worlds.mdp.planning.chain import Chain, chain_of, recurrent_classes
from logpi.worlds.mdp.planning.circles import collapsed, end_components
from logpi.worlds.mdp.planning.evaluate import class_distribution
from logpi.worlds.mdp.planning.linear import solve_identity_minus
from logpi.worlds.mdp.planning.operators import Operator, operator_of
from logpi.worlds.mdp.planning.policies import as_probabilities, deterministic
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration
from logpi.worlds.mdp.planning.search import check_tolerance, refuse_tolerance
from logpi.worlds.mdp.solution import Solution

__all__ = ["AverageReward", "average_reward", "gain_and_bias"]

MOST = 10_000
"""Policy iteration takes a few steps; after so many, rounding has made it run in circles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageReward:
    """A policy that earns the most a step in the long run, from every state.

    |gain − g*| ≤ bound everywhere, certified. The bias is the policy's own: what starting in a
    state is worth more than starting in the long run. Of several policies with the best gain it
    need not be the one with the best bias.
    """

    gain: Float[ndarray, " S"]  # the reward a step in the long run, from each state
    bias: Float[ndarray, " S"]
    q: Float[ndarray, "S A"]  # r + P h − g; −inf where the action is not allowed
    policy: Int[ndarray, " S"]
    bound: float
    improvements: int
    seconds: float  # CPU seconds of this thread

    def solution(self, m: FiniteMDP) -> Solution:
        """As a `Solution`: the value is the bias, `facts["gain"]` the gain from the model's start.

        >>> from logpi.worlds.mdp.zoo import make
        >>> m = make("two_state")
        >>> average_reward(m).solution(m).facts["gain"]
        1.0
        """
        return Solution(
            value=self.bias.astype(m.dtype),
            q=self.q.astype(m.dtype),
            policy=self.policy,
            bound=self.bound,
            method="average reward, Howard's multichain policy iteration",
            sweeps=self.improvements,
            seconds=self.seconds,
            facts={
                "gain": float(m.start @ self.gain),
                "least gain": float(self.gain.min()),
                "largest gain": float(self.gain.max()),
            },
        )


def average_reward(m: FiniteMDP, *, tolerance: float = 1e-6) -> AverageReward:
    """A policy with the best gain, by Howard's multichain policy iteration; m's discount is unused.

    g(s) = max_a Σ p g,   g(s) + h(s) = max_a [r + Σ p h] over the a that attain it

    Howard 1960; Puterman 1994, sec. 9.2. A terminal state earns 0 for ever. The bound has a proof
    of its own: in each maximal end component the gain lies between the least and the largest change
    of one backup of h (Puterman, sec. 8.5.1), and which component to end in is a problem in which
    every policy ends, whose solution is certified as any other's.

    Raises `ConfigError` where rounding hides the tolerance.

    >>> from logpi.worlds.mdp.zoo import make
    >>> average_reward(make("two_state")).gain
    array([1., 1.])
    """
    began = time.thread_time()
    check_tolerance(tolerance)
    op = operator_of(m.having(discount=1.0))
    policy, gain, bias, steps = _howard(op)
    best, bound = _certified_gain(m)
    bound += float(np.abs(best - gain).max())
    if bound > tolerance:
        raise refuse_tolerance(m, tolerance, bound)
    return AverageReward(
        gain=gain,
        bias=bias,
        q=op.q(bias) - gain[:, None],
        policy=np.where(m.terminal, -1, policy),
        bound=bound,
        improvements=steps,
        seconds=time.thread_time() - began,
    )


def gain_and_bias(
    m: FiniteMDP, policy: ArrayLike
) -> tuple[Float[ndarray, " S"], Float[ndarray, " S"]]:
    """A policy's gain g and bias h [S]; the discount is unused, a terminal state earns 0 for ever.

    g = P g,   g + h = r + P h,   P* h = 0           Puterman 1994, sec. 8.2.3 and thm 8.2.6

    >>> from logpi.worlds.mdp.zoo import make
    >>> gain_and_bias(make("two_state"), [2, 0])
    (array([0.5, 0.5]), array([ 0.25, -0.25]))
    """
    return _chain_gain(chain_of(m, as_probabilities(m, policy)))


def _chain_gain(chain: Chain) -> tuple[Float[ndarray, " S"], Float[ndarray, " S"]]:
    states = len(chain.reward)
    gain, bias = np.zeros(states), np.zeros(states)
    recurrent = chain.terminal.copy()
    for members in recurrent_classes(chain.transitions, chain.terminal):
        d = class_distribution(chain, members)
        gain[members] = d @ chain.reward[members]
        hub = int(d.argmax())  # h is solved for with h(hub) = 0, then shifted
        others = np.delete(np.arange(len(members)), hub)
        within = chain.transitions[members][:, members][others][:, others]
        excess = (chain.reward - gain)[members[others]]
        h = np.zeros(len(members))
        if len(others):
            h[others] = solve_identity_minus(within, excess)
        bias[members] = h - d @ h
        recurrent[members] = True
    passing = np.flatnonzero(~recurrent)
    if len(passing):
        rows = chain.transitions[passing]
        within = rows[:, passing]
        gain[passing] = solve_identity_minus(within, rows @ gain)
        excess = chain.reward[passing] - gain[passing] + rows @ bias
        bias[passing] = solve_identity_minus(within, excess)
    return gain, bias


def _howard(
    op: Operator,
) -> tuple[Int[ndarray, " S"], Float[ndarray, " S"], Float[ndarray, " S"], int]:
    """The policy, its gain and bias, and the number of policies tried."""
    policy = best_actions(op.reward)
    states = np.arange(op.m.states)
    gain, bias = np.zeros(len(states)), np.zeros(len(states))
    for step in range(1, MOST):
        gain, bias = _chain_gain(chain_of(op.m, deterministic(op.m, policy)))
        ahead = (op.transitions @ gain).reshape(op.reward.shape)
        ahead = np.where(op.m.allowed, ahead, -np.inf)
        q = op.q(bias)
        slack = 1e-12 * (op.contraction.reward + float(np.abs(gain).max()))
        among = ahead >= (ahead.max(1) - slack)[:, None]
        q = np.where(among & op.m.allowed, q, -np.inf)
        noise = 1e-12 * (op.contraction.reward + float(np.abs(bias).max()))
        better = ~among[states, policy] | (q.max(1) > q[states, policy] + noise)
        better &= op.live
        if not better.any():
            return policy, gain, bias, step
        # First the gain alone: only where no gain can be improved does the bias decide.
        lifted = ~among[states, policy] & op.live
        policy = np.where(lifted if lifted.any() else better, q.argmax(1), policy)
    return policy, gain, bias, MOST


def _certified_gain(m: FiniteMDP) -> tuple[Float[ndarray, " S"], float]:
    """The best gain of every state, and a certified bound on its error."""
    number, stays = end_components(m, m.allowed)
    inner = operator_of(m.having(allowed=stays, discount=1.0, policy=None))
    _, _, bias, _ = _howard(inner)
    q = inner.q(bias)
    change = np.where(number >= 0, inner.best(q) - bias, 0.0)
    low = np.full(int(number.max()) + 2, np.inf)  # one more, for states in no component
    high = -low
    np.minimum.at(low, number, change)
    np.maximum.at(high, number, change)
    low[-1] = high[-1] = 0.0
    middle, radius = (low + high)[number] / 2, (high - low)[number] / 2
    payment = np.where(number >= 0, middle, 0.0)
    # An average is of rows that sum to 1: what the stored ones lack counts as an error.
    k = inner.contraction
    leak = max(k.high - 1, 1 - k.low, 0.0) * float(np.abs(bias).max())
    error = float(np.where(number >= 0, radius, 0.0).max()) + k.rounding(bias) + leak
    error += EPSILON * float(np.abs(payment).max())
    outer = _with_end(m)
    view = collapsed(
        outer, np.append(number, -1), np.vstack([stays, stays[:1] & False]), np.append(payment, 0.0)
    )
    found = policy_iteration(view.m, tolerance=1e300)
    return view.read(found).value[:-1].astype(np.float64), found.bound + error


def _with_end(m: FiniteMDP) -> FiniteMDP:
    """The undiscounted model with one more state, a terminal one, and no reward, in float64."""
    t, states = m.transitions, m.states + 1
    indptr = np.concatenate([t.indptr, np.full(m.actions, t.indptr[-1], dtype=t.indptr.dtype)])
    shape = (states * m.actions, states)
    return replace(
        m,
        transitions=csr_array((t.data.astype(np.float64), t.indices, indptr), shape=shape),
        reward=np.zeros((states, m.actions)),
        allowed=np.vstack([m.allowed, np.zeros((1, m.actions), dtype=bool)]),
        start=np.append(m.start, np.zeros(1, dtype=m.start.dtype)),
        discount=1.0,
        outcome_reward=None,
        policy=None,
        layout=type(m.layout)(),
    )
