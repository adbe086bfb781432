"""`Sampling` says how tokens are drawn from logits; `draw` draws them with given numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from logpi.core.errors import ConfigError

__all__ = ["Drawn", "Sampling", "Uniforms", "draw", "draw_pieces", "truncate"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are sampled: from softmax(logits / temperature), cut by top-k, top-p, min-p.

    A temperature of 0 takes the most probable token. `top_k` 0, `top_p` 1 and `min_p` 0 cut
    nothing. A completion ends at an end-of-sequence token, at a `stop` string, or after
    `max_new_tokens`.

    >>> Sampling(temperature=0.7, top_p=0.9).truncates
    True

    Raises `ConfigError` where a value is out of its range.
    """

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every range."""
        _within("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "at least 1")
        finite = math.isfinite(self.temperature)
        _within(
            "temperature", self.temperature, finite and self.temperature >= 0, "0 (greedy) or more"
        )
        _within("top_k", self.top_k, self.top_k >= 0, "0 (off) or more")
        _within("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, and at most 1 (off)")
        _within("min_p", self.min_p, 0 <= self.min_p <= 1, "between 0 (off) and 1")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ConfigError(
                f"stop is {self.stop!r} but must be non-empty strings in a tuple. Write ('\\n',)."
            )

    @property
    def greedy(self) -> bool:
        """True where the most probable token is taken."""
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        """True where tokens are drawn from less than the model's distribution."""
        return not self.greedy and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)


