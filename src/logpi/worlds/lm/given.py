"""Sources of given text: demonstrations, and preference pairs. Nothing is sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from logpi.core.types import Batch
from logpi.worlds.lm.batches import batch_of_completions, completions_of
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.shuffle import Shuffle

__all__ = ["DemonstrationSource", "PairSource", "batch_of_pairs"]


class DemonstrationSource:
    """Given completions, as in SFT: nothing is rewarded."""

    def __init__(self, tokens: Sequence[tuple[Tensor, ...]], *, rows: int, seed: int) -> None:
        """`tokens` holds each example's prompt ids and completion ids."""
        self._tokens, self._rows = tokens, rows
        self._shuffle = Shuffle(len(tokens), seed=seed)
        self.state, self.restore = self._shuffle.state, self._shuffle.restore

    def draw(self, policy: LMPolicy, iteration: int) -> Batch:
        """The next rows of the data."""
        chosen = [self._tokens[i] for i in self._shuffle.take(self._rows)]
        inputs = completions_of([t[0] for t in chosen], [t[1] for t in chosen], policy.lm)
        facts = {"completion_tokens": float(inputs.length.float().mean())}
        reward = torch.zeros(inputs.tokens.shape, dtype=policy.wide, device=policy.lm.device)
        return batch_of_completions(inputs, reward, facts=facts)


class PairSource:
    """Preference pairs: two rows of one group; the chosen one has reward 1, the rejected one 0."""

    def __init__(self, tokens: Sequence[tuple[Tensor, ...]], *, pairs: int, seed: int) -> None:
        """`tokens` holds each example's prompt, chosen and rejected ids."""
        self._tokens, self._pairs = tokens, pairs
        self._shuffle = Shuffle(len(tokens), seed=seed)
        self.state, self.restore = self._shuffle.state, self._shuffle.restore

    def draw(self, policy: LMPolicy, iteration: int) -> Batch:
        """The next pairs of the data, chosen before rejected."""
        chosen = [self._tokens[i] for i in self._shuffle.take(self._pairs)]
        return batch_of_pairs(chosen, policy)


def batch_of_pairs(tokens: Sequence[tuple[Tensor, ...]], policy: LMPolicy) -> Batch:
    """Two rows for each prompt, chosen and rejected ids: first the chosen one."""
    texts = [ids for t in tokens for ids in t[1:]]
    inputs = completions_of([t[0] for t in tokens], texts, policy.lm, copies=2)
    reward = torch.zeros(inputs.tokens.shape, dtype=policy.wide, device=policy.lm.device)
    wins = torch.arange(0, len(texts), 2, device=reward.device)
    reward[wins, inputs.length[wins] - 1] = 1.0
    facts = {"completion_tokens": float(inputs.length.float().mean())}
    return batch_of_completions(inputs, reward, group=inputs.prompt_of, facts=facts)
