"""How walks through a model become rows of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from logpi.core.returns import trajectory_return
from logpi.core.types import Batch
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.rollout import Rollout
from logpi.worlds.mdp.steps import Steps

__all__ = ["batch_of_rollout", "returns_of", "take"]


def batch_of_rollout(
    m: FiniteMDP,
    walk: Rollout,
    *,
    horizon: int | None,
    policy: ndarray | None,
    group: Tensor | None = None,
    facts: Mapping[str, float] | None = None,
) -> Batch:
    """A row for each walk; `policy` [S, A] is what walked, None where nobody needs to know.

    A terminal state, and the task's own `horizon`, end an episode: the last discount is 0. A walk
    that was only cut keeps γ, and whatever has a critic bootstraps from the state it was cut in.
    """
    mask = walk.mask
    rows, width = mask.shape
    last = np.arange(width) == (walk.length - 1)[:, None]
    over = walk.terminated if horizon is None else walk.terminated | (walk.length >= horizon)
    discount = np.where(last & over[:, None], 0.0, m.discount)
    logp_old = None
    if policy is not None:
        taken = np.where(mask, policy[walk.state, walk.action], 1.0)
        logp_old = torch.from_numpy(np.log(taken))
    return Batch(
        inputs=Steps(*(torch.from_numpy(x) for x in (walk.state, walk.action, walk.next_state))),
        mask=torch.from_numpy(mask),
        reward=torch.from_numpy(np.where(mask, walk.reward, 0.0)),
        discount=torch.from_numpy(discount),
        end=torch.from_numpy(last),
        weight=torch.full((rows,), 1 / max(rows, 1), dtype=torch.float64),
        logp_old=logp_old,
        group=group,
        scored=torch.from_numpy(mask),
        facts=facts or {},
    )


def returns_of(batch: Batch) -> Tensor:
    """[n] the discounted return of each row."""
    return trajectory_return(batch.reward, batch.discount, batch.end)


def take(batch: Batch, rows: Tensor, **changed: Any) -> Batch:
    """These rows of a batch, weighed equally, with some fields replaced."""
    inputs: Steps = batch.inputs

    def of(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[rows]

    known: dict[str, Any] = {
        "mask": batch.mask[rows],
        "reward": batch.reward[rows],
        "discount": batch.discount[rows],
        "end": batch.end[rows],
        "logp_old": of(batch.logp_old),
        "group": of(batch.group),
        "scored": of(batch.scored),
        "baseline": of(batch.baseline),
        "facts": batch.facts,
    }
    return Batch(
        inputs=Steps(inputs.state[rows], inputs.action[rows], inputs.next_state[rows]),
        weight=torch.full((len(rows),), 1 / max(len(rows), 1), dtype=torch.float64),
        **{**known, **changed},
    )
