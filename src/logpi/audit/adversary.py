"""Where a recipe is worst: a policy and rewards for which its mean gradient points elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.audit.critics import Values
from logpi.audit.enumeration import enumerated, measured, rows_and_batches
from logpi.audit.estimators import LogProbs, averaged, credit_of, signals_of
from logpi.audit.models import ends, texts
from logpi.audit.problem import AnyWorld, problem_of
from logpi.audit.report import AuditReport, fit
from logpi.audit.rows import Rows
from logpi.audit.setup import AnyRecipe, Options, Setup, resolved, setup_of
from logpi.core.errors import ConfigError
from logpi.core.recipe import Recipe
from logpi.core.returns import trajectory_return
from logpi.core.seeds import mix
from logpi.worlds.mdp.exact.objectives import OBJECTIVES, Given
from logpi.worlds.mdp.exact.tables import flat_gradient
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["Witness", "worst_case"]

Found = tuple[float, ndarray, ndarray]

Rewards = Callable[[Tensor], Tensor]

_REWARDS: dict[str, Rewards] = {
    "any": torch.tanh,
    "positive": torch.sigmoid,
    "binary": lambda raw: (raw.detach() > 0).double(),
}
"""Rewards from numbers without bounds."""

_BOUND = 3.0  # logits stay within ±3: no action becomes rarer than about exp(−6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Witness:
    """The worst that was found: a model with its rewards, and a policy in it."""

    cosine: float  # between the recipe's mean gradient and that of the return
    model: FiniteMDP
    policy: Float[ndarray, "S A"]  # probabilities
    reward: Float[ndarray, "S A"]
    report: AuditReport
    tried: tuple[float, ...]  # the smallest cosine of each restart


def worst_case(
    recipe: AnyRecipe,
    world: AnyWorld | None = None,
    *,
    actions: int = 4,
    horizon: int | None = None,
    group_size: int = 2,
    rewards: Literal["any", "positive", "binary"] = "any",
    restarts: int = 8,
    iterations: int = 60,
    seed: int = 0,
) -> Witness:
    """The policy and rewards with the smallest cosine between E[ĝ] and the gradient of the return.

    The model is the world's, with a reward for every action that ends an episode; without one it is
    all texts of at most `horizon` tokens (3) out of `actions` − 1 words and an end, since rows of
    different lengths are where averages go wrong. Every batch is enumerated, the cosine is
    differentiated with respect to logits and rewards, and Adam descends it from random `restarts`.
    For pairs, demonstrations, filtered, mixed or replayed rows, and for ReMax, random moves that
    lower it are kept instead, which takes longer. Rewards are in [−1, 1], in [0, 1] where they are
    to be "positive", or 0 and 1, which are then drawn and kept. The policy is its own reference. It
    is a search: the true worst case may be worse. The same seed finds the same witness.

    >>> round(worst_case("rloo", actions=2, horizon=2, restarts=1, iterations=3).cosine, 12)
    1.0
    """
    _check(restarts, iterations, rewards)
    told: Options = {"group_size": group_size}
    if world is None:
        world, horizon = texts(actions - 1, horizon or 3), None
    problem = problem_of(world, horizon=horizon)
    if problem.horizon is not None:
        told["horizon"] = problem.horizon
    m = problem.m
    search = _search(recipe, m, told)
    found = [
        search.descend(mix(seed, restart), iterations=iterations, reward=_REWARDS[rewards])
        for restart in range(restarts)
    ]
    return _witness(recipe, m, found, told)


def _search(recipe: AnyRecipe, m: FiniteMDP, told: Options) -> _Search | _Climb:
    """What descends: by slopes, where the batches are rows or groups of the policy's own."""
    setup = setup_of(recipe, m, **told)
    live = setup.plan.compare in ("none", "groups") and setup.law.own
    return _Search(setup, resolved(recipe)[1]) if live else _Climb(recipe, m, told)


def _check(restarts: int, iterations: int, rewards: str) -> None:
    if restarts < 1 or iterations < 0:
        raise ConfigError(f"{restarts} restarts of {iterations} iterations: nothing is searched.")
    if rewards not in _REWARDS:
        raise ConfigError(f"rewards is {rewards!r} but must be one of {', '.join(_REWARDS)}.")


