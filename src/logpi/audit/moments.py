"""The engine: what an estimator is on average over batches, how it scatters, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from logpi.audit.estimators import Estimator, LogProbs, Opened, Push
from logpi.audit.functional import entropy_push, masked_tables, parameters_of
from logpi.audit.rows import Rows, log_probs
from logpi.worlds.mdp.exact.fisher import score_matrix
from logpi.worlds.mdp.exact.units import Draws
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["Exact", "Moments", "moments_of"]

_ELEMENTS = 4_000_000  # of the largest tensor of a chunk

Exact = Callable[[Float[Tensor, "b S A"]], dict[str, Float[Tensor, "b S A"]]]
"""Each objective's exact push of every log-probability, for b tables of log-probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What one step is over all batches, each weighed by its probability."""

    mean: Float[Tensor, " p"]  # E[ĝ]
    variance: Float[Tensor, " p"]  # of each parameter's ĝ
    decisions: dict[str, Float[Tensor, " SA"]]  # sums over the decisions of a row, by (s, a)
    clipped: float  # the share of decisions that earned something and were not pushed
    exact: dict[str, Tensor]  # E[∇J] at the policies that the batches have moved to
    each: Float[Tensor, "b p"] | None = None  # every batch's own, where that was asked for


def moments_of(
    estimator: Estimator,
    rows: Rows,
    draws: Draws,
    policy: SoftmaxPolicy,
    *,
    logp_old: Float[Tensor, "n t"] | None,
    exact: Exact,
    steps: int = 1,
    lr: float = 0.0,
    keep: bool = False,
) -> list[Moments]:
    """The moments of the first step on a batch, and of each later one on the same batch.

    After every step the policy of each batch has moved its own way, θ ← θ + lr · ĝ(batch); the
    credits stay those of the first step. `keep` keeps every batch's gradient.
    """
    theta, scores = parameters_of(policy), score_matrix(policy).flatten(0, 1)
    with torch.no_grad():
        now = log_probs(rows, masked_tables(policy, theta[None])[0])
    tallies = [_Tally(keep=keep) for _ in range(steps)]
    for part in _chunks(draws, rows, policy, len(theta)):
        opened = estimator.open(rows, part, LogProbs(now, logp_old))
        place = _Place(part, rows, policy)
        moved = theta.expand(part.count, -1)
        for step, tally in enumerate(tallies):
            shift = _Shift(policy, moved, scores if step == 0 else None)
            push, gradient = place.pushed(opened, shift)
            tally.add(place, push, gradient)
            if step:
                tally.add_exact(part.probability, exact, shift)
            moved = moved + lr * gradient
    return [tally.moments() for tally in tallies]


