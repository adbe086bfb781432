"""Sampled completions, judged by a reward.

All randomness is a function of (seed, iteration), and the place in the data is one number: so a run
that resumes draws what it would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from logpi.core.errors import NonFiniteError
from logpi.core.seeds import mix
from logpi.core.types import Batch
from logpi.worlds.lm.batches import batch_of_completions, joined
from logpi.worlds.lm.data import Example
from logpi.worlds.lm.decoding import Rollout, Sampling, decode
from logpi.worlds.lm.model import LanguageModel
from logpi.worlds.lm.rewards import Rewards
from logpi.worlds.lm.shuffle import Shuffle
from logpi.worlds.lm.steps import judge, place_rewards

__all__ = ["SampledSource"]


class SampledSource:
    """Completions sampled from a language model and judged by a reward.

    `compare` is "none", "groups" (rows of a prompt are compared: a group that lost all but one row
    to missing rewards leaves the batch), "mixed-groups" (only groups whose rewards differ stay, and
    more are drawn), or "greedy" (one greedy completion per prompt is judged too, and is the row's
    baseline).
    """

    def __init__(
        self,
        examples: Sequence[Example],
        prompts: Sequence[Tensor],
        rewards: Rewards,
        *,
        sampling: Sampling,
        prompts_per_batch: int,
        group_size: int,
        seed: int,
        compare: str = "none",
        step_separator: str | None = None,
        max_draws: int = 4,
    ) -> None:
        """Begin at the first prompt; nothing is sampled yet."""
        self._examples, self._prompts = examples, prompts
        self._shuffle = Shuffle(len(examples), seed=seed)
        self.state, self.restore = self._shuffle.state, self._shuffle.restore
        self._rewards, self._sampling, self._seed = rewards, sampling, seed
        self._prompts_per_batch, self._group_size = prompts_per_batch, group_size
        self._compare = compare
        self._step_separator, self._max_draws = step_separator, max_draws

    def draw(self, policy: Any, iteration: int) -> Batch:
        """Sampled and judged completions; `policy` is what samples them."""
        draws = [self._draw_once(policy.lm, iteration, 0)]
        if self._compare == "mixed-groups":
            while _groups(draws) < self._prompts_per_batch and len(draws) < self._max_draws:
                draws.append(self._draw_once(policy.lm, iteration, len(draws)))
        return joined(draws, self._prompts_per_batch if self._compare == "mixed-groups" else None)

    def _draw_once(self, lm: LanguageModel, iteration: int, draw: int) -> Batch:
        chosen = self._shuffle.take(self._prompts_per_batch)
        prompts = [self._prompts[i] for i in chosen]
        seed = mix(self._seed, iteration, draw)
        of_row = [i for i in chosen for _ in range(self._group_size)]
        told = {"copies": self._group_size, "sampling": self._sampling, "seed": seed}
        try:
            rollout = decode(lm, prompts, **told)
        except NonFiniteError as error:  # no batch was made: the prompts are all there is to tell
            of = {"iteration": iteration + 1}
            error.records = [
                {**of, "row": row, "prompt": self._examples[of_row[row]].prompt}
                for row in error.rows or ()
            ]
            raise
        judged = self._judge(lm, rollout, of_row)
        baseline = self._greedy(lm, prompts, chosen) if self._compare == "greedy" else None
        return self._batch(rollout, judged, baseline)

    def _judge(self, lm: LanguageModel, rollout: Rollout, of_row: Sequence[int]) -> _Judged:
        scores = judge(self._rewards, [self._examples[i] for i in of_row], rollout)
        reward, scored, missing = place_rewards(
            scores.reward, rollout, lm.tokenizer, separator=self._step_separator
        )
        return _Judged(reward, scored, missing, scores.parts)

    def _greedy(self, lm: LanguageModel, prompts: list[Tensor], chosen: list[int]) -> Tensor:
        """[prompts] the reward of one greedy completion each, NaN where it is missing."""
        greedy = replace(self._sampling, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)
        rollout = decode(lm, prompts, copies=1, sampling=greedy, seed=0)
        judged = self._judge(lm, rollout, chosen)
        return torch.where(judged.missing, math.nan, judged.reward.sum(1))

    def _batch(self, rollout: Rollout, judged: _Judged, baseline: Tensor | None) -> Batch:
        group = rollout.inputs.prompt_of
        keep = ~judged.missing
        if baseline is not None:
            keep &= ~baseline.isnan()[group]
        if self._compare in ("groups", "mixed-groups"):
            keep &= torch.bincount(group[keep], minlength=len(rollout.inputs.prompts))[group] >= 2
        facts = _facts(rollout, judged, keep, baseline)
        if self._compare == "mixed-groups":
            keep &= _differs(judged.reward.sum(1), group, keep)
        rows = keep.nonzero()[:, 0]
        sampler = rollout.logp_sampler
        return batch_of_completions(
            rollout.inputs.take(rows),
            judged.reward[rows],
            group=group[rows],
            logp_old=rollout.logp[rows],
            logp_sampler=None if sampler is None else sampler[rows],
            scored=None if judged.scored is None else judged.scored[rows],
            baseline=None if baseline is None else baseline[group[rows]].to(judged.reward.dtype),
            facts=facts,
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """Rewards [n, t] where they were given, which rows have none, and each reward's figures."""

    reward: Tensor
    scored: Tensor | None
    missing: Tensor
    parts: dict[str, list[float | None]]


def _groups(draws: Sequence[Batch]) -> int:
    return sum(len(torch.unique(b.group)) for b in draws if b.group is not None)


def _differs(total: Tensor, group: Tensor, keep: Tensor) -> Tensor:
    """[n] whether the kept rows of each row's group differ in their total reward."""
    count = int(group.max()) + 1 if len(group) else 0
    high = total.new_full((count,), -math.inf).scatter_reduce(0, group[keep], total[keep], "amax")
    low = total.new_full((count,), math.inf).scatter_reduce(0, group[keep], total[keep], "amin")
    return (high > low)[group]


def _facts(
    rollout: Rollout, judged: _Judged, keep: Tensor, baseline: Tensor | None
) -> dict[str, float]:
    """What the source counted, before any group is left out for having nothing to compare.

    `judged` are the rewards asked for, those of greedy completions too; `missing` those not given.
    """
    rows = max(len(keep), 1)
    missing = judged.missing if baseline is None else torch.cat([judged.missing, baseline.isnan()])
    length = rollout.inputs.length.float()
    facts = {
        "completion_tokens": float(length.mean()),
        "sampled_tokens": float(length.sum()),
        "finished": float(rollout.finished.float().mean()),
        "judged": float(len(missing)),
        "missing": float(missing.sum()),
        "rows_dropped": float(rows - int(keep.sum())),
    }
    if keep.any():
        total = judged.reward.sum(1)[keep]
        facts["reward"] = float(total.mean())
        facts["reward_std"] = float(total.std(unbiased=False))
        mixed = _differs(judged.reward.sum(1), rollout.inputs.prompt_of, keep)[keep]
        facts["rows_in_mixed_groups"] = float(mixed.float().mean())
    if len(judged.parts) > 1:
        for name, figures in judged.parts.items():
            known = [f for f in figures if f is not None]
            if known:
                facts[f"reward/{name}"] = sum(known) / len(known)
    return facts
