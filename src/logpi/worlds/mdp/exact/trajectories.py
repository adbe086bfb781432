"""All trajectories of a finite MDP, each with its probability: counted first, then enumerated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact.tables import AnyPolicy, log_table
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.steps import Steps

__all__ = ["Trajectories", "count_trajectories", "longest", "trajectories"]


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Every trajectory of at most t decisions, in the order of states and actions; float64.

    p(τ) = start(s₀) Π_t π(a_t|s_t) P(s_{t+1}|s_t, a_t)

    Padded with 0 on the right of `length`. A trajectory that starts in a terminal state has no
    decision: its mask is False everywhere.
    """

    state: Int[Tensor, "n t"]
    action: Int[Tensor, "n t"]
    next_state: Int[Tensor, "n t"]
    reward: Float[Tensor, "n t"]
    mask: Bool[Tensor, "n t"]
    length: Int[Tensor, " n"]
    probability: Float[Tensor, " n"]  # under the policy, without gradient; sums to 1
    environment: Float[Tensor, " n"]  # start(s₀) Π P(s_{t+1}|s_t, a_t): without the policy's share
    terminated: Bool[Tensor, " n"]  # False where the trajectory was cut after t decisions

    @property
    def steps(self) -> Steps:
        """What a policy or critic of the model reads."""
        return Steps(self.state, self.action, self.next_state)

    def log_prob(self, table: Float[Tensor, "S A"]) -> Float[Tensor, "n t"]:
        """log π(a_t|s_t) under a policy's `table()`, with its gradient; 0 on the padding."""
        return torch.where(self.mask, table[self.state, self.action], 0.0)

    def returns(self, discount: float) -> Float[Tensor, " n"]:
        """R(τ) = Σ_t γ^t r_t."""
        power = discount ** torch.arange(self.reward.shape[1], dtype=self.reward.dtype)
        return (self.reward * power).sum(1)


def trajectories(
    m: FiniteMDP, policy: AnyPolicy, *, horizon: int | None = None, limit: int = 1_000_000
) -> Trajectories:
    """All trajectories that can happen, whatever the policy, with their probabilities.

    A trajectory ends in a terminal state, or is cut after `horizon` decisions; without a horizon,
    every trajectory must terminate by itself. Raises `ConfigError` where there are more than
    `limit`, which is known before anything is allocated, and where trajectories never end.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> m = from_dense(np.ones((2, 1, 1)), np.array([[1.0, 0.0]]), 1.0)
    >>> found = trajectories(m, TabularSoftmax(m, logits=np.log([[3.0, 1.0]])), horizon=2)
    >>> found.probability
    tensor([0.5625, 0.1875, 0.1875, 0.0625], dtype=torch.float64)
    """
    horizon = longest(m) if horizon is None else _checked(horizon)
    _check_count(count_trajectories(m, horizon=horizon), limit, horizon)
    moves = _Moves.of(m)
    start = np.flatnonzero(m.start)
    at, environment = start, m.start[start].astype(np.float64)
    path = np.zeros((len(start), 0), dtype=np.int64)
    for _ in range(horizon):
        if not moves.count[at].any():
            break
        # A trajectory that has ended is carried along, so that the order stays that of its states.
        fan = np.maximum(moves.count[at], 1)
        parent = np.repeat(np.arange(len(at)), fan)
        nth = np.arange(len(parent)) - np.repeat(np.cumsum(fan) - fan, fan)
        ended = moves.count[at][parent] == 0
        move = np.where(ended, -1, moves.first[at][parent] + nth)
        path = np.column_stack([path[parent], move])
        at = np.where(ended, at[parent], moves.successor[move])
        environment = environment[parent] * np.where(ended, 1.0, moves.probability[move])
    return _described(m, policy, moves, path=path, environment=environment, at=at)


def count_trajectories(m: FiniteMDP, *, horizon: int | None = None) -> int:
    """How many trajectories `trajectories` would return; exact below 2⁵³.

    N₀(s) = 1,   N_h(s) = Σ_{a, s'} [P(s'|s, a) > 0] N_{h−1}(s'),   and 1 in terminal states

    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense(np.ones((2, 1, 1)), np.array([[1.0, 0.0]]), 1.0)
    >>> count_trajectories(m, horizon=10)
    1024
    """
    branches = _branches(m)
    count = np.ones(m.states)
    for _ in range(longest(m) if horizon is None else _checked(horizon)):
        with np.errstate(over="ignore"):
            count = np.where(m.terminal, 1.0, branches @ count)
    total = float(count[m.start > 0].sum())
    return int(min(total, np.finfo(np.float64).max))


