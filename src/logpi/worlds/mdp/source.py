"""Where the finite world's batches come from: walks of the policy, of another one, or all of them.

All randomness is a function of (seed, iteration), so a run that resumes draws what it would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.core.seeds import mix
from logpi.core.types import Batch
from logpi.worlds.mdp.batches import batch_of_rollout, returns_of, take
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.rollout import rollout, start_states

__all__ = ["Compare", "Draw", "ReplaySource", "SampledSource"]

Compare = Literal["none", "groups", "mixed-groups", "greedy", "pairs"]
"""What a row is compared with: nothing, its group, a greedy walk, or the other row of its pair."""


class _HasProbabilities(Protocol):
    def probabilities(self) -> Float[ndarray, "S A"]:
        """π(a|s), detached."""
        ...


@dataclass(frozen=True, slots=True)
class Draw:
    """How a batch is drawn: `copies` walks from each of `starts` states, of `limit` decisions."""

    starts: int
    copies: int
    limit: int
    horizon: int | None = None  # the task's own end; beyond it nothing is worth anything
    max_draws: int = 4  # where only groups that differ are kept


class SampledSource:
    """Walks of the policy, or of `behaviour` where one is given.

    Ties leave the batch where pairs or mixed groups are asked for, and more walks are drawn, at
    most `max_draws` times.
    """

    def __init__(
        self,
        m: FiniteMDP,
        draw: Draw,
        *,
        seed: int,
        compare: Compare = "none",
        behaviour: ndarray | None = None,
    ) -> None:
        """`behaviour` [S, A] walks instead of the policy; nobody needs its log-probabilities."""
        self._m, self._draw, self._seed = m, draw, seed
        self._compare: Compare = compare
        self._behaviour = behaviour

    def draw(self, policy: _HasProbabilities, iteration: int) -> Batch:
        """The batch of this iteration."""
        draws = [self._once(policy, iteration, 0)]
        if self._compare in ("mixed-groups", "pairs"):
            while _groups(draws) < self._draw.starts and len(draws) < self._draw.max_draws:
                draws.append(self._once(policy, iteration, len(draws)))
        return draws[0] if len(draws) == 1 else _joined(draws, self._draw.starts)

    def state(self) -> dict[str, Any]:
        """Nothing: a batch follows from the iteration."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _once(self, policy: _HasProbabilities, iteration: int, draw: int) -> Batch:
        m, how = self._m, self._draw
        pi = policy.probabilities() if self._behaviour is None else self._behaviour
        seed = mix(self._seed, iteration, draw)
        start = start_states(m, how.starts, seed)
        walk = rollout(m, pi, np.repeat(start, how.copies), limit=how.limit, seed=seed)
        group = torch.arange(how.starts).repeat_interleave(how.copies)
        batch = batch_of_rollout(
            m,
            walk,
            horizon=how.horizon,
            policy=pi if self._behaviour is None else None,
            group=group + draw * how.starts,
        )
        batch = replace(batch, facts=_facts(batch))
        if self._compare == "greedy":
            return replace(batch, baseline=self._greedy(pi, start, seed)[group])
        if self._compare in ("mixed-groups", "pairs"):
            return _differing(batch)
        return batch

    def _greedy(self, pi: ndarray, start: ndarray, seed: int) -> Tensor:
        """[starts] the return of one greedy walk each."""
        best = np.eye(self._m.actions)[pi.argmax(1)]
        walk = rollout(self._m, best, start, limit=self._draw.limit, seed=mix(seed, 1))
        return returns_of(batch_of_rollout(self._m, walk, horizon=self._draw.horizon, policy=None))


class ReplaySource:
    """Rows of a store of walks that another policy took once, `stored` batches of them."""

    def __init__(
        self, m: FiniteMDP, draw: Draw, behaviour: ndarray, *, seed: int, stored: int = 32
    ) -> None:
        """Walk them all now; they are the same for every iteration, and in every resumed run."""
        start = start_states(m, stored * draw.starts * draw.copies, mix(seed, 0x5707))
        walk = rollout(m, behaviour, start, limit=draw.limit, seed=mix(seed, 0x5707))
        self._store = batch_of_rollout(m, walk, horizon=draw.horizon, policy=behaviour)
        self._rows, self._seed = draw.starts * draw.copies, seed

    def draw(self, policy: object, iteration: int) -> Batch:
        """Rows of the store, chosen anew."""
        generator = torch.Generator().manual_seed(mix(self._seed, iteration))
        rows = torch.randperm(self._store.rows, generator=generator)[: self._rows]
        batch = take(self._store, rows)
        return replace(batch, facts=_facts(batch))

    def state(self) -> dict[str, Any]:
        """Nothing: a batch follows from the iteration, and the store from the seed."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def _facts(batch: Batch) -> dict[str, float]:
    total = returns_of(batch)
    over = (batch.end & (batch.discount == 0)).any(1)
    return {
        "return": float(total.mean()),
        "return_std": float(total.std(unbiased=False)),
        "episode_length": float(batch.mask.sum(1).double().mean()),
        "terminated": float(over.double().mean()),
    }


def _differing(batch: Batch) -> Batch:
    """The rows of groups whose returns are not all equal; of a pair, neither would be chosen."""
    assert batch.group is not None
    total = returns_of(batch)
    kept = [
        rows
        for g in batch.group.unique()
        if len((total[rows := (batch.group == g).nonzero()[:, 0]]).unique()) > 1
    ]
    rows = torch.cat(kept) if kept else torch.zeros(0, dtype=torch.long)
    dropped = {"rows_dropped": float(batch.rows - len(rows))}
    return take(batch, rows, facts={**batch.facts, **dropped})


def _groups(draws: Sequence[Batch]) -> int:
    return sum(len(b.group.unique()) for b in draws if b.group is not None)


def _joined(draws: Sequence[Batch], groups: int) -> Batch:
    """The rows of several draws, at most `groups` groups of them."""
    width = max(b.mask.shape[1] for b in draws)

    def column(name: str, owner: str | None = None) -> Tensor:
        parts = [getattr(getattr(b, owner) if owner else b, name) for b in draws]
        if parts[0].dim() == 1:
            return torch.cat(parts)
        return torch.cat([torch.nn.functional.pad(p, (0, width - p.shape[1])) for p in parts])

    group = column("group")
    kept = torch.isin(group, group.unique()[:groups]).nonzero()[:, 0]
    facts = {k: sum(b.facts[k] for b in draws) / len(draws) for k in draws[0].facts}
    facts["rows_dropped"] = facts["rows_dropped"] * len(draws)
    steps = draws[0].inputs
    whole = Batch(
        inputs=type(steps)(*(column(n, "inputs") for n in ("state", "action", "next_state"))),
        mask=column("mask"),
        reward=column("reward"),
        discount=column("discount"),
        end=column("end"),
        weight=column("weight"),
        logp_old=None if draws[0].logp_old is None else column("logp_old"),
        group=group,
        scored=column("scored"),
        facts={**facts, "draws": float(len(draws))},
    )
    return take(whole, kept)