def _witness(recipe: AnyRecipe, m: FiniteMDP, found: list[Found], told: Options) -> Witness:
    """The worst that was found, confirmed by the audit itself."""
    _, logits, reward = min(found, key=lambda one: one[0])
    report = enumerated(_setup(recipe, m, told, logits, reward))
    cosine = report.against("return").cosine
    if cosine is None:
        raise ConfigError(
            "the gradient of the return, or the recipe's mean, is 0 wherever was looked. Take more "
            "restarts, or another model."
        )
    return Witness(
        cosine=cosine,
        model=m.having(reward=reward, outcome_reward=None),
        policy=_softmax(m, logits),
        reward=reward,
        report=report,
        tried=tuple(one[0] for one in found),
    )


def _softmax(m: FiniteMDP, logits: ndarray) -> Float[ndarray, "S A"]:
    policy = np.where(m.allowed, np.exp(logits), 0.0)
    return policy / np.maximum(policy.sum(1, keepdims=True), 1e-300)


def _setup(
    recipe: AnyRecipe, m: FiniteMDP, told: Options, logits: ndarray, reward: ndarray
) -> Setup:
    """The audit of a policy, which is its own reference, with these rewards."""
    policy = _softmax(m, logits)
    final: Options = {**told, "policy": policy, "reference": policy}
    return setup_of(recipe, m.having(reward=reward, outcome_reward=None), **final)


def _paid_actions(m: FiniteMDP) -> Tensor:
    """Where a reward is paid: with the action that ends the episode, where there is one."""
    last = torch.from_numpy(ends(m))
    return last if last.any() else torch.from_numpy(m.allowed)


class _Climb:
    """The cosine as the audit has it, for every kind of data: moves that lower it are kept."""

    def __init__(self, recipe: AnyRecipe, m: FiniteMDP, told: Options) -> None:
        self.recipe, self.m, self.told = recipe, m, told
        self.paid = _paid_actions(m)

    def descend(self, seed: int, *, iterations: int, reward: Rewards) -> Found:
        """The smallest cosine that random moves reach from a random start."""
        draw = torch.Generator().manual_seed(seed)
        shape = (2, *self.m.allowed.shape)
        at = torch.randn(shape, generator=draw, dtype=torch.float64)
        best, step = self._at(at, reward), 0.5
        for _ in range(iterations):
            there = at + step * torch.randn(shape, generator=draw, dtype=torch.float64)
            found = self._at(there, reward)
            lower = found[0] < best[0]
            step *= 1.3 if lower else 0.93
            if lower:
                at, best = there, found
        return best

    def _at(self, point: Tensor, reward: Rewards) -> Found:
        logits = (_BOUND * torch.tanh(point[0] / _BOUND)).numpy()
        paid = torch.where(self.paid, reward(point[1]), 0.0).numpy()
        setup = _setup(self.recipe, self.m, self.told, logits, paid)
        rows, draws = rows_and_batches(setup)
        moments = measured(setup, rows, draws, rows.mask.shape[1])[0]
        policy, given = setup.problem.policy, Given(horizon=setup.problem.horizon)
        exact = flat_gradient(OBJECTIVES["return"](setup.problem.m, policy, given), policy)
        cosine = fit("return", exact, moments.mean, float(moments.variance.sum())).cosine
        return (2.0 if cosine is None else cosine), logits, paid


