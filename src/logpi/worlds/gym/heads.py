"""Distributions over actions, read from the numbers that a net gives.

Tensors are [..., numbers]: the leading axes are whatever the decisions' are. `distribution` brings
the net's numbers into the form that everything else reads, and that a trust region keeps as a
snapshot: log-probabilities, logits of bits, or means and log standard deviations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.gym.spaces import Actions

__all__ = [
    "LOG_STD",
    "STD",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Head",
    "head_of",
    "log_slope_of_tanh",
]

STD = ("free", "state")
"""Whether a Gaussian's standard deviation is a parameter of its own, or the net gives it."""

LOG_STD = (-20.0, 2.0)
"""Between these a log standard deviation that the net gives is kept (SAC, arXiv 1812.05905)."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


class Head(nn.Module, ABC):
    """What turns a net's numbers into a distribution over actions: what all kinds share."""

    outputs: int  # how many numbers it wants of the net

    @abstractmethod
    def distribution(
        self, out: Float[Tensor, "... o"], mask: Bool[Tensor, "... A"] | None = None
    ) -> Float[Tensor, "... p"]:
        """The distribution that the net's numbers stand for; `mask` says what is allowed."""

    @abstractmethod
    def log_prob(self, d: Float[Tensor, "... p"], action: Tensor) -> Float[Tensor, "..."]:
        """Log-probability, or log-density, of an action."""

    @abstractmethod
    def entropy(self, d: Float[Tensor, "... p"]) -> Float[Tensor, "..."]:
        """The entropy in nats."""

    @abstractmethod
    def kl(
        self, before: Float[Tensor, "... p"], now: Float[Tensor, "... p"]
    ) -> Float[Tensor, "..."]:
        """KL(before ‖ now) in nats."""

    @abstractmethod
    def sample(self, d: Float[Tensor, "... p"], u: Float[Tensor, "... k"]) -> Tensor:
        """The action that these uniform numbers in (0, 1) draw, by the inverse CDF."""

    @abstractmethod
    def mode(self, d: Float[Tensor, "... p"]) -> Tensor:
        """The likeliest action; of a Gaussian its mean, also where it is squashed."""

    @abstractmethod
    def to_env(self, action: Tensor) -> Tensor:
        """The action as the environment numbers, bounds or scales it, still flat."""


