"""`FilteredSource`: completions of a fixed policy, of which the recipe's credit keeps some."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from logpi.core.errors import RewardError
from logpi.core.types import Batch, Credit, Signals
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.source import SampledSource

__all__ = ["FilteredSource"]


class FilteredSource:
    """What `behaviour` completes instead of the policy, as in rejection fine-tuning.

    `behaviour` never learns: where it failed on every prompt there is, the rest of the run would
    teach nothing.
    """

    def __init__(
        self, source: SampledSource, behaviour: LMPolicy, credit: Credit, *, prompts: int
    ) -> None:
        """`credit` is 0 for the rows that do not pass; there are `prompts` prompts in the data."""
        self._source, self._behaviour, self._credit = source, behaviour, credit
        self.state, self.restore = source.state, source.restore
        self._left, self._rows, self._best, self._passed = prompts, 0, -math.inf, False

    def draw(self, policy: Any, iteration: int) -> Batch:
        """Sampled and judged completions, and no log-probabilities: the policy is another.

        Raises `RewardError` where no row has passed in a whole pass through the data.
        """
        before = self.state()["position"]
        batch = self._source.draw(self._behaviour, iteration)
        self._left -= self.state()["position"] - before
        if not self._passed:
            self._look(batch)
        return replace(batch, logp_old=None, logp_sampler=None)

    def _look(self, batch: Batch) -> None:
        self._passed = bool(self._credit(Signals.of(batch)).any())
        self._rows += batch.rows
        if batch.rows:
            self._best = max(self._best, float(batch.reward.sum(1).max()))
        if self._passed or self._left > 0:
            return
        raise RewardError(
            f"none of {self._rows} completions passed the filter in a whole pass through the data "
            f"(the best reward was {self._best:g}), and the model that writes them does not "
            "change: there is nothing to learn from. Lower recipe.threshold, raise "
            "world.group_size, look at what the reward says of some completions, or begin from a "
            "model that solves some of the prompts."
        )
