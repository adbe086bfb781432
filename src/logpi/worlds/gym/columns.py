"""The distributions of `heads` over NumPy arrays, with their slopes written out.

Arrays are [numbers, k], a column a decision: NumPy reduces the leading axis of few entries, and
broadcasts along the long one, several times faster than the other way round. Actions, uniform
numbers and masks are [k, ...], as everywhere else.

        ∂ log π(a)/∂z = onehot(a) − π        ∂H/∂z = −π (log π + H)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.special import expit, log_expit, logit, ndtri

from logpi.worlds.gym.heads import LOG_STD, Bernoulli, Categorical, Gaussian, Head

__all__ = [
    "BitColumns",
    "ChoiceColumns",
    "Columns",
    "NormalColumns",
    "PairColumns",
    "Pushes",
    "columns_of",
]

_TINY = 2.0**-54  # the least uniform number: Φ⁻¹(0) is −∞


@dataclass(frozen=True, slots=True)
class Pushes:
    """What a loss asks of log-probabilities and entropies: its slopes along them, [k] each."""

    logp: ndarray
    entropy: ndarray | None = None


class Columns(Protocol):
    """One kind of distribution: forward, its slope, and its samples."""

    def log_prob(
        self, out: Float[ndarray, "o k"], action: ndarray, mask: ndarray | None, *, entropy: bool
    ) -> tuple[Float[ndarray, " k"], Float[ndarray, " k"] | None, Any]:
        """Log-probabilities, entropies where asked for, and what `slope` reads."""
        ...

    def slope(self, saved: Any, d: Pushes) -> tuple[Float[ndarray, "o k"], ndarray | None]:
        """The loss's slope along the net's numbers, and along the free log σ where there is one."""
        ...

    def noise(self, u: Float[ndarray, "... d"]) -> Float[ndarray, "... d"]:
        """What of drawing by uniform numbers in (0, 1) needs no distribution: done for many."""
        ...

    def sample(
        self, out: Float[ndarray, "o k"], noise: Float[ndarray, "k d"], mask: ndarray | None
    ) -> ndarray:
        """Actions drawn by the inverse CDF of the uniform numbers that the noise is of."""
        ...

    def mode(self, out: Float[ndarray, "o k"], mask: ndarray | None) -> ndarray:
        """The likeliest actions."""
        ...

    def to_env(self, action: ndarray) -> ndarray:
        """Actions as the environment numbers, bounds or scales them, [k, ...]."""
        ...


class ChoiceColumns:
    """One of several, or one of each of several choices."""

    def __init__(self, head: Categorical) -> None:
        """Of the same sizes as the head."""
        ends = np.cumsum(head.sizes)
        self._blocks = [slice(int(e) - s, int(e)) for s, e in zip(head.sizes, ends, strict=True)]
        self._single = head.single
        self._numbers = [np.arange(s)[:, None] for s in head.sizes]
        first = head.first.cpu().numpy()
        self._first = first if first.any() else None

    def log_prob(
        self, out: ndarray, action: ndarray, mask: ndarray | None, *, entropy: bool
    ) -> tuple[ndarray, ndarray | None, Any]:
        """Σ_i z_i[a_i] − log Σ_b exp z_i[b]."""
        k = np.arange(out.shape[1])
        logp, surprise, saved = None, None, []
        for i, block in enumerate(self._blocks):
            a = action if self._single else action[:, i]
            z = _shifted(out[block], _part(mask, block))
            p = np.exp(z)
            total = np.add.reduce(p, axis=0)
            p /= total
            logq = np.log(total)
            own = z.ravel().take(a * len(k) + k)
            own -= logq
            logp = own if logp is None else logp + own
            gap = self._numbers[i] == a
            gap = np.subtract(gap, p, dtype=p.dtype)
            if not entropy:
                saved.append((gap, None))
                continue
            z -= logq
            z[p == 0] = 0  # 0 · log 0 = 0
            h = -np.add.reduce(p * z, axis=0)
            surprise = h if surprise is None else surprise + h
            z += h
            z *= p
            saved.append((gap, z))
        assert logp is not None  # there is a choice
        return logp, surprise, saved

    def slope(self, saved: Any, d: Pushes) -> tuple[ndarray, ndarray | None]:
        """Each choice's own: the log-probability is a sum."""
        parts = []
        for gap, rest in saved:
            g = gap * d.logp
            if d.entropy is not None:
                g -= rest * d.entropy
            parts.append(g)
        return parts[0] if len(parts) == 1 else np.concatenate(parts), None

    def noise(self, u: ndarray) -> ndarray:
        """The numbers as they are."""
        return u

    def sample(self, out: ndarray, noise: ndarray, mask: ndarray | None) -> ndarray:
        """The first action whose cumulative probability exceeds u, of each choice."""
        drawn = []
        for i, block in enumerate(self._blocks):
            allowed = _part(mask, block)
            z = _shifted(out[block], allowed)
            c = np.exp(z)
            np.add.accumulate(c, axis=0, out=c)
            a = (c[:-1] <= noise[:, i] * c[-1]).sum(0)
            if allowed is not None:
                # Rounding may bring u · total to the total itself, beyond what is allowed.
                a = np.minimum(a, len(z) - 1 - (z[::-1] > -np.inf).argmax(0))
            drawn.append(a)
        return drawn[0] if self._single else np.stack(drawn, 1)

    def mode(self, out: ndarray, mask: ndarray | None) -> ndarray:
        """The likeliest of each choice, the first of equals."""
        best = [_shifted(out[b], _part(mask, b)).argmax(0) for b in self._blocks]
        return best[0] if self._single else np.stack(best, 1)

    def to_env(self, action: ndarray) -> ndarray:
        """The number that the space gives the choice."""
        return action if self._first is None else action + self._first


