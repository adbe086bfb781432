"""`Rows`: the trajectories that batches are made of, with everything a recipe may read of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from logpi.audit.critics import Values
from logpi.core.returns import trajectory_return
from logpi.worlds.mdp.exact.trajectories import Trajectories
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.steps import Steps

if TYPE_CHECKING:
    from logpi.worlds.mdp.rollout import Rollout

__all__ = ["Rows", "log_probs", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """n trajectories of at most t decisions, as a source would have drawn them; float64."""

    steps: Steps
    pair: Int[Tensor, "n t"]  # s·A + a; 0 where nothing was decided
    mask: Bool[Tensor, "n t"]
    reward: Float[Tensor, "n t"]
    discount: Float[Tensor, "n t"]
    end: Bool[Tensor, "n t"]
    total: Float[Tensor, " n"]  # R(τ), discounted from the start
    length: Int[Tensor, " n"]
    start: Int[Tensor, " n"]  # the first state; −1 where nothing was ever decided
    value: Float[Tensor, "n t"]
    next_value: Float[Tensor, "n t"]
    q: Float[Tensor, "n t"]
    logp_ref: Float[Tensor, "n t"]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.length)

    def take(self, index: Int[Tensor, " k"]) -> Rows:
        """These rows, in this order."""
        steps = Steps(
            *(x[index] for x in (self.steps.state, self.steps.action, self.steps.next_state))
        )
        others: dict[str, Any] = {
            f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "steps"
        }
        return Rows(steps=steps, **others)

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """The rows of several, padded to the longest."""
        if len(parts) == 1:
            return parts[0]
        width = max(part.mask.shape[1] for part in parts)

        def column(all_of: list[Tensor]) -> Tensor:
            if all_of[0].dim() == 1:
                return torch.cat(all_of)
            return torch.cat([torch.nn.functional.pad(x, (0, width - x.shape[1])) for x in all_of])

        steps = Steps(
            *(
                column([getattr(part.steps, n) for part in parts])
                for n in ("state", "action", "next_state")
            )
        )
        others: dict[str, Any] = {
            f.name: column([getattr(part, f.name) for part in parts])
            for f in fields(Rows)
            if f.name != "steps"
        }
        return Rows(steps=steps, **others)


def log_probs(rows: Rows, table: Float[Tensor, "S A"]) -> Float[Tensor, "n t"]:
    """log π(a_t|s_t) of every decision under a table of log-probabilities; 0 on the padding."""
    return torch.where(rows.mask, table.flatten()[rows.pair], 0.0)


def rows_of(
    m: FiniteMDP,
    walks: Trajectories | Rollout,
    *,
    horizon: int | None,
    values: Values,
    reference: Float[Tensor, "S A"],
) -> Rows:
    """The rows of walks, exactly as the world's source makes them: a horizon ends the task.

    A terminal state, and the task's own `horizon`, end an episode: the last discount is 0. A walk
    that was only cut keeps γ.
    """
    state, action, following = (
        torch.as_tensor(x).long() for x in (walks.state, walks.action, walks.next_state)
    )
    mask, length = torch.as_tensor(walks.mask), torch.as_tensor(walks.length).long()
    last = torch.arange(mask.shape[1]) == (length - 1)[:, None]
    over = torch.as_tensor(walks.terminated) | (horizon is not None and length >= horizon)
    # Not `where(..., 0.0, discount)`: of two Python numbers torch makes float32.
    discount = m.discount * (~(last & over[:, None])).double()
    reward = torch.where(mask, torch.as_tensor(walks.reward).double(), 0.0)
    steps = Steps(state, action, following)
    value, next_value, q = (torch.where(mask, x, 0.0) for x in values.at(steps))
    pair = state * m.actions + action
    return Rows(
        steps=steps,
        pair=pair,
        mask=mask,
        reward=reward,
        discount=discount,
        end=last,
        total=trajectory_return(reward, discount, last),
        length=length,
        start=torch.where(length > 0, state[:, 0], -1),
        value=value,
        next_value=next_value,
        q=q,
        logp_ref=torch.where(mask, reference.flatten()[pair], 0.0),
    )
