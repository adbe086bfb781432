"""`decode`: completions of prompts, with the log-probability of every token as it was drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from logpi.core.errors import ConfigError, DataError, NonFiniteError
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import LanguageModel
from logpi.worlds.lm.sampling import Drawn, Sampling, Uniforms, draw_pieces
from logpi.worlds.lm.stopping import Stops
from logpi.worlds.lm.tree import Tree, shares_prompts

__all__ = ["Rollout", "Sampling", "decode"]

_LOGITS = 1 << 24  # logits held at once: 64 MB, and 256 MB for what is made of them


@dataclass(frozen=True, slots=True)
class Rollout:
    """Completions in the order of their prompts, the copies of a prompt one after the other."""

    inputs: Completions
    logp: Tensor  # [n, t] under softmax(logits / temperature), at 1 where greedy; 0 behind the end
    logp_sampler: (
        Tensor | None
    )  # [n, t] under the distribution drawn from, where top-k, top-p or min-p cut it
    finished: (
        Tensor  # [n] bool: ended by itself or at a stop string; False where it ran out of room
    )
    text: tuple[str, ...]  # without the end-of-sequence token, and up to the stop string


def decode(
    lm: LanguageModel,
    prompts: Sequence[Tensor],
    *,
    copies: int = 1,
    sampling: Sampling,
    seed: int,
    lazy: bool = True,
) -> Rollout:
    """`copies` completions of each prompt.

    A prompt is run once, however often it is asked for. Completions that agree so far are one
    branch, run once, and fork when they draw different tokens (`lazy`; without it every
    completion is a branch from its first token on). What a row draws depends on the seed, its
    index and the step alone, so neither changes it. A completion ends, unfinished, where the
    model's context does.

    Raises `DataError` for an empty prompt, or one that leaves no room in the context,
    `ConfigError` for less than one copy, and `NonFiniteError` where logits are not numbers.
    """
    if copies < 1:
        raise ConfigError(f"copies is {copies}, but every prompt needs at least 1 completion.")
    _check(prompts, lm.context)
    distinct, prompt_of = _distinct(prompts, copies)
    run = _Run(lm, sampling, Uniforms(seed), lazy, len(prompt_of))
    with torch.inference_mode():
        shared = shares_prompts(lm)
        for cohort in _cohorts([len(p) for p in distinct], exact=not shared):
            rows = np.flatnonzero(np.isin(prompt_of, cohort))
            place = np.searchsorted(np.array(cohort), prompt_of[rows])
            run.extend([distinct[i] for i in cohort], rows, place, shared=shared)
    return run.rollout(prompts, copies)


def _check(prompts: Sequence[Tensor], context: int | None) -> None:
    if not len(prompts):
        raise DataError("there are no prompts to complete.")
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise DataError(
                f"prompt {i} has no tokens, but the first decision needs a state to be taken in."
            )
        if context is not None and len(prompt) >= context:
            raise DataError(
                f"prompt {i} has {len(prompt)} tokens, but the model's context is {context} and at "
                "least 1 must be left for the completion. Shorten or drop the prompt."
            )


def _distinct(prompts: Sequence[Tensor], copies: int) -> tuple[list[Tensor], np.ndarray]:
    """The different prompts, shortest first, and which of them each row continues."""
    known: dict[bytes, int] = {}
    which = [known.setdefault(p.cpu().numpy().tobytes(), len(known)) for p in prompts]
    first: list[int] = np.unique(which, return_index=True)[1].tolist()
    order = np.argsort([len(prompts[i]) for i in first], kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return [prompts[first[i]] for i in order], np.repeat(rank[np.array(which)], copies)


def _cohorts(lengths: Sequence[int], *, exact: bool) -> Iterator[list[int]]:
    """Runs of ascending lengths to decode together: equal ones, or ones with little padding."""
    cohort: list[int] = []
    for i, length in enumerate(lengths):
        if cohort and length > (lengths[cohort[0]] if exact else 2 * lengths[cohort[0]] + 64):
            yield cohort
            cohort = []
        cohort.append(i)
    yield cohort


class _Run:
    """The rows of one call of `decode`, and what has been recorded of them."""

    def __init__(
        self, lm: LanguageModel, sampling: Sampling, uniforms: Uniforms, lazy: bool, rows: int
    ) -> None:
        self.lm, self.sampling, self.uniforms, self.lazy = lm, sampling, uniforms, lazy
        self.stops = Stops(lm.tokenizer, lm.eos, sampling.stop)
        self.tokens = np.zeros((rows, min(sampling.max_new_tokens, 256)), dtype=np.int64)
        self.length = np.zeros(rows, dtype=np.int64)
        self.finished = np.zeros(rows, dtype=bool)
        self.drawn: list[tuple[np.ndarray, int, Drawn]] = []

    def extend(
        self, prompts: Sequence[Tensor], rows: np.ndarray, branch: np.ndarray, *, shared: bool
    ) -> None:
        """Complete these prompts for `rows`, row i of which continues prompt `branch[i]`."""
        tree = Tree(self.lm, prompts, shared=shared)
        limit = self._limit(np.array([len(p) for p in prompts]))[branch]
        for step in range(self.sampling.max_new_tokens):
            token = self._draw(tree.hidden, rows, branch, step)
            ended = self.stops.ended(self.tokens, step + 1, rows)
            self.length[rows] = step + 1
            self.finished[rows[ended]] = True
            on = np.flatnonzero(~ended & (limit > step + 1))
            if not len(on):
                return
            rows, limit = rows[on], limit[on]
            branch = tree.grow(branch[on], token[on], lazy=self.lazy)

    def _limit(self, lengths: np.ndarray) -> np.ndarray:
        most = np.full_like(lengths, self.sampling.max_new_tokens)
        return most if self.lm.context is None else np.minimum(most, self.lm.context - lengths)

    def _draw(self, hidden: Tensor, rows: np.ndarray, branch: np.ndarray, step: int) -> np.ndarray:
        device = hidden.device
        uniform = self.uniforms(len(self.length), step)[torch.from_numpy(rows)].to(
            device, non_blocking=True
        )
        of = torch.from_numpy(branch).to(device, non_blocking=True)
        drawn = draw_pieces(_logits(self.lm, hidden), of, uniform, self.sampling)
        token = drawn.token.cpu().numpy()  # the step's one wait for the device
        if (token < 0).any():
            bad = rows[token < 0].tolist()
            raise NonFiniteError(
                f"the logits of row {bad[0]} at its token {step} are not finite. The weights have "
                "diverged: go back to a checkpoint, and lower the learning rate.",
                bad,
            )
        if step >= self.tokens.shape[1]:
            self.tokens = np.concatenate([self.tokens, np.zeros_like(self.tokens)], axis=1)
        self.tokens[rows, step] = token
        self.drawn.append((rows, step, drawn))
        return token

    def rollout(self, prompts: Sequence[Tensor], copies: int) -> Rollout:
        """What was recorded, as ordinary tensors: inference tensors cannot be trained on."""
        device, longest = self.lm.device, int(self.length.max())
        logp = torch.zeros(
            len(self.length), longest, device=device, dtype=self.drawn[0][2].logp.dtype
        )
        logp_sampler = torch.zeros_like(logp) if self.sampling.truncates else None
        for rows, step, drawn in self.drawn:
            index = torch.from_numpy(rows).to(device)
            logp[index, step] = drawn.logp
            if logp_sampler is not None and drawn.logp_sampler is not None:
                logp_sampler[index, step] = drawn.logp_sampler
        inputs = Completions(
            prompts=tuple(p.to(device) for p in prompts),
            prompt_of=torch.arange(len(prompts), device=device).repeat_interleave(copies),
            tokens=torch.from_numpy(self._padded(longest)).to(device),
            length=torch.from_numpy(self.length).to(device),
            temperature=1.0 if self.sampling.greedy else self.sampling.temperature,
        )
        rows = [row[:length] for row, length in zip(self.tokens, self.length, strict=True)]
        finished = torch.from_numpy(self.finished).to(device)
        return Rollout(inputs, logp, logp_sampler, finished, self.stops.texts(rows))

    def _padded(self, longest: int) -> np.ndarray:
        behind = np.arange(longest) >= self.length[:, None]
        return np.where(behind, self.lm.pad, self.tokens[:, :longest])


def _logits(lm: LanguageModel, hidden: Tensor) -> Iterator[Tensor]:
    """The logits of these hidden states, a few rows at a time where the vocabulary is large."""
    vocabulary = hidden.shape[1] if lm.head.weight is None else len(lm.head.weight)
    for piece in hidden.split(max(1, _LOGITS // vocabulary)):
        yield lm.logits(piece)
