"""Small ragged batches with live logits, so that a loss can be differentiated to the very end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from logpi.core import Batch, Recipe, Signals, surrogate

ACTIONS = 5


@dataclass(frozen=True)
class Case:
    """A batch, what is known about it, and the logits that its log-probabilities come from."""

    logits: Tensor  # [n, t, ACTIONS], a leaf
    actions: Tensor  # [n, t]
    signals: Signals  # every field but `logp` and `credit`

    @property
    def logp(self) -> Tensor:
        picked = self.logits.log_softmax(-1).gather(-1, self.actions[..., None])[..., 0]
        return picked * self.signals.mask

    def take(self, rows: Tensor) -> Case:
        return Case(
            self.logits.detach()[rows].requires_grad_(),
            self.actions[rows],
            self.signals.take(rows),
        )

    def with_signals(self, **known: Tensor | None) -> Case:
        return replace(self, signals=self.signals.having(**known))


def random_case(
    lengths: Sequence[int],
    *,
    group: Sequence[int],
    reward: Sequence[float],
    seed: int = 0,
    away: float = 0.0,
    holes: Sequence[tuple[int, int]] = (),
    masked_rows: Sequence[int] = (),
) -> Case:
    """One trajectory a row, the reward at its end; `away` says how far the ratio is from 1."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n, t = len(lengths), max([*lengths, 1])
    length = torch.tensor(lengths)
    place = torch.arange(t)
    mask = place < length[:, None]
    end = place == length[:, None] - 1
    scores = torch.zeros(n, t, dtype=torch.float64)
    scores[end] = torch.tensor(reward, dtype=torch.float64)[length > 0]
    for row, column in holes:
        mask[row, column] = False
    for row in masked_rows:
        mask[row] = False
    case = Case(
        noise(n, t, ACTIONS).requires_grad_(),
        torch.randint(ACTIONS, (n, t), generator=generator),
        Signals(
            mask=mask,
            reward=scores,
            discount=torch.where(end, 0.0, 1.0).double(),
            end=end,
            weight=torch.full((n,), 1 / n, dtype=torch.float64),
        ),
    )
    return finish(case, group=torch.tensor(group), away=away, noise=noise)


def finish(case: Case, *, group: Tensor, away: float, noise) -> Case:
    """The case with everything else that a recipe may read."""
    mask = case.signals.mask
    n, t = mask.shape
    logp, value = case.logp.detach(), noise(n, t)
    following = torch.cat([value[:, 1:], noise(n, 1)], dim=1)
    return case.with_signals(
        logp_old=(logp - away * noise(n, t)) * mask,
        logp_sampler=(logp - away * noise(n, t)) * mask,
        logp_ref=(logp + 0.3 * noise(n, t)) * mask,
        value=value,
        next_value=torch.where(case.signals.end, noise(n, t), following),
        q=noise(n, t),
        group=group,
        scored=case.signals.end,
        baseline=noise(n),
    )


def groups(*, away: float = 0.0, seed: int = 0) -> Case:
    """Unequal groups: ties within one, no difference in another, a masked row, interior holes."""
    return random_case(
        [6, 3, 1, 5, 6, 2, 4, 4, 6, 5, 3],
        group=[7, 7, 3, 3, 3, 0, 0, 0, 0, 9, 9],
        reward=[1, 0, 2, 0.5, 0.5, 1, 1, 1, 1, 0, 3],
        holes=[(0, 2), (0, 3), (4, 0), (8, 4)],
        masked_rows=[3],
        seed=seed,
        away=away,
    )


def pairs(*, away: float = 0.0, seed: int = 0) -> Case:
    """Chosen and rejected rows in any order, with holes; one rejected row is masked whole."""
    return random_case(
        [4, 6, 1, 5, 3, 3, 2, 6],
        group=[2, 5, 5, 2, 0, 0, 8, 8],
        reward=[1, 0, 1, 0, 0, 1, 1, 0],
        holes=[(1, 2), (3, 0)],
        masked_rows=[7],
        seed=seed,
        away=away,
    )


def steps(*, away: float = 0.0, seed: int = 0) -> Case:
    """`groups` with a reward for every step, one of them 0, which is not "no reward"."""
    case = groups(away=away, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    inside = case.signals.end.flip(1).cumsum(1).flip(1) > 0
    scored = case.signals.end | (inside & (torch.rand(inside.shape, generator=generator) < 0.4))
    rewards = torch.randint(-2, 3, inside.shape, generator=generator).double() * scored
    return case.with_signals(scored=scored, reward=rewards)


def streams(*, away: float = 0.0, seed: int = 0) -> Case:
    """Rows of several episodes: terminated, truncated and cut by the row's end."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n, t = 4, 8
    end = torch.zeros(n, t, dtype=torch.bool)
    discount = torch.full((n, t), 0.9, dtype=torch.float64)
    for row, column, terminated in [(0, 2, 1), (0, 7, 0), (1, 3, 0), (1, 4, 1), (2, 7, 1)]:
        end[row, column] = True
        discount[row, column] *= 1 - terminated
    end[3, 4] = True  # the row is shorter: three decisions of padding
    mask = torch.ones(n, t, dtype=torch.bool)
    mask[3, 5:] = False
    mask[1, 7] = False
    mask[1, 2] = False  # a hole inside an episode
    end[1, 6] = True
    case = Case(
        noise(n, t, ACTIONS).requires_grad_(),
        torch.randint(ACTIONS, (n, t), generator=generator),
        Signals(
            mask=mask,
            reward=noise(n, t),
            discount=discount,
            end=end,
            weight=torch.full((n,), 1 / n, dtype=torch.float64),
        ),
    )
    return finish(case, group=torch.arange(n), away=away, noise=noise)


def batch_of(case: Case) -> Batch:
    """The case's batch, through the checks that every source's batch goes through."""
    shared = ("mask", "reward", "discount", "end", "weight", "logp_old", "group", "scored")
    return Batch(inputs=None, **{name: getattr(case.signals, name) for name in shared})


def coefficients(case: Case, recipe: Recipe) -> Tensor:
    """The recipe's coefficients on the whole case."""
    known = case.signals.having(logp=case.logp.detach())
    return recipe.coefficient(known.having(credit=recipe.credit(known)))


def gradient(case: Case, recipe: Recipe) -> Tensor:
    """What the equation gives for the logits: −Σ weight · coefficient · ∇logp."""
    weight = recipe.aggregate(case.signals.mask, case.signals.weight)
    loss = surrogate(case.logp, coefficients(case, recipe), weight)
    return torch.autograd.grad(loss, case.logits)[0]


def gap(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; NaN counts as infinite."""
    return (a - b).abs().nan_to_num(torch.inf).max().item() if a.numel() else 0.0
