"""The steps of an iteration where policy and critic differentiate themselves: no graph is built.

The coefficient is the recipe's own, and the surrogate's slope along a log-probability is
−weight · coefficient. What carries it to the parameters is the world's `ClosedForm`; the numbers
are autograd's to rounding, by test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from logpi.core.closed import ClosedForm, ClosedWorld, Forward
from logpi.core.errors import NonFiniteError
from logpi.core.near import within_reach
from logpi.core.recipe import Recipe
from logpi.core.seeds import mix
from logpi.core.surrogate import surrogate_slope
from logpi.core.types import Regulariser, Signals
from logpi.train.config import RunConfig
from logpi.train.flat import FlatAdamW
from logpi.train.observe import corrected, too_far
from logpi.train.optimizer import parameters_of
from logpi.train.trained import Trained
from logpi.train.update import Pushed, check_finite, clip_gradient, partition
from logpi.train.work import Work, splits_rows

__all__ = ["ClosedUpdate", "closed_update"]


def closed_update(
    world: object, trained: Trained, work: Work, recipe: Recipe, config: RunConfig
) -> ClosedUpdate | None:
    """The update in closed form, where the world, the recipe and the optimizers allow it."""
    one_fit = config.optim.critic_steps * config.optim.critic_minibatches == 1
    if not isinstance(world, ClosedWorld) or recipe.update != "adam" or not one_fit:
        return None
    if not splits_rows(recipe, trained.policy):
        return None
    moved = [trained.optimizer, trained.critic_optimizer]
    flat = [optimizer for optimizer in moved if isinstance(optimizer, FlatAdamW)]
    if len(flat) != sum(m is not None for m in moved) or not all(o.whole() for o in flat):
        return None
    form = world.closed_form(work.inputs, entropy=recipe.regulariser is not None)
    return None if form is None else ClosedUpdate(form, trained, flat, config)


class ClosedUpdate:
    """The surrogate and the critic's squared error, differentiated by hand: an `Update`."""

    def __init__(
        self, form: ClosedForm, trained: Trained, flat: list[FlatAdamW], config: RunConfig
    ) -> None:
        """Of the policy and critic that `form` is of, whose optimizers `flat` are."""
        self._form, self._trained, self._config = form, trained, config
        self._flat = flat
        vectors = [f.gradient.numpy() for f in flat]
        self._gradients = [vectors] if trained.together else [[v] for v in vectors]
        # of the last step: norm of the gradient, entropy, and value − target, weighted and plain
        self._norm = 0.0
        self._entropy: float | None = None
        self._missed: tuple[ndarray, ndarray] | None = None

    @np.errstate(all="ignore")  # what is not finite is looked for
    def learn(
        self, work: Work, recipe: Recipe, *, iteration: int
    ) -> tuple[Pushed, dict[str, float]]:
        """What was pushed of every decision, and figures, after an iteration's steps."""
        config, steps, taken = self._config, 0, 0
        whole = Pushed.nothing(work.weight)
        epoch: _Epoch | None = None
        try:
            for number in range(recipe.epochs):
                seed = mix(config.seed, iteration, number)
                rows = partition(work.signals, config.minibatches, seed=seed)
                if not rows:  # no decision is left
                    break
                if epoch is None:
                    told = corrected(work.signals, recipe, work.weight)
                    epoch = _Epoch(work, told, rows)
                elif len(rows) > 1:  # else it is all of them again
                    epoch.tell(whole, taken)
                    epoch.arrange(rows)
                if len(rows) > 1:
                    self._form.arrange(epoch.order)
                taken = self._take(epoch.parts, recipe)
                steps += taken
                if taken < len(rows):
                    break
        finally:
            for optimizer in self._flat:
                optimizer.zero_grad()
        if epoch is not None:
            epoch.tell(whole, taken)
        return whole, {**(self._figures() if steps else {}), "steps": float(steps)}

    def _take(self, parts: list[_Part], recipe: Recipe) -> int:
        """How many steps were taken: fewer than there are parts, if the policy comes too far."""
        for taken, part in enumerate(parts):
            if not self._step(part, recipe):
                return taken
        return len(parts)

    def _step(self, part: _Part, recipe: Recipe) -> bool:
        """Whether policy and critic have moved: not where the policy has come too far."""
        bonus = recipe.regulariser
        found = self._form.forward(part.at, entropy=bonus is not None)
        part.logp[:] = found.logp
        coefficient = part.push(recipe.coefficient(part.facts))
        if recipe.target_kl is not None and too_far(recipe, part.facts, part.seen()):
            return False
        of_value = of_entropy = None
        if found.value is not None and part.fit is not None:
            of_value = self._slope_of_value(part.fit, found.value)
        if bonus is not None:
            of_entropy = self._slope_of_entropy(part, found, bonus)
        of_logp = surrogate_slope(coefficient, part.share)
        self._form.backward(of_logp.numpy()[:, 0], of_entropy, of_value)
        try:
            self._norm = self._clip()
        except NonFiniteError as error:
            error.rows = part.rows.tolist()
            raise
        for optimizer in self._flat:
            optimizer.advance()
        return True

    def _slope_of_value(self, fit: _Fit, value: ndarray) -> ndarray:
        """∂/∂v of critic_weight · Σ weight (v − target)², 0 where the value is kept back."""
        optim = self._config.optim
        gap = value - fit.target
        pull = fit.weight * gap
        if optim.value_clip is not None:
            v, before, wanted = map(torch.from_numpy, (value, fit.before, fit.target))
            pull *= within_reach(v, before, wanted, reach=optim.value_clip).numpy()
        self._missed = (pull, gap)
        return pull * (2 * optim.critic_weight)

    def _slope_of_entropy(self, part: _Part, found: Forward, bonus: Regulariser) -> ndarray:
        """∂/∂H of −Σ weight · regulariser(H), over the decisions that count."""
        assert found.entropy is not None
        counted = part.counted()
        entropy = torch.from_numpy(found.entropy[:, None]).requires_grad_()
        slope = torch.autograd.grad((counted * bonus(entropy)).sum(), entropy)[0]
        mass = float(counted.sum())
        self._entropy = float((counted * entropy.detach()).sum()) / mass if mass else None
        return -slope[:, 0].numpy()

    def _figures(self) -> dict[str, float]:
        """Of the last step."""
        found = {"gradient_norm": self._norm}
        if self._missed is not None:
            found["critic_loss"] = float(self._missed[0] @ self._missed[1])
        if self._entropy is not None:
            found["entropy"] = self._entropy
        return found

    def _clip(self) -> float:
        """The norm of the policy's gradient, or of both as one; it is then as long as allowed."""
        limit = self._config.optim.clip
        norms = [math.sqrt(sum(float(v.dot(v)) for v in vectors)) for vectors in self._gradients]
        if not all(map(math.isfinite, norms)):
            return self._clip_or_refuse()
        for norm, vectors in zip(norms, self._gradients, strict=True):
            if limit is not None and norm > limit:
                for v in vectors:
                    v *= limit / (norm + 1e-6)
        return norms[0]

    def _clip_or_refuse(self) -> float:
        """The same where a sum of squares is not finite: the gradient itself may be."""
        limit, trained = self._config.optim.clip, self._trained
        if trained.together:
            return clip_gradient(trained.parameters(), limit, what="policy's and critic")
        whose = zip(("policy", "critic"), self._flat, strict=False)
        norms = [clip_gradient(parameters_of(f), limit, what=what) for what, f in whose]
        return norms[0]