class _Search:
    """The cosine as a live function of logits and rewards; what does not depend on them is kept."""

    def __init__(self, setup: Setup, recipe: Recipe) -> None:
        rows, draws = rows_and_batches(setup)
        self.m, self.recipe, self.rows, self.draws = setup.problem.m, recipe, rows, draws
        self.horizon = rows.mask.shape[1]
        self.allowed = torch.from_numpy(self.m.allowed)
        move = torch.from_numpy(self.m.transitions.toarray().astype(np.float64))
        self.move = move.reshape(*self.m.allowed.shape, -1)
        self.paid = _paid_actions(self.m)
        # p(batch) = ways · Π p(row): the ways do not depend on the policy.
        now = torch.where(
            rows.mask, setup.problem.policy.table().detach().flatten()[rows.pair], 0.0
        )
        self.ways = draws.probability / now.sum(1).exp()[draws.rows].prod(1)
        index = draws.rows.flatten()
        self.weight = averaged(recipe.aggregate, rows.mask[index], draws.rows.shape[1])

    def descend(self, seed: int, *, iterations: int, reward: Rewards) -> Found:
        """The smallest cosine on the way down from a random start, with its logits and rewards."""
        draw = torch.Generator().manual_seed(seed)
        shape = self.allowed.shape
        logits = torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()
        raw = torch.randn(shape, generator=draw, dtype=torch.float64)
        moving = [logits, raw.requires_grad_()]
        optimizer = torch.optim.Adam(moving, lr=0.1)
        best: Found = (2.0, np.zeros(shape), np.zeros(shape))
        for _ in range(iterations + 1):
            theta = _BOUND * torch.tanh(logits / _BOUND)
            r = torch.where(self.paid, reward(raw), 0.0)
            cosine = self.cosine(theta, r)
            if cosine is None:  # nothing to learn from: a point where no direction is defined
                break
            now = float(cosine.detach())
            if now < best[0]:
                best = (now, theta.detach().numpy().copy(), r.detach().numpy().copy())
            optimizer.zero_grad()
            cosine.backward()
            optimizer.step()
        return best

    def cosine(self, theta: Tensor, reward: Tensor) -> Tensor | None:
        """cos(E[ĝ], ∇return), with the gradients of both arguments; None where one of them is 0."""
        cut = theta.masked_fill(~self.allowed & self.allowed.any(1, keepdim=True), -torch.inf)
        logpi = torch.where(self.allowed, cut.log_softmax(1), 0.0)
        pi = torch.where(self.allowed, logpi.exp(), 0.0)
        logp = torch.where(self.rows.mask, logpi.flatten()[self.rows.pair], 0.0)
        exact, values = self._exact(pi, reward)
        mean = self._mean(self._paid(reward, values, logp), logp)
        a, b = (x - pi * x.sum(1, keepdim=True) for x in (mean, exact))
        size = a.norm() * b.norm()
        return (a * b).sum() / size if float(size.detach()) > 1e-12 else None

    def _exact(self, pi: Tensor, reward: Tensor) -> tuple[Tensor, Values]:
        """Σ_t γ^t Pr(s_t = s) π(a|s) Q_t(s, a), and the values it is made of."""
        v, q = [torch.zeros(len(pi), dtype=torch.float64)], list[Tensor]()
        for _ in range(self.horizon):
            q.insert(0, torch.where(self.allowed, reward + self.m.discount * self.move @ v[0], 0.0))
            v.insert(0, (pi * q[0]).sum(1))
        here = torch.from_numpy(self.m.start.astype(np.float64))
        pushed = torch.zeros_like(pi)
        for t in range(self.horizon):
            flow = here[:, None] * pi
            pushed = pushed + self.m.discount**t * flow * q[t]
            here = torch.einsum("sa,san->n", flow, self.move)
        return pushed, Values(torch.stack(v), torch.stack(q), "exact")

    def _paid(self, reward: Tensor, values: Values, logp: Tensor) -> Rows:
        """The rows with these rewards, and the exact critic's values of them."""
        rows = self.rows
        earned = torch.where(rows.mask, reward.flatten()[rows.pair], 0.0)
        v, following, q = (torch.where(rows.mask, x, 0.0) for x in values.at(rows.steps))
        return replace(
            rows,
            reward=earned,
            total=trajectory_return(earned, rows.discount, rows.end),
            value=v,
            next_value=following,
            q=q,
            logp_ref=logp,
        )

    def _mean(self, rows: Rows, logp: Tensor) -> Tensor:
        """E[Σ weight · coefficient] on each log-probability."""
        k = self.draws.rows.shape[1]
        signals = signals_of(rows, self.draws, LogProbs(logp, logp))
        # Where all returns of a batch are equal the spread is 0, and its square root has no slope.
        total = rows.total.detach()[self.draws.rows]
        tied = (total.amax(1) == total.amin(1)).repeat_interleave(k)[:, None]
        signals = signals.having(reward=torch.where(tied, signals.reward.detach(), signals.reward))
        credit = credit_of(self.recipe, signals, k)
        coefficient = self.recipe.coefficient(signals.having(credit=credit))
        probability = self.ways * logp.sum(1).exp()[self.draws.rows].prod(1)
        share = probability.repeat_interleave(k)[:, None] * self.weight * coefficient
        pair = rows.pair[self.draws.rows.flatten()]
        out = torch.zeros(self.allowed.numel(), dtype=torch.float64)
        kept = torch.where(signals.mask, share, 0.0)
        return out.index_add(0, pair.flatten(), kept.flatten()).view(self.allowed.shape)
