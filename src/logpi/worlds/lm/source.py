"""Where the language world's batches come from: sampled completions, demonstrations, or pairs.

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

from logpi.core.errors import DataError
from logpi.core.seeds import mix
from logpi.core.types import Batch
from logpi.worlds.lm.data import Example
from logpi.worlds.lm.decoding import Rollout, Sampling, decode
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import LanguageModel
from logpi.worlds.lm.rewards import Rewards
from logpi.worlds.lm.steps import place_rewards

__all__ = [
    "DemonstrationSource",
    "PairSource",
    "SampledSource",
    "Shuffle",
    "batch_of_completions",
]


class Shuffle:
    """An endless pass through `count` examples, in a new order each epoch; its state is one number.

    >>> pass_through = Shuffle(3, seed=0)
    >>> sorted(pass_through.take(3)), pass_through.position
    ([0, 1, 2], 3)
    """

    def __init__(self, count: int, *, seed: int) -> None:
        """Begin at the first example of the first epoch."""
        if count < 1:
            raise DataError("the data has no rows. Give at least one prompt.")
        self.count, self.seed, self.position = count, seed, 0
        self._epoch, self._order = -1, [0]

    def take(self, wanted: int) -> list[int]:
        """The next `wanted` positions in the data."""
        taken = [self._at(self.position + k) for k in range(wanted)]
        self.position += wanted
        return taken

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch))
            self._order = torch.randperm(self.count, generator=generator).tolist()
            self._epoch = epoch
        return self._order[place]


@dataclass(slots=True)
class _Examples:
    """Examples with their token ids, and the place reached among them."""

    examples: Sequence[Example]
    prompts: Sequence[Tensor]
    shuffle: Shuffle

    def state(self) -> dict[str, Any]:
        return {"position": self.shuffle.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.shuffle.position = int(state["position"])


def batch_of_completions(
    inputs: Completions, reward: Tensor, *, group: Tensor | None = None, **known: Any
) -> Batch:
    """Rows of one completion each, every one an episode that its last token ends.

    Running into the limit of new tokens ends it too: the limit is part of the task, and the reward
    that was given for the text as it stands is all that follows. So the last discount is 0, and all
    others are 1.
    """
    mask = inputs.mask
    rows, width = mask.shape
    last = torch.arange(width, device=mask.device) == (inputs.length - 1)[:, None]
    return Batch(
        inputs=inputs,
        mask=mask,
        reward=reward,
        discount=(~last).to(reward.dtype),
        end=last,
        weight=torch.full((rows,), 1 / max(rows, 1), dtype=reward.dtype, device=mask.device),
        group=group,
        **known,
    )


class DemonstrationSource:
    """Given completions, as in SFT: nothing is sampled and nothing is rewarded."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokens: Sequence[tuple[Tensor, ...]],
        *,
        rows: int,
        seed: int,
        pad: int,
    ) -> None:
        """`tokens` holds each example's prompt ids and completion ids."""
        self._data = _Examples(
            examples, [ids[0] for ids in tokens], Shuffle(len(examples), seed=seed)
        )
        self._completions = [ids[1] for ids in tokens]
        self._rows, self._pad = rows, pad

    def draw(self, policy: Any, iteration: int) -> Batch:
        """The next rows of the data."""
        chosen = self._data.shuffle.take(self._rows)
        inputs = completions_of(
            [self._data.prompts[i] for i in chosen],
            [self._completions[i] for i in chosen],
            self._pad,
        )
        facts = {"completion_tokens": float(inputs.length.float().mean())}
        return batch_of_completions(inputs, torch.zeros(inputs.tokens.shape), facts=facts)

    def state(self) -> dict[str, Any]:
        """How far into the data it has come."""
        return self._data.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._data.restore(state)


class PairSource:
    """Preference pairs: two rows of one group; the chosen one has reward 1, the rejected one 0."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokens: Sequence[tuple[Tensor, ...]],
        *,
        pairs: int,
        seed: int,
        pad: int,
    ) -> None:
        """`tokens` holds each example's prompt, chosen and rejected ids."""
        self._data = _Examples(examples, [t[0] for t in tokens], Shuffle(len(examples), seed=seed))
        self._tokens, self._pairs, self._pad = tokens, pairs, pad

    def draw(self, policy: Any, iteration: int) -> Batch:
        """The next pairs of the data, chosen before rejected."""
        chosen = self._data.shuffle.take(self._pairs)
        texts = [ids for i in chosen for ids in self._tokens[i][1:]]
        inputs = completions_of([self._tokens[i][0] for i in chosen], texts, self._pad, copies=2)
        reward = torch.zeros(inputs.tokens.shape)
        wins = torch.arange(0, len(texts), 2)
        reward[wins, inputs.length[wins] - 1] = 1.0
        facts = {"completion_tokens": float(inputs.length.float().mean())}
        return batch_of_completions(inputs, reward, group=inputs.prompt_of, facts=facts)

    def state(self) -> dict[str, Any]:
        """How far into the data it has come."""
        return self._data.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._data.restore(state)