class PairColumns(ChoiceColumns):
    """One of two, where the gap m between the chosen action's number and the other's says all.

    log π = log σ(m),  ∂ log π/∂m = σ(−m),  H = m σ(−m) − log π,  ∂H/∂m = −m σ(m) σ(−m). Where an
    action is masked, it is one of several.
    """

    def log_prob(
        self, out: ndarray, action: ndarray, mask: ndarray | None, *, entropy: bool
    ) -> tuple[ndarray, ndarray | None, Any]:
        """log σ(m)."""
        if mask is not None:
            return super().log_prob(out, action, mask, entropy=entropy)
        sign = np.subtract(1, 2 * action, dtype=out.dtype)  # of the first number in m
        gap = (out[0] - out[1]) * sign
        logp, other = log_expit(gap), expit(-gap)
        surprise = gap * other - logp if entropy else None
        return logp, surprise, (gap, other, sign)

    def slope(self, saved: Any, d: Pushes) -> tuple[ndarray, ndarray | None]:
        """That along m, for the chosen action's number; the other's is the opposite."""
        if isinstance(saved, list):
            return super().slope(saved, d)
        gap, other, sign = saved
        along = d.logp * other
        if d.entropy is not None:
            along -= d.entropy * gap * other * (1 - other)
        both = np.empty((2, len(gap)), dtype=gap.dtype)
        np.multiply(along, sign, out=both[0])
        np.negative(both[0], out=both[1])
        return both, None

    def noise(self, u: ndarray) -> ndarray:
        """log u/(1 − u), which the gap between the two numbers exceeds."""
        return logit(np.minimum(u, 1 - _TINY))

    def sample(self, out: ndarray, noise: ndarray, mask: ndarray | None) -> ndarray:
        """The second action where the first one's number is not ahead by more than the noise."""
        if mask is not None:
            return super().sample(out, expit(noise), mask)
        return (out[0] - out[1] <= noise[:, 0]).astype(np.int64)


class BitColumns:
    """Independent bits."""

    def __init__(self, head: Bernoulli) -> None:
        """As many as the head has."""
        self._bits = head.outputs

    def log_prob(
        self, out: ndarray, action: ndarray, mask: ndarray | None, *, entropy: bool
    ) -> tuple[ndarray, ndarray | None, Any]:
        """Σ_i log p_i or log(1 − p_i)."""
        del mask
        a = action.T.astype(out.dtype, copy=False)
        p = expit(out)
        surprise = (-log_expit(-out) - out * p).sum(0) if entropy else None
        return log_expit(out * (2 * a - 1)).sum(0), surprise, (a, p, out)

    def slope(self, saved: Any, d: Pushes) -> tuple[ndarray, ndarray | None]:
        """∂ log π/∂z = a − p, ∂H/∂z = −z p (1 − p)."""
        a, p, z = saved
        g = (a - p) * d.logp
        if d.entropy is not None:
            g -= z * p * (1 - p) * d.entropy
        return g, None

    def noise(self, u: ndarray) -> ndarray:
        """The numbers as they are."""
        return u

    def sample(self, out: ndarray, noise: ndarray, mask: ndarray | None) -> ndarray:
        """1 where u < p."""
        del mask
        return (expit(out) > noise.T).astype(out.dtype).T

    def mode(self, out: ndarray, mask: ndarray | None) -> ndarray:
        """1 where p > ½."""
        del mask
        return (out > 0).astype(out.dtype).T

    def to_env(self, action: ndarray) -> ndarray:
        """The bits as they are."""
        return action


