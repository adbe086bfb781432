"""`PairEvaluator`: how often a language model prefers what was chosen, on held-out pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from logpi.core.pairs import pair_figures
from logpi.core.recipe import Recipe
from logpi.core.types import Signals
from logpi.worlds.lm.data import Example, encode_all
from logpi.worlds.lm.given import batch_of_pairs
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.policy import LMPolicy

__all__ = ["PairEvaluator"]


class PairEvaluator:
    """Measures a policy on held-out pairs by the margin that its recipe learns to widen."""

    def __init__(
        self,
        policy: LMPolicy,
        examples: Sequence[Example],
        *,
        recipe: Recipe,
        reference: Callable[[Completions], Tensor] | None,
    ) -> None:
        """`reference` is of the frozen reference policy, where the recipe reads one."""
        lm = policy.lm
        self._policy, self._recipe, self._reference = policy, recipe, reference
        self._ids = encode_all(lm.tokenizer, examples, kind="pairs", **lm.limits)
        self._logp_ref: dict[int, Tensor] = {}  # the reference never changes

    def __call__(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """The share of pairs whose margin is right, the mean margin, and the chosen's nats a token.

        Nothing is sampled. Empty without held-out pairs.
        """
        ids = self._ids[:examples]
        if not ids:
            return {}
        batch = batch_of_pairs(ids, self._policy)
        logp = self._policy.log_prob(batch.inputs)
        signals = Signals.of(batch).having(logp=logp, logp_ref=self._referred(batch.inputs))
        signals = signals.having(credit=self._recipe.credit(signals))
        chosen = batch.mask & (torch.arange(batch.rows, device=logp.device) % 2 == 0)[:, None]
        told = pair_figures(self._recipe.coefficient, signals)
        return {**told, "nll": float(-logp[chosen].mean()), "examples": float(len(ids))}

    def _referred(self, inputs: Completions) -> Tensor | None:
        if self._reference is None:
            return None
        rows = len(inputs.length)
        if rows not in self._logp_ref:
            self._logp_ref[rows] = self._reference(inputs)
        return self._logp_ref[rows]
