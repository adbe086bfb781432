"""The steps of an iteration where policy and critic differentiate themselves: no graph is built.

The coefficient is the recipe's own, and the surrogate's slope along a log-probability is
−weight · coefficient. What carries it to the parameters is the world's `ClosedForm`; the numbers
are autograd's to rounding, by test.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from logpi.core.closed import ClosedForm, ClosedWorld, Forward
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
        config, steps = self._config, 0
        whole = Pushed.nothing(work.weight)
        told = corrected(work.signals, recipe, work.weight)
        try:
            for number in range(recipe.epochs):
                seed = mix(config.seed, iteration, number)
                parts = partition(work.signals, config.minibatches, seed=seed)
                if not parts:  # no decision is left
                    break
                order = torch.cat(parts).numpy()
                if len(parts) > 1:
                    self._form.arrange(order)
                epoch = _Epoch(work, told, order, parts=len(parts))
                for part in _slices(parts):
                    if not self._step(epoch, part, recipe):
                        break
                    steps += 1
                epoch.tell(whole)
                if epoch.ended_early:
                    break
        finally:
            for optimizer in self._flat:
                optimizer.zero_grad()
        return whole, {**(self._figures() if steps else {}), "steps": float(steps)}

    def _step(self, epoch: _Epoch, part: slice, recipe: Recipe) -> bool:
        """Whether policy and critic have moved: not where the policy has come too far."""
        bonus = recipe.regulariser
        found = self._form.forward(part, entropy=bonus is not None)
        facts = epoch.facts(part, found.logp)
        coefficient = epoch.push(part, found.logp, recipe.coefficient(facts))
        if too_far(recipe, facts, torch.from_numpy(epoch.logp[part])):
            epoch.ended_early = True
            return False
        of_value = of_entropy = None
        if found.value is not None and epoch.target is not None:
            of_value = self._slope_of_value(epoch, epoch.target[part], part, found.value)
        if bonus is not None:
            of_entropy = self._slope_of_entropy(epoch, part, found, bonus)
        of_logp = surrogate_slope(coefficient, torch.from_numpy(epoch.share[part]))
        self._form.backward(of_logp.numpy()[:, 0], of_entropy, of_value)
        self._norm = self._clip()
        for optimizer in self._flat:
            optimizer.advance()
        return True

    def _slope_of_value(
        self, epoch: _Epoch, target: ndarray, part: slice, value: ndarray
    ) -> ndarray:
        """∂/∂v of critic_weight · Σ weight (v − target)², 0 where the value is kept back."""
        optim = self._config.optim
        gap = value - target
        pull = epoch.fit[part] * gap
        if optim.value_clip is not None:
            v, before, wanted = map(torch.from_numpy, (value, epoch.before[part], target))
            pull *= within_reach(v, before, wanted, reach=optim.value_clip).numpy()
        self._missed = (pull, gap)
        return pull * (2 * optim.critic_weight)

    def _slope_of_entropy(
        self, epoch: _Epoch, part: slice, found: Forward, bonus: Regulariser
    ) -> ndarray:
        """∂/∂H of −Σ weight · regulariser(H), over the decisions that count."""
        assert found.entropy is not None
        counted = epoch.counted(part)
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


class _Epoch:
    """What the mini-batches of an epoch read, in the epoch's order, and what came of them."""

    def __init__(self, work: Work, told: Tensor, at: ndarray, *, parts: int) -> None:
        """`told` is how much each decision counts for the critic; one part stands for all."""
        known = {name: x for name, x in work.signals.known().items() if name != "logp"}
        self._facts = {name: x.numpy().take(at, 0) for name, x in known.items()}
        self.share = work.weight.numpy().take(at, 0) * parts
        self.live = None if bool(work.live.all()) else work.live.numpy().take(at, 0)
        self.target: ndarray | None = None
        if work.target is not None:
            self.target, self.fit = (x.numpy()[:, 0].take(at) for x in (work.target, told))
            self.fit *= parts
            self.before = self._facts["value"][:, 0]
        self.ended_early = False
        self._order, self._done = at, 0
        self.logp, self._coefficient = (np.empty_like(self.share) for _ in range(2))

    def facts(self, part: slice, logp: ndarray) -> Signals:
        """What the coefficient may read of these decisions."""
        known = {k: torch.from_numpy(x[part]) for k, x in self._facts.items()}
        return Signals(**known, logp=torch.from_numpy(logp[:, None]))

    def push(self, part: slice, logp: ndarray, coefficient: Tensor) -> Tensor:
        """The coefficients, written down, once they and the log-probabilities are finite."""
        seen = told = logp[:, None]
        if self.live is not None:  # what is known to be 0 counts nowhere
            here = self.live[part]
            coefficient = torch.where(torch.from_numpy(here), coefficient, 0.0)
            seen, told = np.where(here, seen, 0), np.where(here, seen, np.nan)
        pushed = coefficient.numpy()
        if not math.isfinite(np.add.reduce(seen, axis=None) + np.add.reduce(pushed, axis=None)):
            rows = torch.from_numpy(self._order[part])
            check_finite(rows, torch.from_numpy(seen), coefficient)
        self.logp[part], self._coefficient[part] = told, pushed
        self._done = part.stop
        return coefficient

    def counted(self, part: slice) -> Tensor:
        """[k, 1] the weights of these decisions, 0 where they are not live."""
        share = torch.from_numpy(self.share[part])
        return share if self.live is None else share * torch.from_numpy(self.live[part])

    def tell(self, whole: Pushed) -> None:
        """Write down what was pushed, in the batch's order."""
        done = self._order[: self._done]
        whole.logp.numpy()[done] = self.logp[: self._done]
        whole.coefficient.numpy()[done] = self._coefficient[: self._done]


def _slices(parts: list[Tensor]) -> list[slice]:
    ends = np.cumsum([len(rows) for rows in parts]).tolist()
    return [slice(end - len(rows), end) for rows, end in zip(parts, ends, strict=True)]
