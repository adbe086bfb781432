"""Worlds small enough to enumerate: every trajectory, or every group, with its probability."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from logpi.core import Recipe, Signals, surrogate

STATES, ACTIONS, HORIZON = 3, 2, 3


@dataclass(frozen=True)
class Enumerated:
    """All rows that can happen, their probabilities as weights, and the policy's parameters."""

    theta: Tensor  # [states, actions], a leaf
    state: Tensor  # [n, t]
    action: Tensor  # [n, t]
    signals: Signals

    @property
    def logp(self) -> Tensor:
        return self.theta.log_softmax(-1)[self.state, self.action]

    def coefficients(self, recipe: Recipe) -> Tensor:
        known = self.signals.having(logp=self.logp.detach())
        return recipe.coefficient(known.having(credit=recipe.credit(known)))

    def ascent(self, recipe: Recipe) -> Tensor:
        """E[Σ_t coefficient · ∇logp], without noise."""
        weight = recipe.aggregate(self.signals.mask, self.signals.weight)
        loss = surrogate(self.logp, self.coefficients(recipe), weight)
        return -torch.autograd.grad(loss, self.theta)[0]

    def variance(self, recipe: Recipe) -> float:
        """The total variance of one trajectory's Σ_t coefficient · ∇logp."""
        one_hot = torch.nn.functional.one_hot
        score = one_hot(self.action, ACTIONS) - self.theta.detach().softmax(-1)[self.state]
        at_state = one_hot(self.state, STATES).double()
        push = self.coefficients(recipe)
        each = torch.einsum("nt,nts,nta->nsa", push, at_state, score).flatten(1)
        weight = self.signals.weight[:, None]
        mean = (weight * each).sum(0)
        return (weight * (each - mean) ** 2).sum().item()


def chain(*, gamma: float = 1.0, seed: int = 0) -> tuple[Enumerated, dict[str, Tensor]]:
    """A random MDP of 3 states and 2 actions over 3 decisions: 216 trajectories.

    Also returns the exact ∇J of the return discounted from the start, and ∇KL, the gradient of the
    whole trajectory's KL(π‖π_ref).
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    theta = noise(STATES, ACTIONS).requires_grad_()
    start, move = noise(STATES).softmax(-1), noise(STATES, ACTIONS, STATES).softmax(-1)
    pay, ref = noise(STATES, ACTIONS), noise(STATES, ACTIONS).log_softmax(-1)
    steps = itertools.product(*[range(STATES), range(ACTIONS)] * HORIZON)
    path = torch.tensor(list(steps))
    state, action = path[:, ::2], path[:, 1::2]
    logp = theta.log_softmax(-1)[state, action]
    luck = start[state[:, 0]] * move[state[:, :-1], action[:, :-1], state[:, 1:]].prod(1)
    weight = luck * logp.sum(1).exp()
    reward, logp_ref = pay[state, action], ref[state, action]
    power = gamma ** torch.arange(HORIZON, dtype=torch.float64)
    objective = (weight * (reward * power).sum(1)).sum()
    kl = (weight * (logp - logp_ref).sum(1)).sum()
    end = torch.zeros(len(path), HORIZON, dtype=torch.bool)
    end[:, -1] = True
    value, q = values(theta.detach().softmax(-1), move, pay, gamma)
    place = torch.arange(HORIZON).expand(state.shape)
    following = torch.cat([value[place, state][:, 1:], torch.zeros(len(path), 1)], dim=1)
    enumerated = Enumerated(
        theta,
        state,
        action,
        Signals(
            mask=torch.ones_like(end),
            reward=reward,
            discount=gamma * (~end).double(),
            end=end,
            weight=weight.detach(),
            logp_old=logp.detach(),
            logp_ref=logp_ref,
            value=value[place, state],
            next_value=following,
            q=q[place, state, action],
        ),
    )
    gradients = {
        "J": torch.autograd.grad(objective, theta, retain_graph=True)[0],
        "KL": torch.autograd.grad(kl, theta)[0],
    }
    return enumerated, gradients


def values(pi: Tensor, move: Tensor, pay: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """The exact V_t(s) and Q_t(s, a), backwards from the horizon."""
    value, q = torch.zeros(HORIZON + 1, STATES), torch.zeros(HORIZON, STATES, ACTIONS)
    value, q = value.double(), q.double()
    for t in reversed(range(HORIZON)):
        q[t] = pay + gamma * move @ value[t + 1]
        value[t] = (pi * q[t]).sum(-1)
    return value[:HORIZON], q


def bandit(
    p: list[float], reward: list[float], *, size: int = 1, behaviour: list[float] | None = None
) -> tuple[Enumerated, Tensor]:
    """Every group of `size` pulls of a bandit, and the exact gradient of the expected reward.

    A group's probability is shared by its rows. With `behaviour`, pulls come from that policy.
    """
    target = torch.tensor(p, dtype=torch.float64)
    sampler = target if behaviour is None else torch.tensor(behaviour, dtype=torch.float64)
    pay = torch.tensor(reward, dtype=torch.float64)
    pulls = torch.tensor(list(itertools.product(range(len(p)), repeat=size)))
    action = pulls.reshape(-1, 1)
    weight = (sampler[pulls].prod(1) / size).repeat_interleave(size)
    every = torch.ones(len(action), 1, dtype=torch.bool)
    enumerated = Enumerated(
        target.log()[None].requires_grad_(),
        torch.zeros_like(action),
        action,
        Signals(
            mask=every,
            reward=pay[action],
            discount=torch.zeros(len(action), 1, dtype=torch.float64),
            end=every,
            weight=weight,
            logp_old=sampler.log()[action],
            group=torch.arange(len(pulls)).repeat_interleave(size),
        ),
    )
    exact = target * (pay - (target * pay).sum())
    return enumerated, exact[None]
