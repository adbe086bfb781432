"""Recorded behaviour: rollouts that are kept, and drawn from when the policy has moved on."""

from __future__ import annotations

from collections import deque
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.types import Batch
from logpi.worlds.gym.rollout import randomness
from logpi.worlds.gym.steps import Steps

__all__ = ["ReplaySource"]

_STEPS = ("observation", "action", "action_mask", "final")
_BATCH = ("mask", "reward", "discount", "end", "logp_old", "scored")


class _Draws(Protocol):
    def draw(self, policy: Any, iteration: int) -> Batch:
        """The batch of this iteration."""
        ...

    def state(self) -> dict[str, Any]:
        """Where the source is, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


class ReplaySource:
    """New rows, and `again` times as many of the last `kept` rollouts, as they were recorded.

    A row keeps the log-probabilities that its decisions had when they were taken: its behaviour
    policy is the one that played it. Which rows are drawn follows from (seed, iteration); the rows
    that are kept are part of a checkpoint.
    """

    def __init__(self, source: _Draws, *, kept: int, again: int, seed: int) -> None:
        """`source` plays rollouts that all have as many rows and decisions.

        Raises `ConfigError` where nothing would be kept.
        """
        if kept < 1 or again < 0:
            raise ConfigError(
                f"a replay of {kept} rollouts, drawn from {again} times, holds nothing. Set "
                "world.replay to at least 1, and world.replayed to at least 0."
            )
        self._source, self._again, self._seed = source, again, seed
        self._kept: deque[dict[str, Tensor]] = deque(maxlen=kept)

    def draw(self, policy: Any, iteration: int) -> Batch:
        """The rows that were just played, then older ones."""
        fresh = self._source.draw(policy, iteration)
        new = _rows_of(fresh)
        parts = [new, *self._drawn(iteration, self._again * fresh.rows)]
        self._kept.append({name: x.clone() for name, x in new.items()})
        old = sum(len(p["mask"]) for p in parts[1:])
        facts = {**fresh.facts, "replayed": old / (old + fresh.rows)}
        return _batch_of({name: torch.cat([p[name] for p in parts]) for name in new}, facts)

    def tensors(self) -> dict[str, Tensor]:
        """The rows that are kept, oldest rollout first."""
        names = self._kept[0] if self._kept else ()
        return {name: torch.stack([k[name] for k in self._kept]) for name in names}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Keep these rows."""
        self._kept.clear()
        count = len(next(iter(tensors.values()))) if tensors else 0
        self._kept.extend({name: x[i].clone() for name, x in tensors.items()} for i in range(count))

    def state(self) -> dict[str, Any]:
        """Where the source is that plays."""
        return self._source.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Let it go on from there."""
        self._source.restore(state)

    def _drawn(self, iteration: int, count: int) -> list[dict[str, Tensor]]:
        """So many rows of those kept, each rollout's in order: with return where there are few."""
        if not self._kept or not count:
            return []
        num = len(self._kept[0]["mask"])
        generator, held = randomness(self._seed, iteration, 0x5EB1A7), num * len(self._kept)
        chosen = np.sort(generator.choice(held, count, replace=count > held))
        return [
            {
                name: x[torch.from_numpy(chosen[chosen // num == k] % num)]
                for name, x in kept.items()
            }
            for k, kept in enumerate(self._kept)
        ]


def _rows_of(batch: Batch) -> dict[str, Tensor]:
    """The batch's tensors by name, each with a row's numbers along its first axis."""
    given = {name: getattr(batch.inputs, name) for name in _STEPS}
    given |= {name: getattr(batch, name) for name in _BATCH}
    return {name: x for name, x in given.items() if x is not None}


def _batch_of(rows: dict[str, Tensor], facts: dict[str, float]) -> Batch:
    steps = {f.name: rows.get(f.name) for f in fields(Steps)}
    n, reward = len(rows["mask"]), rows["reward"]
    return Batch(
        inputs=Steps(**steps),  # type: ignore[arg-type] # only the mask of actions may be missing
        weight=torch.full((n,), 1 / n, dtype=reward.dtype),
        facts=facts,
        **{name: rows[name] for name in _BATCH},
    )