class Categorical(Head):
    """One of `sizes[0]`, or one of each of several sizes, independently.

    π(a) = Π_i exp(z_i[a_i]) / Σ_b exp(z_i[b]), the sums over what the mask allows. A choice of
    which nothing is allowed was never made: it passes as if all were.
    """

    starts: Tensor
    first: Tensor

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self.outputs = sum(actions.sizes)
        self.sizes, self.single = list(actions.sizes), actions.kind == "discrete"
        first = actions.first or (0,) * len(actions.sizes)
        starts = np.cumsum([0, *actions.sizes[:-1]])
        self.register_buffer("starts", torch.from_numpy(starts), persistent=False)
        self.register_buffer("first", torch.tensor(first), persistent=False)

    def distribution(self, out: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probabilities [..., Σ sizes]; −inf where an action is not allowed."""
        if mask is None:
            return self._normalised(out)
        parts = mask.split(self.sizes, -1)
        allowed = torch.cat([m | ~m.any(-1, keepdim=True) for m in parts], -1)
        return self._normalised(out.masked_fill(~allowed, -torch.inf))

    def log_prob(self, d: Tensor, action: Tensor) -> Tensor:
        """Σ_i log π_i(a_i)."""
        if self.single:
            return d.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return d.gather(-1, action + self.starts).sum(-1)

    def entropy(self, d: Tensor) -> Tensor:
        """−Σ_i Σ_a π_i(a) log π_i(a)."""
        return -(d.exp() * d.masked_fill(d == -torch.inf, 0)).sum(-1)

    def kl(self, before: Tensor, now: Tensor) -> Tensor:
        """Σ_i Σ_a π_i(a) (log π_i(a) − log π'_i(a))."""
        never = before == -torch.inf
        gap = before.masked_fill(never, 0) - now.masked_fill(never, 0)
        return (before.exp() * gap).sum(-1)

    def sample(self, d: Tensor, u: Tensor) -> Tensor:
        """The first action whose cumulative probability exceeds u, of each choice."""
        drawn = []
        for i, part in enumerate(d.split(self.sizes, -1)):
            total = part.exp().cumsum(-1)
            below = total <= u[..., i : i + 1] * total[..., -1:]
            # Rounding may bring u · total to the total itself, beyond the last action allowed.
            last = (part > -torch.inf).long().cumsum(-1).argmax(-1)
            drawn.append(torch.minimum(below.sum(-1), last))
        return drawn[0] if self.single else torch.stack(drawn, -1)

    def mode(self, d: Tensor) -> Tensor:
        """The likeliest of each choice, the first of equals."""
        best = [part.argmax(-1) for part in d.split(self.sizes, -1)]
        return best[0] if self.single else torch.stack(best, -1)

    def to_env(self, action: Tensor) -> Tensor:
        """The number that the space gives the choice: it may begin elsewhere than at 0."""
        return action + (self.first[0] if self.single else self.first)

    def _normalised(self, z: Tensor) -> Tensor:
        if len(self.sizes) == 1:
            return z.log_softmax(-1)
        return torch.cat([part.log_softmax(-1) for part in z.split(self.sizes, -1)], -1)


class Bernoulli(Head):
    """Independent bits: P(a_i = 1) = 1 / (1 + exp −z_i)."""

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self.outputs = actions.sizes[0]

    def distribution(self, out: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logits z [..., bits]."""
        del mask
        return out

    def log_prob(self, d: Tensor, action: Tensor) -> Tensor:
        """Σ_i a_i log p_i + (1 − a_i) log(1 − p_i)."""
        return logsigmoid(d * (2 * action - 1)).sum(-1)

    def entropy(self, d: Tensor) -> Tensor:
        """Σ_i softplus(z_i) − z_i p_i."""
        return (softplus(d) - d * d.sigmoid()).sum(-1)

    def kl(self, before: Tensor, now: Tensor) -> Tensor:
        """Σ_i p_i (z_i − z'_i) + softplus(z'_i) − softplus(z_i)."""
        return (before.sigmoid() * (before - now) + softplus(now) - softplus(before)).sum(-1)

    def sample(self, d: Tensor, u: Tensor) -> Tensor:
        """1 where u < p."""
        return (u < d.sigmoid()).to(d.dtype)

    def mode(self, d: Tensor) -> Tensor:
        """1 where p > ½."""
        return (d > 0).to(d.dtype)

    def to_env(self, action: Tensor) -> Tensor:
        """The bits as they are."""
        return action


class Gaussian(Head):
    """Independent normal numbers z ~ N(μ, σ²), clipped to the Box on their way out, or squashed.

    Squashed, the action is a = low + (high − low)(1 + tanh z)/2, and its log-density is

        log p(a) = log N(z; μ, σ²) − Σ_i log(1 − tanh² z_i) − Σ_i log((high_i − low_i)/2)

                                                              SAC, arXiv 1812.05905, eq. 21

    Actions are passed around as z. The log-density of a clipped action is that of its z, as
    everywhere: clipping belongs to the environment.
    """

    low: Tensor
    high: Tensor

    def __init__(self, actions: Actions, *, std: str, squash: bool, log_std: float) -> None:
        super().__init__()
        self.size, self.std, self.squash = actions.sizes[0], std, squash
        self.outputs = self.size * (2 if std == "state" else 1)
        if std == "free":
            self.log_std = nn.Parameter(torch.full((self.size,), float(log_std)))
        unbounded = np.full(self.size, np.inf, np.float32)
        low = -unbounded if actions.low is None else actions.low
        high = unbounded if actions.high is None else actions.high
        if squash and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(
                f"squash=True needs a bounded Box, but this one goes from {low.tolist()} to "
                f"{high.tolist()}. Take squash=False, or bound the space with "
                "gymnasium.wrappers.TransformAction."
            )
        self.register_buffer("low", torch.tensor(low), persistent=False)
        self.register_buffer("high", torch.tensor(high), persistent=False)

    def distribution(self, out: Tensor, mask: Tensor | None = None) -> Tensor:
        """Means and log standard deviations, [..., 2d]."""
        del mask
        if self.std == "state":
            mean, log_std = out.chunk(2, -1)
            return torch.cat([mean, log_std.clamp(*LOG_STD)], -1)
        return torch.cat([out, self.log_std.expand_as(out)], -1)

    def log_prob(self, d: Tensor, action: Tensor) -> Tensor:
        """−½ Σ_i ((z_i − μ_i)/σ_i)² + 2 log σ_i + log 2π, and what squashing adds."""
        mean, log_std = d.chunk(2, -1)
        xi = (action - mean) * (-log_std).exp()
        logp = -(0.5 * xi.square() + log_std).sum(-1) - self.size * 0.5 * math.log(2 * math.pi)
        return logp - self._stretch(action) if self.squash else logp

    def entropy(self, d: Tensor) -> Tensor:
        """Σ_i log σ_i + ½ log 2πe; squashed, with E[log |da/dz|] by Gauss-Hermite of 64 nodes."""
        mean, log_std = d.chunk(2, -1)
        plain = log_std.sum(-1) + self.size * 0.5 * (1 + math.log(2 * math.pi))
        if not self.squash:
            return plain
        nodes = torch.as_tensor(_NODES, dtype=d.dtype, device=d.device)
        share = torch.as_tensor(_WEIGHTS / _WEIGHTS.sum(), dtype=d.dtype, device=d.device)
        z = mean.unsqueeze(-1) + log_std.exp().unsqueeze(-1) * nodes
        return plain + (log_slope_of_tanh(z) @ share).sum(-1) + self._log_scale()

    def kl(self, before: Tensor, now: Tensor) -> Tensor:
        """Σ_i log(σ'_i/σ_i) + (σ_i² + (μ_i − μ'_i)²)/(2 σ'_i²) − ½; squashing changes nothing."""
        mean0, log_std0 = before.chunk(2, -1)
        mean1, log_std1 = now.chunk(2, -1)
        gap = log_std1 - log_std0
        far = (mean0 - mean1) * (-log_std1).exp()
        return (gap + 0.5 * ((-2 * gap).exp() + far.square() - 1)).sum(-1)

    def sample(self, d: Tensor, u: Tensor) -> Tensor:
        """Z = μ + σ Φ⁻¹(u)."""
        mean, log_std = d.chunk(2, -1)
        return mean + log_std.exp() * torch.special.ndtri(u).to(d.dtype)

    def mode(self, d: Tensor) -> Tensor:
        """The mean μ."""
        return d.chunk(2, -1)[0]

    def to_env(self, action: Tensor) -> Tensor:
        """Squashed and scaled, or clipped, to the Box."""
        if self.squash:
            return self.low + (self.high - self.low) * 0.5 * (1 + action.tanh())
        return torch.minimum(torch.maximum(action, self.low), self.high)

    def _log_scale(self) -> Tensor:
        return ((self.high - self.low) / 2).log().sum()

    def _stretch(self, z: Tensor) -> Tensor:
        return log_slope_of_tanh(z).sum(-1) + self._log_scale()


def log_slope_of_tanh(z: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """log(1 − tanh² z) = 2 (log 2 − z − softplus(−2z)), which never cancels.

    >>> log_slope_of_tanh(torch.tensor([0.0, 50.0])).tolist()
    [0.0, -98.6137]
    """
    return 2 * (math.log(2) - z - softplus(-2 * z))


def head_of(
    actions: Actions, *, std: str = "free", squash: bool = False, log_std: float = 0.0
) -> Head:
    """The distribution for what a decision chooses.

    Raises `ConfigError` for an unknown `std`, and where squashing makes no sense.

    >>> head_of(Actions("discrete", (4,))).outputs
    4
    """
    if std not in STD:
        raise ConfigError(f"std is {std!r}, but must be one of {STD}.{did_you_mean(std, STD)}")
    if actions.kind == "box":
        return Gaussian(actions, std=std, squash=squash, log_std=log_std)
    if squash:
        raise ConfigError(
            f"squash=True bounds the numbers of a Box, but the actions are {actions.kind}. "
            "Take squash=False."
        )
    return Bernoulli(actions) if actions.kind == "multibinary" else Categorical(actions)