class _Fit(NamedTuple):
    """What the critic is to learn of k decisions, [k] each."""

    target: ndarray
    weight: ndarray
    before: ndarray  # what the values were when the batch was drawn


@dataclass(frozen=True, slots=True)
class _Part:
    """A mini-batch: what the coefficient reads of its k decisions, and how much they count."""

    at: slice  # in the order of the epoch
    rows: Tensor  # [k] their numbers in the batch
    facts: Signals  # its `logp` is that of the last step
    logp: ndarray  # [k] the same numbers, where a step writes them
    coefficient: Tensor  # [k, 1] that of the last step
    share: Tensor  # [k, 1]
    live: Tensor | None  # [k, 1]; none where all are
    fit: _Fit | None

    def push(self, coefficient: Tensor) -> Tensor:
        """The coefficients, written down, once they and the log-probabilities are finite."""
        seen = self.logp
        if self.live is not None:  # what is known to be 0 counts nowhere
            coefficient = torch.where(self.live, coefficient, 0.0)
            seen = np.where(self.live.numpy()[:, 0], seen, 0)
        pushed = coefficient.numpy()
        if not math.isfinite(np.add.reduce(seen) + np.add.reduce(pushed, axis=None)):
            check_finite(self.rows, torch.from_numpy(seen[:, None]), coefficient)
        self.coefficient.copy_(coefficient)
        return coefficient

    def seen(self) -> Tensor:
        """[k, 1] the log-probabilities, NaN where a decision is not live."""
        logp = self.facts.need("logp")
        return logp if self.live is None else torch.where(self.live, logp, torch.nan)

    def counted(self) -> Tensor:
        """[k, 1] the weights of these decisions, 0 where they are not live."""
        return self.share if self.live is None else self.share * self.live