class NormalColumns:
    """Independent normal numbers, clipped or squashed on their way out.

    Squashing moves no slope: what it adds to the log-density is a constant of the parameters. It
    does move the entropy's, which is not here.
    """

    def __init__(self, head: Gaussian, *, frozen: bool = False) -> None:
        """Reads the head's free log σ as it stands at every call, or frozen as it is now."""
        self._size, self._squash = head.size, head.squash
        self._free = head.log_std.detach().cpu().numpy() if head.std == "free" else None
        if frozen and self._free is not None:
            self._free = self._free.copy()
        self._low, self._high = head.low.cpu().numpy(), head.high.cpu().numpy()
        self._constant = 0.5 * self._size * math.log(2 * math.pi)
        if self._squash:
            self._constant += float(np.log((self._high - self._low) / 2).sum())

    def log_prob(
        self, out: ndarray, action: ndarray, mask: ndarray | None, *, entropy: bool
    ) -> tuple[ndarray, ndarray | None, Any]:
        """−½ Σ_i ((z_i − μ_i)/σ_i)² + 2 log σ_i + log 2π, and what squashing adds."""
        del mask
        mean, log_std = self._moments(out)
        z = action.T.astype(out.dtype, copy=False)
        shrink = np.exp(-log_std)
        xi = (z - mean) * shrink
        half_log_det = log_std.sum(0)
        logp = -0.5 * (xi * xi).sum(0) - half_log_det - self._constant
        if self._squash:
            logp -= 2 * (math.log(2) - z + log_expit(2 * z)).sum(0)
        surprise = None
        if entropy:
            level = 0.5 * self._size * (1 + math.log(2 * math.pi))
            surprise = np.broadcast_to(half_log_det + level, logp.shape).astype(out.dtype)
        return logp.astype(out.dtype, copy=False), surprise, (xi, shrink, out)

    def slope(self, saved: Any, d: Pushes) -> tuple[ndarray, ndarray | None]:
        """∂ log π/∂μ = ξ/σ, ∂ log π/∂ log σ = ξ² − 1 and ∂H/∂ log σ = 1."""
        xi, shrink, out = saved
        g = xi * d.logp
        along = g * xi
        along -= d.logp
        if d.entropy is not None:
            along += d.entropy
        g *= shrink
        if self._free is not None:
            return g, along.sum(1)
        given = out[self._size :]
        along *= (given >= LOG_STD[0]) & (given <= LOG_STD[1])
        return np.concatenate([g, along]), None

    def noise(self, u: ndarray) -> ndarray:
        """Φ⁻¹(u)."""
        return ndtri(np.clip(u, _TINY, 1 - 2 * _TINY))

    def sample(self, out: ndarray, noise: ndarray, mask: ndarray | None) -> ndarray:
        """Z = μ + σ Φ⁻¹(u)."""
        del mask
        mean, log_std = self._moments(out)
        return (mean + np.exp(log_std) * noise.T).astype(out.dtype, copy=False).T

    def mode(self, out: ndarray, mask: ndarray | None) -> ndarray:
        """The mean μ."""
        del mask
        return out[: self._size].T

    def to_env(self, action: ndarray) -> ndarray:
        """Squashed and scaled, or clipped, to the Box."""
        if self._squash:
            return self._low + (self._high - self._low) * (0.5 * (1 + np.tanh(action)))
        return np.minimum(np.maximum(action, self._low), self._high)

    def _moments(self, out: ndarray) -> tuple[ndarray, ndarray]:
        if self._free is not None:
            return out, self._free[:, None]
        return out[: self._size], np.clip(out[self._size :], *LOG_STD)


def columns_of(head: Head, *, frozen: bool = False) -> Columns:
    """The same distribution over arrays; `frozen`, it keeps the head's parameters as they are now.

    >>> from logpi.worlds.gym.heads import head_of
    >>> from logpi.worlds.gym.spaces import Actions
    >>> columns = columns_of(head_of(Actions("discrete", (2,))))
    >>> noise = columns.noise(np.array([[0.7], [0.8]]))
    >>> columns.sample(np.log([[3.0, 3.0], [1.0, 1.0]]), noise, None)
    array([0, 1])
    """
    if isinstance(head, Gaussian):
        return NormalColumns(head, frozen=frozen)
    if isinstance(head, Bernoulli):
        return BitColumns(head)
    assert isinstance(head, Categorical)
    of_two = head.single and list(head.sizes) == [2]
    return PairColumns(head) if of_two else ChoiceColumns(head)


def _part(mask: ndarray | None, block: slice) -> Bool[ndarray, "A k"] | None:
    if mask is None:
        return None
    part = mask.T[block]
    return part | ~part.any(0)


def _shifted(out: ndarray, allowed: ndarray | None) -> ndarray:
    z = out if allowed is None else np.where(allowed, out, -np.inf)
    return z - np.maximum.reduce(z, axis=0)
