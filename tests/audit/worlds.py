"""A world small enough to list every batch by hand, and every ordered batch through training."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from logpi.audit.critics import Values, exact_values
from logpi.core.types import Batch
from logpi.train.observe import credited, observe
from logpi.train.update import accumulate
from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.exact import Trajectories, trajectories
from logpi.worlds.mdp.policy import TabularSoftmax


def fork(discount=0.9):
    """Two start states, rows of one and two decisions, luck, rewards that are not negative."""
    move = np.zeros((3, 2, 3))
    move[0, 0, 2] = 1
    move[0, 1] = [0, 0.6, 0.4]
    move[1, :, 2] = 1
    return from_dense(
        move,
        np.array([[0.5, 0.2], [2.0, 0.7], [0.0, 0.0]]),
        discount,
        order="sas",
        start=np.array([0.7, 0.3, 0.0]),
        terminal=[2],
        policy=np.array([[0.3, 0.7], [0.6, 0.4], [0.0, 0.0]]),
        name="fork",
    )


REFERENCE = np.array([[0.5, 0.5], [0.2, 0.8], [0.0, 0.0]])


@dataclass
class ByTraining:
    """Every ordered batch, and the gradient that training's own functions make of it."""

    probability: Tensor
    gradient: Tensor  # [b, p]

    @property
    def mean(self):
        return self.probability @ self.gradient

    @property
    def variance(self):
        return float(self.probability @ (self.gradient - self.mean).square().sum(1))


def by_training(recipe, m, *, size, law=None, second=None):
    """The batches of `size` rows from one start state, drawn by `law` and pushed by training.

    With `second`, a step size, what training pushes them with after one step of gradient ascent.
    """
    policy = TabularSoftmax(m)
    table = (
        policy.table().detach()
        if law is None
        else torch.from_numpy(np.log(np.where(m.allowed, law, 1.0)))
    )
    found = trajectories(m, policy)
    chance = (found.environment * found.log_prob(table).sum(1).exp()).tolist()
    kinds = {"groups": size, "mixed-groups": size, "pairs": 2}
    k = kinds.get(recipe.data, 1)
    weights, gradients = [], []
    for start in (0, 1):
        mass = float(m.start[start])
        rows = [i for i in range(len(chance)) if int(found.state[i, 0]) == start]
        greedy = greedy_returns(m, found, policy, rows)
        for chosen in itertools.product(rows, repeat=k):
            p = mass * np.prod([chance[i] / mass for i in chosen])
            batch = batch_of(m, found, list(chosen), recipe, table)
            totals = found.returns(m.discount)[list(chosen)]
            if recipe.data in ("mixed-groups", "pairs") and (totals == totals[0]).all():
                continue
            if recipe.data == "on-policy+greedy":
                for share, baseline in greedy:
                    weights.append(p * share)
                    known = replace(batch, baseline=torch.full((k,), baseline, dtype=torch.float64))
                    gradients.append(pushed(recipe, known, policy, m, second=second))
                continue
            weights.append(p)
            gradients.append(pushed(recipe, batch, policy, m, second=second))
    p = torch.tensor(weights, dtype=torch.float64)
    return ByTraining(p / p.sum(), torch.stack(gradients))


def greedy_returns(m, found: Trajectories, policy, rows):
    best = policy.probabilities().argmax(1)
    out = []
    for i in rows:
        taken = found.mask[i]
        if (found.action[i][taken].numpy() == best[found.state[i][taken].numpy()]).all():
            share = float(found.environment[i]) / float(m.start[int(found.state[i, 0])])
            out.append((share, float(found.returns(m.discount)[i])))
    return out


def batch_of(m, found: Trajectories, rows, recipe, table) -> Batch:
    """These trajectories as a source of the finite world makes them."""
    mask, length = found.mask[rows], found.length[rows]
    last = torch.arange(mask.shape[1]) == (length - 1)[:, None]
    recorded = recipe.data not in ("demonstrations", "filtered", "pairs")
    steps = found.steps
    return Batch(
        inputs=type(steps)(steps.state[rows], steps.action[rows], steps.next_state[rows]),
        mask=mask,
        reward=found.reward[rows],
        discount=m.discount * (~last).double(),
        end=last,
        weight=torch.full((len(rows),), 1 / len(rows), dtype=torch.float64),
        logp_old=found.log_prob(table)[rows] if recorded else None,
        group=torch.zeros(len(rows), dtype=torch.long),
        scored=mask,
    )


def pushed(recipe, batch: Batch, policy, m, *, second=None) -> Tensor:
    """Minus the gradient that training would hand to its optimizer."""
    values: Values = exact_values(m, policy.probabilities(), horizon=2)
    v, following, q = values.at(batch.inputs)
    critic = SimpleNamespace(values=lambda _: (v if recipe.critic == "v" else q, following))
    frozen = TabularSoftmax(m, logits=np.log(np.where(m.allowed, REFERENCE, 1.0)))
    signals = observe(batch, recipe, policy, reference=frozen.log_prob, critic=critic)
    signals = credited(signals, recipe)
    weight = recipe.aggregate(batch.mask, batch.weight)
    live = recipe.live(batch.mask, signals.need("credit"), weight)

    def gradient() -> Tensor:
        policy.zero_grad()
        accumulate(policy, batch.inputs, signals, weight, recipe=recipe, live=live)
        grad = policy.logits.grad
        return torch.zeros_like(policy.logits) if grad is None else -grad.clone()

    first = gradient()
    if second is None:
        return first.flatten()
    before = policy.logits.detach().clone()
    with torch.no_grad():
        policy.logits += second * first
    later = gradient()
    with torch.no_grad():
        policy.logits.copy_(before)
    return later.flatten()