def _chunks(draws: Draws, rows: Rows, policy: SoftmaxPolicy, parameters: int) -> Iterator[Draws]:
    widest = max(policy.allowed.numel(), parameters, draws.rows.shape[1] * rows.mask.shape[1])
    size = max(1, _ELEMENTS // widest)
    for low in range(0, draws.count, size):
        yield draws.part(low, low + size)


class _Shift:
    """The policies of b batches: all the same at first, each its own after a step."""

    def __init__(self, policy: SoftmaxPolicy, theta: Tensor, scores: Tensor | None) -> None:
        self._theta = theta[:1] if scores is not None else theta.detach().requires_grad_()
        self.table = masked_tables(policy, self._theta)  # [1 or b, S, A]
        self._scores = scores
        # −π log π of every action: what the gradient of an entropy pushes
        self.of_entropy = entropy_push(torch.where(policy.allowed, self.table.detach(), -torch.inf))

    def gradient(self, pushed: Float[Tensor, "b SA"]) -> Float[Tensor, "b p"]:
        """Σ pushed · ∇log π of each batch, at its own policy."""
        if self._scores is not None:
            return pushed @ self._scores
        total = (pushed * self.table.flatten(1)).sum()
        return torch.autograd.grad(total, self._theta, retain_graph=True)[0]


class _Place:
    """Where in (s, a) the decisions of some batches lie."""

    def __init__(self, draws: Draws, rows: Rows, policy: SoftmaxPolicy) -> None:
        self.draws = draws
        index = draws.rows.flatten()
        self.mask, self.pair = rows.mask[index], rows.pair[index]
        self.states, self.actions = policy.allowed.shape
        self.pairs = self.states * self.actions

    def pushed(self, opened: Opened, shift: _Shift) -> tuple[Push, Tensor]:
        """What every decision is pushed with, and each batch's gradient."""
        batches, table = self.draws.count, shift.table.detach()
        pair = self.pair.reshape(batches, -1)
        entropy = shift.of_entropy.sum(2).expand(batches, -1)
        logp = table.flatten(1).expand(batches, -1).gather(1, pair).reshape(self.pair.shape)
        at_state = entropy.gather(1, pair // self.actions).reshape(self.pair.shape)
        push = opened.push(torch.where(self.mask, logp, 0.0), at_state)
        total = self._by_batch(push.weight * push.coefficient, pair, self.pairs)
        if push.entropy_weight is not None:
            of_state = self._by_batch(push.entropy_weight, pair // self.actions, self.states)
            total = total + (of_state[:, :, None] * shift.of_entropy).flatten(1)
        return push, shift.gradient(total)

    def _by_batch(self, x: Tensor, where: Tensor, size: int) -> Tensor:
        out = torch.zeros(self.draws.count, size, dtype=torch.float64)
        return out.scatter_add_(1, where, torch.where(self.mask, x, 0.0).reshape(where.shape))

    def by_pair(self, x: Float[Tensor, "r t"]) -> Float[Tensor, " SA"]:
        """E[Σ_t x] of a row of a batch, over decisions in each (s, a)."""
        k = self.draws.rows.shape[1]
        share = (self.draws.probability / k).repeat_interleave(k)[:, None]
        out = torch.zeros(self.pairs, dtype=torch.float64)
        return out.index_add_(
            0, self.pair.flatten(), torch.where(self.mask, share * x, 0.0).flatten()
        )


@dataclass(slots=True)
class _Tally:
    """Running sums of one step."""

    keep: bool
    pivot: Tensor | None = None  # near the mean, so that squares do not cancel
    first: Tensor | None = None
    second: Tensor | None = None
    decisions: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    exact: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    each: list[Tensor] = field(default_factory=list[Tensor])

    def add(self, place: _Place, push: Push, gradient: Tensor) -> None:
        p = place.draws.probability
        if self.pivot is None:
            self.pivot = p @ gradient / p.sum()
            self.first, self.second = torch.zeros_like(self.pivot), torch.zeros_like(self.pivot)
        assert self.first is not None
        assert self.second is not None
        off = gradient - self.pivot
        self.first += p @ off
        self.second += p @ off.square()
        k = place.draws.rows.shape[1]
        c, effective = push.coefficient, push.coefficient * push.weight * k
        for name, x in {
            "visits": torch.ones_like(c),
            "coefficient": c,
            "coefficient²": c.square(),
            "effective": effective,
            "clipped": push.clipped.double(),
        }.items():
            total = place.by_pair(x)
            self.decisions[name] = self.decisions[name] + total if name in self.decisions else total
        if self.keep:
            self.each.append(gradient)

    def add_exact(self, probability: Tensor, exact: Exact, shift: _Shift) -> None:
        for name, pushed in exact(shift.table.detach()).items():
            total = probability @ shift.gradient(pushed.flatten(1))
            self.exact[name] = self.exact[name] + total if name in self.exact else total

    def moments(self) -> Moments:
        assert self.pivot is not None
        assert self.first is not None
        assert self.second is not None
        d = self.decisions
        return Moments(
            mean=self.pivot + self.first,
            variance=(self.second - self.first.square()).clamp(min=0),
            decisions=d,
            clipped=float(d["clipped"].sum() / d["visits"].sum().clamp(min=1e-300)),
            exact=self.exact,
            each=torch.cat(self.each) if self.each else None,
        )
