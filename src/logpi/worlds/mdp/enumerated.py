"""Every trajectory, group or pair as rows of the batch, weighed by probability: no noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from logpi.core.returns import trajectory_return
from logpi.core.types import Batch
from logpi.worlds.mdp.exact import Trajectories, trajectories
from logpi.worlds.mdp.exact.units import Draws, Plan, every_batch
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["MOST", "EnumeratedSource", "batch_of_trajectories"]

MOST = 200_000
"""The most groups or pairs of a batch: each is several rows, drawn anew at every iteration."""


def batch_of_trajectories(m: FiniteMDP, policy: SoftmaxPolicy, *, horizon: int | None) -> Batch:
    """All trajectories of the policy; `weight` is p(τ), so a weighted sum is an expectation.

    Raises `ConfigError`, with the count, where there are too many.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("bandit", means=(0.0, 1.0))
    >>> batch_of_trajectories(m, TabularSoftmax(m), horizon=None).weight.tolist()
    [0.5, 0.5]
    """
    walks = _Walks.of(m, policy, horizon=horizon)
    with torch.no_grad():
        logp = walks.found.log_prob(policy.table())
    return walks.batch(torch.arange(len(logp)), walks.found.probability, logp_old=logp)


class EnumeratedSource:
    """All trajectories, every time; or all groups, pairs, rows and greedy ones, by a plan.

    Weights are probabilities, so a step is that of a batch of endlessly many rows, groups or pairs:
    where an averaging divides by a constant of a row, or by nothing, the exact mean of the steps
    that sampled batches take. `per_token` divides by what is expected of the batch instead.

    `behaviour` [S, A] draws instead of the policy; its log-probabilities are recorded only where
    `recorded` says so.
    """

    def __init__(
        self,
        m: FiniteMDP,
        *,
        horizon: int | None,
        plan: Plan | None = None,
        behaviour: Float[ndarray, "S A"] | None = None,
        recorded: bool = True,
    ) -> None:
        """The model, after how many decisions its task is over, and what is compared."""
        self._m, self._horizon, self._plan = m, horizon, plan
        self._behaviour, self._recorded = behaviour, recorded

    def draw(self, policy: SoftmaxPolicy, iteration: int) -> Batch:
        """The rows, weighed by the policy as it is. Raises `ConfigError` where there are many."""
        del iteration
        if self._plan is None:
            return batch_of_trajectories(self._m, policy, horizon=self._horizon)
        walks = _Walks.of(self._m, policy, horizon=self._horizon)
        law = policy.table().detach() if self._behaviour is None else _log(self._behaviour)
        greedy = None
        if self._plan.compare == "greedy":
            best = np.eye(self._m.actions)[policy.probabilities().argmax(1)] * self._m.allowed
            greedy = walks.law(_log(best))
        draws = every_batch(walks, walks.law(law), self._plan, greedy=greedy, limit=MOST)
        recorded = self._recorded or self._behaviour is None
        return walks.batch_of(draws, logp_old=walks.found.log_prob(law) if recorded else None)

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


@dataclass(frozen=True, slots=True)
class _Walks:
    """All trajectories with their discounts: what batches are made of."""

    found: Trajectories
    discount: Float[Tensor, "n t"]
    end: Any
    start: Int[Tensor, " n"]
    total: Float[Tensor, " n"]

    @classmethod
    def of(cls, m: FiniteMDP, policy: SoftmaxPolicy, *, horizon: int | None) -> _Walks:
        found = trajectories(m, policy, horizon=horizon)
        last = torch.arange(found.mask.shape[1]) == (found.length - 1)[:, None]
        over = last & (found.terminated[:, None] | (horizon is not None))
        discount = m.discount * (~over).double()
        first = torch.where(found.length > 0, found.state[:, 0], -1)
        return cls(found, discount, last, first, trajectory_return(found.reward, discount, last))

    def law(self, table: Float[Tensor, "S A"]) -> Float[Tensor, " n"]:
        """p(τ) under a table of log-probabilities."""
        return self.found.environment * self.found.log_prob(table).sum(1).exp()

    def batch(
        self,
        index: Int[Tensor, " r"],
        weight: Float[Tensor, " r"],
        *,
        logp_old: Float[Tensor, "n t"] | None,
        **others: Tensor | None,
    ) -> Batch:
        """These trajectories as rows."""
        found, length = self.found, self.found.length[index].double()
        facts = {"return": weight @ self.total[index], "episode_length": weight @ length}
        steps = found.steps
        return Batch(
            inputs=type(steps)(*(x[index] for x in (steps.state, steps.action, steps.next_state))),
            mask=found.mask[index],
            reward=found.reward[index],
            discount=self.discount[index],
            end=self.end[index],
            weight=weight,
            logp_old=None if logp_old is None else logp_old[index],
            scored=found.mask[index],
            facts={name: float(x) for name, x in facts.items()},
            **others,
        )

    def batch_of(self, draws: Draws, *, logp_old: Float[Tensor, "n t"] | None) -> Batch:
        """Every unit's rows, each with its share of the unit's probability."""
        units, k = draws.rows.shape
        return self.batch(
            draws.rows.flatten(),
            (draws.probability / k).repeat_interleave(k),
            logp_old=logp_old,
            group=torch.arange(units).repeat_interleave(k),
            baseline=None if draws.baseline is None else draws.baseline.flatten(),
        )


def _log(pi: Float[ndarray, "S A"]) -> Float[Tensor, "S A"]:
    return torch.from_numpy(np.asarray(pi, dtype=np.float64)).log()
