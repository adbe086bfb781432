"""Softmax policies of a finite MDP: a logit for each state and action, or linear in features."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor, nn

from logpi.core.errors import ConfigError, ShapeError
from logpi.core.types import Part
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.steps import Steps

__all__ = ["LinearSoftmax", "SoftmaxPolicy", "TabularSoftmax"]


class SoftmaxPolicy(nn.Module, ABC):
    """A policy that prefers an action the more, the higher its score: what both kinds share.

    π(a|s) = exp h(s, a) / Σ_b exp h(s, b), over the actions b that s allows
                                                          Sutton & Barto, second edition, 13.2

    A kind says what the scores h(s, a) are; terminal states have no distribution.
    """

    allowed: Bool[Tensor, "S A"]

    def __init__(self, m: FiniteMDP) -> None:
        """Remember which actions each state of `m` allows."""
        super().__init__()
        self.register_buffer("allowed", torch.from_numpy(np.array(m.allowed)), persistent=False)

    @abstractmethod
    def scores(self) -> Float[Tensor, "S A"]:
        """h(s, a), with gradient; what it says of actions that are not allowed is not read."""

    def table(self) -> Float[Tensor, "S A"]:
        """log π(a|s), with gradient; −inf where an action is not allowed."""
        decides = self.allowed.any(1, keepdim=True)
        # A row of −inf alone would make log_softmax NaN: terminal rows pass as if all were allowed.
        cut = self.scores().masked_fill(~self.allowed & decides, -torch.inf)
        return cut.log_softmax(1).masked_fill(~self.allowed, -torch.inf)

    def probabilities(self) -> Float[ndarray, "S A"]:
        """π(a|s), without gradient; the rows of terminal states are 0."""
        return self.table().detach().exp().cpu().numpy()

    def entropies(self) -> Float[Tensor, " S"]:
        """H(π(·|s)) = −Σ_a π log π in nats, with gradient; 0 in terminal states."""
        logp = self.table().masked_fill(~self.allowed, 0)
        return -(torch.where(self.allowed, logp.exp(), 0.0) * logp).sum(1)

    def distribution(self, inputs: Steps) -> Float[Tensor, "n t A"]:
        """log π(·|s_t) of every decision, with gradient; −inf where an action is not allowed."""
        return self.table()[inputs.state]

    def unroll(self, inputs: Steps, mask: Bool[Tensor, "n t"]) -> Steps:
        """Each decision of the mask as a row of its own, in order: nothing ties them together."""
        parts = (inputs.state, inputs.action, inputs.next_state)
        return Steps(*(x[mask][:, None] for x in parts))

    def split(self, inputs: Steps, order: Int[Tensor, " n"], sizes: Sequence[int]) -> list[Steps]:
        """The rows in this order, in parts of these sizes."""
        parts = (inputs.state, inputs.action, inputs.next_state)
        return [Steps(*p) for p in zip(*(x[order].split(sizes) for x in parts), strict=True)]

    def snapshot(self, inputs: Steps) -> Float[Tensor, "n t A"]:
        """log π(·|s_t) of every decision as it is now, without gradient."""
        return self.distribution(inputs).detach()

    def kl_from(self, inputs: Steps, before: Float[Tensor, "n t A"]) -> Float[Tensor, "n t"]:
        """KL(before ‖ π) of every decision in nats, with gradient; 0 in terminal states."""
        possible = before.isfinite()
        gap = before.masked_fill(~possible, 0) - self.distribution(inputs).masked_fill(~possible, 0)
        return (before.exp() * gap).sum(2)

    @torch.no_grad()
    def log_prob(self, inputs: Steps) -> Float[Tensor, "n t"]:
        """log π(a_t|s_t), without gradient.

        Where nothing was decided `inputs` holds state 0 and action 0, and the number means nothing:
        0 where state 0 does not allow action 0. Raises `ConfigError` for any other action that its
        state does not allow.
        """
        known = self.allowed[inputs.state, inputs.action]
        wrong = ~known & ((inputs.state != 0) | (inputs.action != 0))
        if wrong.any():
            row, t = wrong.nonzero()[0].tolist()
            raise ConfigError(
                f"row {row} takes action {int(inputs.action[row, t])} in state "
                f"{int(inputs.state[row, t])} (decision {t}), which does not allow it. "
                "Were the rows drawn from another model?"
            )
        return self.table()[inputs.state, inputs.action].masked_fill(~known, 0)

    def parts(
        self,
        inputs: Steps,
        live: Bool[Tensor, "n t"],
        *,
        unit: Int[Tensor, " n"] | None = None,
        entropy: bool = False,
    ) -> Iterator[Part]:
        """One part: all rows that have a live decision, with gradient.

        Entries that are not live are 0 and carry no gradient. Units are never split, since all rows
        come together. Raises `ShapeError` where `live` has another shape than the decisions.
        """
        del unit
        if live.shape != inputs.state.shape:
            raise ShapeError(
                f"`live` is {list(live.shape)} but the decisions are {list(inputs.state.shape)}: "
                "it marks decisions, one per action."
            )
        rows = live.any(1).nonzero()[:, 0]
        if not len(rows):
            return
        here, state = live[rows], inputs.state[rows]
        logp = torch.where(here, self.table()[state, inputs.action[rows]], 0.0)
        surprise = torch.where(here, self.entropies()[state], 0.0) if entropy else None
        yield Part(rows, logp, surprise)

    def copy(self) -> Self:
        """The same policy, frozen: its parameters are its own and take no gradient."""
        twin = copy.deepcopy(self)
        twin.requires_grad_(False)
        return twin


class TabularSoftmax(SoftmaxPolicy):
    """A softmax policy with a parameter for each state and action: h(s, a) = θ[s, a].

    Starts from `logits` [S, A]; without them from the model's own policy (logits = log p), or
    uniform. Raises `ShapeError` where the logits have another shape, and `ConfigError` where one of
    an allowed action is not finite or the model's policy never takes an action that it may take.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense(np.ones((2, 1, 1)), np.array([[1.0, 0.0]]), 0.5)
    >>> TabularSoftmax(m, logits=np.log([[3.0, 1.0]])).probabilities()
    array([[0.75, 0.25]])
    """

    def __init__(
        self,
        m: FiniteMDP,
        *,
        logits: Float[ndarray, "S A"] | Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(m)
        given = _own_logits(m) if logits is None else torch.as_tensor(logits).detach()
        if given.shape != self.allowed.shape:
            raise ShapeError(
                f"`logits` is {list(given.shape)} but must be [states, actions] = "
                f"{list(self.allowed.shape)}."
            )
        given = given.to(dtype).masked_fill(~self.allowed, 0)
        _check_finite("logits", given)
        self.logits = nn.Parameter(given)

    def scores(self) -> Float[Tensor, "S A"]:
        """θ[s, a]."""
        return self.logits


class LinearSoftmax(SoftmaxPolicy):
    """A softmax policy that is linear in features x(s, a): h(s, a) = wᵀ x(s, a).

    Starts from `weights` [d]; without them from 0, where the policy is uniform. States and actions
    that share features share what is learned. Raises `ShapeError` where features are not
    [S, A, d] or weights not [d], and `ConfigError` where one is not finite.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense(np.ones((2, 1, 1)), np.array([[1.0, 0.0]]), 0.5)
    >>> x = np.array([[[1.0], [0.0]]])
    >>> LinearSoftmax(m, x, weights=np.log([3.0])).probabilities()
    array([[0.75, 0.25]])
    """

    features: Float[Tensor, "S A d"]

    def __init__(
        self,
        m: FiniteMDP,
        features: Float[ndarray, "S A d"] | Tensor,
        *,
        weights: Float[ndarray, " d"] | Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(m)
        x = torch.as_tensor(features).detach().to(dtype)
        if x.dim() != 3 or x.shape[:2] != self.allowed.shape:
            raise ShapeError(
                f"`features` is {list(x.shape)} but must be [states, actions, features]: "
                f"{[*self.allowed.shape, 'd']}."
            )
        w = x.new_zeros(x.shape[2]) if weights is None else torch.as_tensor(weights).detach()
        if w.shape != x.shape[2:]:
            raise ShapeError(f"`weights` is {list(w.shape)} but there are {x.shape[2]} features.")
        x = x.masked_fill(~self.allowed[:, :, None], 0)
        _check_finite("features", x)
        _check_finite("weights", w)
        self.register_buffer("features", x.clone(), persistent=False)
        self.weights = nn.Parameter(w.to(dtype).clone())

    def scores(self) -> Float[Tensor, "S A"]:
        """Wᵀ x(s, a)."""
        return self.features @ self.weights


def _own_logits(m: FiniteMDP) -> Tensor:
    if m.policy is None:
        return torch.zeros(m.allowed.shape, dtype=torch.float64)
    never = m.allowed & ~(m.policy > 0)
    if never.any():
        state, action = np.argwhere(never)[0]
        raise ConfigError(
            f"the model's own policy takes action {action} in state {state} with probability "
            f"{m.policy[state, action]:g}, but a softmax policy takes every allowed action with a "
            "positive one. Forbid the action in `allowed`, or give `logits`."
        )
    return torch.from_numpy(np.log(np.where(m.allowed, m.policy, 1.0)))


def _check_finite(name: str, x: Tensor) -> None:
    bad = (~x.isfinite()).nonzero()
    if len(bad):
        raise ConfigError(
            f"`{name}`{bad[0].tolist()} is {x[tuple(bad[0].tolist())].item()}: it must be finite."
        )