class _Epoch:
    """The decisions in an epoch's order, and its mini-batches, which are slices of them.

    They lie where they are for as long as the mini-batches have the same sizes, so that another
    epoch only brings them into another order.
    """

    order: ndarray  # [n] their numbers in the batch
    parts: list[_Part]

    def __init__(self, work: Work, told: Tensor, rows: list[Tensor]) -> None:
        """`told` is how much each decision counts for the critic; a part stands for all."""
        facts = {name: x for name, x in work.signals.known().items() if name != "logp"}
        known = facts | {"share": work.weight, "told": told}
        if not bool(work.live.all()):
            known["live"] = work.live
        if work.target is not None:
            known["target"] = work.target
        self._facts, self._given = set(facts), {name: x.numpy() for name, x in known.items()}
        self._sizes: list[int] = []
        self.arrange(rows)

    def arrange(self, rows: list[Tensor]) -> None:
        """Bring the decisions into this order."""
        sizes = [len(x) for x in rows]
        if sizes != self._sizes:
            self._make_room(sizes)
        self.order[:] = torch.cat(rows).numpy()
        for name, x in self._given.items():
            x.take(self.order, 0, self._ordered[name], "clip")  # raising, it would make a copy
        for name in ("share", "told"):
            self._ordered[name] *= len(sizes)

    def tell(self, whole: Pushed, taken: int) -> None:
        """Write down what was pushed in that many steps, and in the one that came too far."""
        done = slice(0, self.parts[min(taken, len(self.parts) - 1)].at.stop)
        logp, here = self._logp[done], self.order[done]
        if "live" in self._ordered:
            logp = np.where(self._ordered["live"][done], logp, np.nan)
        whole.logp.numpy()[here], whole.coefficient.numpy()[here] = logp, self._coefficient[done]

    def _make_room(self, sizes: list[int]) -> None:
        self._sizes, share = sizes, self._given["share"]
        self._ordered = {name: np.empty_like(x) for name, x in self._given.items()}
        self._logp, self._coefficient = np.empty_like(share), np.empty_like(share)
        self.order = np.empty(len(share), dtype=np.int64)
        ends = np.cumsum(sizes).tolist()
        self.parts = [self._part(slice(e - k, e)) for e, k in zip(ends, sizes, strict=True)]

    def _part(self, at: slice) -> _Part:
        of = {name: torch.from_numpy(x[at]) for name, x in self._ordered.items()}
        fit = None
        if "target" in of:
            fit = _Fit(*(of[name].numpy()[:, 0] for name in ("target", "told", "value")))
        logp = self._logp[at]
        facts = Signals(**{name: of[name] for name in self._facts}, logp=torch.from_numpy(logp))
        rows, coefficient = (torch.from_numpy(x[at]) for x in (self.order, self._coefficient))
        written = logp[:, 0], coefficient
        return _Part(at, rows, facts, *written, share=of["share"], live=of.get("live"), fit=fit)