def completions_of(
    prompts: Sequence[Tensor], completions: Sequence[Tensor], pad: int, *, copies: int = 1
) -> Completions:
    """`copies` completions for each prompt, in order, padded on the right."""
    return Completions(
        prompts=tuple(prompts),
        prompt_of=torch.arange(len(prompts)).repeat_interleave(copies),
        tokens=torch.nn.utils.rnn.pad_sequence(
            list(completions), batch_first=True, padding_value=pad
        ),
        length=torch.tensor([len(c) for c in completions]),
    )


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
        behaviour: LanguageModel | None = None,
        step_separator: str | None = None,
        max_draws: int = 4,
    ) -> None:
        """`behaviour` samples instead of the policy, where its samples are filtered."""
        self._data = _Examples(examples, prompts, Shuffle(len(examples), seed=seed))
        self._rewards, self._sampling, self._seed = rewards, sampling, seed
        self._prompts_per_batch, self._group_size = prompts_per_batch, group_size
        self._compare, self._behaviour = compare, behaviour
        self._step_separator, self._max_draws = step_separator, max_draws

    def draw(self, policy: Any, iteration: int) -> Batch:
        """Sampled and judged completions; `policy` is what samples them."""
        lm = self._behaviour or policy.lm
        draws = [self._draw_once(lm, iteration, 0)]
        if self._compare == "mixed-groups":
            while _groups(draws) < self._prompts_per_batch and len(draws) < self._max_draws:
                draws.append(self._draw_once(lm, iteration, len(draws)))
        batch = joined(draws, self._prompts_per_batch if self._compare == "mixed-groups" else None)
        if self._behaviour is not None:
            batch = replace(batch, logp_old=None, logp_sampler=None)
        return batch

    def state(self) -> dict[str, Any]:
        """How far into the data it has come."""
        return self._data.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._data.restore(state)

    def _draw_once(self, lm: LanguageModel, iteration: int, draw: int) -> Batch:
        chosen = self._data.shuffle.take(self._prompts_per_batch)
        prompts = [self._data.prompts[i] for i in chosen]
        seed = mix(self._seed, iteration, draw)
        rollout = decode(lm, prompts, copies=self._group_size, sampling=self._sampling, seed=seed)
        of_row = [i for i in chosen for _ in range(self._group_size)]
        judged = self._judge(lm, rollout, of_row)
        baseline = self._greedy(lm, prompts, chosen) if self._compare == "greedy" else None
        return self._batch(rollout, judged, baseline)

    def _judge(self, lm: LanguageModel, rollout: Rollout, of_row: Sequence[int]) -> _Judged:
        examples = [self._data.examples[i] for i in of_row]
        lengths = rollout.inputs.length.tolist()
        columns = [
            {**e.columns, "completion_tokens": n} for e, n in zip(examples, lengths, strict=True)
        ]
        scores = self._rewards([e.prompt for e in examples], list(rollout.text), columns)
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
        facts = _facts(rollout, judged, keep)
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


def _facts(rollout: Rollout, judged: _Judged, keep: Tensor) -> dict[str, float]:
    """What the source counted, before any group is left out for having nothing to compare."""
    rows = max(len(keep), 1)
    length = rollout.inputs.length.float()
    facts = {
        "completion_tokens": float(length.mean()),
        "sampled_tokens": float(length.sum()),
        "finished": float(rollout.finished.float().mean()),
        "missing": float(judged.missing.sum()),
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


def joined(draws: Sequence[Batch], groups: int | None = None) -> Batch:
    """The rows of several draws as one batch, at most `groups` groups of them."""
    if len(draws) == 1 and groups is None:
        return draws[0]
    return _joined(draws, groups)


def _joined(draws: Sequence[Batch], groups: int | None) -> Batch:
    width = max(b.mask.shape[1] for b in draws)
    offsets = [sum(len(b.inputs.prompts) for b in draws[:k]) for k in range(len(draws))]
    inputs = Completions(
        prompts=tuple(p for b in draws for p in b.inputs.prompts),
        prompt_of=torch.cat([b.inputs.prompt_of + k for b, k in zip(draws, offsets, strict=True)]),
        tokens=torch.cat([_widened(b.inputs.tokens, width) for b in draws]),
        length=torch.cat([b.inputs.length for b in draws]),
        temperature=draws[0].inputs.temperature,
    )
    group = inputs.prompt_of
    _, order = torch.unique(group, return_inverse=True)
    rows = (order < (groups if groups is not None else len(group))).nonzero()[:, 0]

    def column(name: str) -> Tensor | None:
        parts = [getattr(b, name) for b in draws]
        return None if parts[0] is None else torch.cat([_widened(p, width) for p in parts])[rows]

    facts = {
        key: sum(b.facts.get(key, 0.0) for b in draws) / (1 if key in _SUMMED else len(draws))
        for key in draws[0].facts
    }
    return batch_of_completions(
        inputs.take(rows),
        column("reward"),  # type: ignore[arg-type]  # a batch always has rewards
        group=group[rows],
        logp_old=column("logp_old"),
        logp_sampler=column("logp_sampler"),
        scored=column("scored"),
        facts={
            **facts,
            "draws": float(len(draws)),
            "groups": float(len(torch.unique(group[rows]))),
        },
    )


_SUMMED = {"sampled_tokens", "missing", "rows_dropped"}


def _widened(x: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, width - x.shape[1]))
