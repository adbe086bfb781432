"""Values of the audited policy over time: exact, or given to see what a wrong critic does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from logpi.core.errors import ShapeError
from logpi.worlds.mdp.exact.sums import action_values_over_time
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.steps import Steps

__all__ = ["Values", "exact_values", "given_values"]


@dataclass(frozen=True, slots=True)
class Values:
    """A critic as tables over time: V_t(s) and Q_t(s, a); one table where time does not matter."""

    v: Float[Tensor, "h1 S"]  # with a horizon, h + 1 tables: the last one follows the last decision
    q: Float[Tensor, "h S A"]
    name: str

    def at(self, steps: Steps) -> tuple[Tensor, Tensor, Tensor]:
        """V_t(s_t), V_{t+1}(s_{t+1}) and Q_t(s_t, a_t) of every decision, [n, t] each."""
        time = torch.arange(steps.state.shape[1])
        last_v, last_q = len(self.v) - 1, len(self.q) - 1
        return (
            self.v[time.clamp(max=last_v), steps.state],
            self.v[(time + 1).clamp(max=last_v), steps.next_state],
            self.q[time.clamp(max=last_q), steps.state, steps.action],
        )


def exact_values(m: FiniteMDP, pi: Float[ndarray, "S A"], *, horizon: int | None) -> Values:
    """V^π and Q^π, with the number of decisions that are left where a horizon ends the task.

    V_h = 0,   Q_t(s, a) = r(s, a) + γ Σ_s' p(s'|s, a) V_{t+1}(s'),   V_t(s) = Σ_a π(a|s) Q_t(s, a)

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> exact_values(bandit([1.0, 3.0], policy=[0.5, 0.5]), np.full((2, 2), 0.5), horizon=1).v[
    ...     0
    ... ].tolist()
    [2.0, 0.0]
    """
    q = action_values_over_time(m, pi, horizon=horizon)
    v = (pi * q).sum(2)
    if horizon is None:
        return Values(_tensor(v), _tensor(q), "exact V^π, Q^π")
    v = np.concatenate([v, np.zeros((1, m.states))])
    return Values(_tensor(v), _tensor(q), f"exact V^π, Q^π of {horizon} decisions")


def given_values(m: FiniteMDP, pi: Float[ndarray, "S A"], table: ArrayLike) -> Values:
    """A critic that somebody gives, V [S] or Q [S, A], to see what a wrong one does.

    From Q, V(s) = Σ_a π(a|s) Q(s, a); from V, Q is the one-step backup. Both are 0 in terminal
    states. Raises `ShapeError` for another shape.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> m = bandit([1.0, 3.0], policy=[0.5, 0.5])
    >>> given_values(m, np.full((2, 2), 0.5), [7.0, 0.0]).v.tolist()
    [[7.0, 0.0]]
    """
    x = np.asarray(table, dtype=np.float64)
    if x.shape == m.allowed.shape:
        q = np.where(m.allowed, x, 0.0)
        v = (pi * q).sum(1)
    elif x.shape == (m.states,):
        v = np.where(m.terminal, 0.0, x)
        q = np.where(m.allowed, m.reward + m.discount * (m.transitions @ v).reshape(pi.shape), 0.0)
    else:
        raise ShapeError(
            f"`critic` is {list(x.shape)} but must be V [{m.states}] or Q {list(m.allowed.shape)}, "
            'or "exact".'
        )
    return Values(_tensor(v)[None], _tensor(q)[None], "a given critic")


def _tensor(x: ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))