def longest(m: FiniteMDP) -> int:
    """The most decisions that a trajectory can take before it terminates.

    Raises `ConfigError` where a trajectory can return to a state, so that there is no longest.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> longest(from_dense(np.eye(2)[None, [1, 1]], np.ones((2, 1)), 1.0, terminal=[1]))
    1
    """
    graph = _branches(m, origin=True)  # the state before the first one leads to all start states
    reached = breadth_first_order(graph, m.states, return_predecessors=False)
    inner = graph[reached][:, reached]
    pieces, _ = connected_components(inner, directed=True, connection="strong")
    if pieces < len(reached) or inner.diagonal().any():
        raise ConfigError(
            f"trajectories of {m.name!r} can return to a state, so there is no longest one: give "
            "`horizon`, the number of decisions after which they are cut."
        )
    deciding, steps = np.append(~m.terminal, False), 0
    alive = np.append(m.start > 0, False) & deciding
    while alive.any():
        alive = (graph.T @ alive.astype(np.float64) > 0) & deciding
        steps += 1
    return steps


@dataclass(frozen=True, slots=True)
class _Moves:
    """Every (action, successor) that a state can take, state by state."""

    first: Int[ndarray, " S"]  # of each state, where its moves begin
    count: Int[ndarray, " S"]  # 0 in terminal states
    pair: Int[ndarray, " M"]  # s·A + a
    successor: Int[ndarray, " M"]
    probability: Float[ndarray, " M"]
    reward: Float[ndarray, " M"]

    @classmethod
    def of(cls, m: FiniteMDP) -> _Moves:
        p = m.transitions
        pair = np.repeat(np.arange(m.states * m.actions), np.diff(p.indptr))
        used = m.allowed.ravel()[pair] & (p.data > 0)
        pair = pair[used]
        count = np.bincount(pair // m.actions, minlength=m.states)
        expected = m.reward.ravel()[pair]
        return cls(
            first=np.cumsum(count) - count,
            count=count,
            pair=pair,
            successor=p.indices[used].astype(np.int64),
            probability=p.data[used].astype(np.float64),
            reward=expected if m.outcome_reward is None else m.outcome_reward[used],
        )


def _branches(m: FiniteMDP, *, origin: bool = False) -> csr_array:
    """[S, S]: by how many moves a state can follow another; with `origin`, a state S before all."""
    moves = _Moves.of(m)
    before, after = moves.pair // m.actions, moves.successor
    if origin:
        first = np.flatnonzero(m.start)
        before = np.append(before, np.full(len(first), m.states))
        after = np.append(after, first)
    size = m.states + origin
    return csr_array((np.ones(len(before)), (before, after)), shape=(size, size))


def _checked(horizon: int) -> int:
    if horizon < 1:
        raise ConfigError(f"horizon is {horizon} but a trajectory takes at least 1 decision.")
    return horizon


def _check_count(count: int, limit: int, horizon: int) -> None:
    if count > limit:
        many = f"{count:,}" if count < 10**15 else f"{count:.3g}"
        raise ConfigError(
            f"there are {many} trajectories of at most {horizon} decisions, more than the limit of "
            f"{limit:,}, so they are not enumerated. Lower `horizon`, take a smaller model, raise "
            "`limit` if the memory allows, or sample instead."
        )


def _described(
    m: FiniteMDP,
    policy: AnyPolicy,
    moves: _Moves,
    *,
    path: ndarray,
    environment: ndarray,
    at: ndarray,
) -> Trajectories:
    mask = path >= 0
    pair = np.where(mask, moves.pair[path], 0)
    state, action = torch.from_numpy(pair // m.actions), torch.from_numpy(pair % m.actions)
    taken, chance = torch.from_numpy(mask), torch.from_numpy(environment)
    logp = torch.where(taken, log_table(m, policy).detach()[state, action], 0.0)
    return Trajectories(
        state=state,
        action=action,
        next_state=torch.from_numpy(np.where(mask, moves.successor[path], 0)),
        reward=torch.from_numpy(np.where(mask, moves.reward[path], 0.0).astype(np.float64)),
        mask=taken,
        length=taken.sum(1),
        probability=chance * logp.sum(1).exp(),
        environment=chance,
        terminated=torch.from_numpy(m.terminal[at]),
    )
