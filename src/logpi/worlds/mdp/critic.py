"""Critics of the finite world: a table to be learned, or the exact values of the policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from logpi.worlds.mdp.exact.sums import action_values_over_time
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.steps import Steps

__all__ = ["ExactCritic", "TableQ", "TableV"]


class _HasProbabilities(Protocol):
    def probabilities(self) -> Float[ndarray, "S A"]:
        """π(a|s), detached."""
        ...


class TableV(nn.Module):
    """V(s), one number a state, 0 at first and always in terminal states."""

    def __init__(self, m: FiniteMDP) -> None:
        """A table as long as the model has states."""
        super().__init__()
        self.value = nn.Parameter(torch.zeros(m.states, dtype=torch.float64))
        self._alive = torch.from_numpy(~m.terminal).double()

    @torch.no_grad()
    def values(self, inputs: Steps) -> tuple[Tensor, Tensor]:
        """V(s_t) and V(s_{t+1}), [n, t] each."""
        table = self.value * self._alive
        return table[inputs.state], table[inputs.next_state]

    def loss(self, inputs: Steps, target: Tensor, weight: Tensor) -> Tensor:
        """Σ weight (V(s_t) − target)², its gradient added to the table's."""
        return _squared_error(self.value[inputs.state], target, weight)


class TableQ(nn.Module):
    """Q(s, a), one number an action; V(s) is its mean under the policy as it is."""

    def __init__(self, m: FiniteMDP, policy: _HasProbabilities) -> None:
        """A table of zeros, and the policy whose V(s') = Σ_a π(a|s') Q(s', a) is asked for."""
        super().__init__()
        self.q = nn.Parameter(torch.zeros(m.states, m.actions, dtype=torch.float64))
        self._policy = policy

    @torch.no_grad()
    def values(self, inputs: Steps) -> tuple[Tensor, Tensor]:
        """Q(s_t, a_t) and V(s_{t+1}), [n, t] each."""
        value = (torch.from_numpy(self._policy.probabilities()) * self.q).sum(1)
        return self.q[inputs.state, inputs.action], value[inputs.next_state]

    def loss(self, inputs: Steps, target: Tensor, weight: Tensor) -> Tensor:
        """Σ weight (Q(s_t, a_t) − target)², its gradient added to the table's."""
        return _squared_error(self.q[inputs.state, inputs.action], target, weight)

    def named_parameters(
        self, *args: object, **kwargs: object
    ) -> Iterator[tuple[str, nn.Parameter]]:  # type: ignore[override] # the policy is no part of it
        """The table alone."""
        return iter([("q", self.q)])


class ExactCritic:
    """V^π or Q^π of the policy as it is, solved anew for every batch: nothing is learned.

    Where a `horizon` ends the task, values depend on the number of decisions that are left; every
    row must begin where its trajectory does.
    """

    def __init__(
        self,
        m: FiniteMDP,
        policy: _HasProbabilities,
        *,
        of_actions: bool,
        horizon: int | None = None,
    ) -> None:
        """The model that is solved, and whether Q or V is given."""
        self._m, self._policy, self._of_actions = m, policy, of_actions
        self._horizon = horizon

    def values(self, inputs: Steps) -> tuple[Tensor, Tensor]:
        """V^π(s_t), or Q^π(s_t, a_t); and V^π(s_{t+1}): [n, t] each."""
        pi = np.asarray(self._policy.probabilities(), dtype=np.float64)
        q = action_values_over_time(self._m, pi, horizon=self._horizon)
        v = torch.from_numpy((pi * q).sum(2))
        time = torch.arange(inputs.state.shape[1])
        now = time.clamp(max=len(q) - 1)
        following = v[(time + 1).clamp(max=len(q) - 1), inputs.next_state]
        if self._horizon is not None:  # nothing follows the last decision
            following = torch.where(time + 1 < self._horizon, following, 0.0)
        if self._of_actions:
            return torch.from_numpy(q)[now, inputs.state, inputs.action], following
        return v[now, inputs.state], following

    def loss(self, inputs: Steps, target: Tensor, weight: Tensor) -> Tensor:
        """Σ weight (V^π(s_t) − target)²: the spread of the targets, since V^π is exact."""
        return (weight * (self.values(inputs)[0] - target).square()).sum()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """None."""
        return iter(())


def _squared_error(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    loss = (weight * (value - target).square()).sum()
    loss.backward()
    return loss.detach()