def _within(name: str, value: float, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{name} is {value} but must be {expected}.")


class Uniforms:
    """One number in [0, 1) per row and step, a function of (seed, row, step) alone.

    So neither how many rows are drawn together, nor in which order, changes what a row draws.
    """

    def __init__(self, seed: int) -> None:
        self._seeds = torch.Generator().manual_seed(seed)
        self._numbers = torch.Generator()
        self._known: list[int] = []

    def __call__(self, rows: int, step: int) -> Tensor:
        """[rows] float64, on the CPU.

        >>> bool((Uniforms(0)(5, 3)[:2] == Uniforms(0)(2, 3)).all())
        True
        """
        while len(self._known) <= step:
            self._known.append(int(torch.randint(1 << 62, (), generator=self._seeds)))
        self._numbers.manual_seed(self._known[step])
        return torch.rand(rows, generator=self._numbers, dtype=torch.float64)


class Drawn(NamedTuple):
    """What was drawn for n rows."""

    token: Tensor  # [n] int64; -1 where the logits held a NaN or +inf
    logp: Tensor  # [n] under softmax(logits / temperature); at temperature 1 where it was greedy
    logp_sampler: Tensor | None  # [n] under the distribution that was drawn from, where it was cut


def draw(logits: Tensor, branch: Tensor, uniform: Tensor, sampling: Sampling) -> Drawn:
    """The tokens of n rows: row i draws from `logits[branch[i]]` with the number `uniform[i]`.

    The token is the first one whose cumulative probability exceeds the number, summed in float64:
    a token of probability 0 is never drawn. `logits` is [branches, vocabulary].

    >>> logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
    >>> draw(logits, torch.tensor([0, 0]), torch.tensor([0.5, 0.95]).double(), Sampling()).token
    tensor([0, 2])
    """
    return (
        _greedy(logits, branch) if sampling.greedy else _sample(logits, branch, uniform, sampling)
    )


def draw_pieces(
    pieces: Iterable[Tensor], branch: Tensor, uniform: Tensor, sampling: Sampling
) -> Drawn:
    """What `draw` draws from the logits that come piece by piece, so that only one piece is held.

    Every piece answers for every row, and a row keeps the answer of the piece that its branch is
    in.

    >>> pieces = iter([torch.zeros(1, 2), torch.tensor([[0.0, 99.0]])])
    >>> draw_pieces(pieces, torch.tensor([1, 1]), torch.rand(2).double(), Sampling()).token
    tensor([1, 1])
    """
    kept: Drawn | None = None
    start = 0
    for piece in pieces:
        here = (branch >= start) & (branch < start + len(piece))
        drawn = draw(piece, (branch - start).clamp(0, len(piece) - 1), uniform, sampling)
        kept = drawn if kept is None else _merge(here, drawn, kept)
        start += len(piece)
    assert kept is not None
    return kept


def _merge(here: Tensor, new: Drawn, old: Drawn) -> Drawn:
    cut = None
    if new.logp_sampler is not None and old.logp_sampler is not None:
        cut = torch.where(here, new.logp_sampler, old.logp_sampler)
    token, logp = (torch.where(here, a, b) for a, b in zip(new[:2], old[:2], strict=True))
    return Drawn(token, logp, cut)


def _greedy(logits: Tensor, branch: Tensor) -> Drawn:
    token = logits.argmax(-1)
    logp = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(-1)
    return Drawn(torch.where(logp.isfinite(), token, -1)[branch], logp[branch], None)


def _sample(logits: Tensor, branch: Tensor, uniform: Tensor, sampling: Sampling) -> Drawn:
    scores = logits if sampling.temperature == 1 else logits / sampling.temperature
    logp = kept = scores.log_softmax(-1)
    if sampling.truncates:
        kept = truncate(scores, sampling).log_softmax(-1)
    token = _inverse_cdf(kept.exp(), branch, uniform)
    place = branch * logits.shape[1] + token.clamp(0, logits.shape[1] - 1)
    return Drawn(
        token,
        logp.flatten()[place],
        kept.flatten()[place] if sampling.truncates else None,
    )


def _inverse_cdf(probabilities: Tensor, branch: Tensor, uniform: Tensor) -> Tensor:
    """First token whose cumulative probability exceeds the number; -1 where there is none."""
    branches, vocabulary = probabilities.shape
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    # One sorted search for all rows: branch k's sums are lifted to [2k, 2k + 1], so that the flat
    # array ascends. Adding the same number to equal sums keeps them equal, so a token of
    # probability 0 still is no first one.
    lift = 2.0 * torch.arange(branches, device=branch.device, dtype=torch.float64)
    total = cumulative[:, -1]
    below = torch.nextafter(total + lift, lift)[
        branch
    ]  # at most this, or the search would leave the branch
    target = torch.minimum(uniform * total[branch] + lift[branch], below)
    cumulative += lift[:, None]
    found = torch.searchsorted(cumulative.flatten(), target, right=True) - branch * vocabulary
    return torch.where(total[branch].isfinite(), found, -1)


def truncate(scores: Tensor, sampling: Sampling) -> Tensor:
    """[rows, vocabulary] scores (already divided by the temperature), -inf where they are cut off.

    Top-k keeps the k largest and whatever ties with the last of them; top-p the most probable
    tokens until their probabilities reach p; min-p what is at least p times as probable as the
    most probable token. Each works on what the one before kept, renormalised, as Hugging Face's
    warpers do. At least one token stays.

    >>> truncate(torch.tensor([[3.0, 1.0, 2.0]]), Sampling(top_k=2))
    tensor([[3., -inf, 2.]])
    """
    if sampling.top_k > 0:
        least = scores.topk(min(sampling.top_k, scores.shape[-1])).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if sampling.top_p < 1:
        scores = scores.masked_fill(_beyond(scores, sampling.top_p), -torch.inf)
    if sampling.min_p > 0:
        probability = scores.softmax(-1)
        least = sampling.min_p * probability.amax(-1, keepdim=True)
        # At min_p = 1 rounding must not cut the most probable token itself.
        scores = scores.masked_fill(
            (probability < least) & (scores < scores.amax(-1, True)), -torch.inf
        )
    return scores


def _beyond(scores: Tensor, top_p: float) -> Tensor:
    """True for the least probable tokens whose probabilities sum to at most 1 - p."""
    ordered, order = scores.sort(dim=-1)
    tail = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
    tail[..., -1] = False
    return tail.scatter(-1, order, tail)
