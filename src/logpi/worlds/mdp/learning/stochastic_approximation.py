"""Stochastic approximation and importance sampling, apart from any MDP: estimates step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, ShapeError
from logpi.core.seeds import mix
from logpi.worlds.mdp.learning.options import whole
from logpi.worlds.mdp.learning.schedules import Schedule, constant, inverse

__all__ = ["Sampled", "importance_sampled", "mean_estimates", "robbins_monro"]


def robbins_monro(
    g: Callable[[float], float],
    *,
    start: float = 0.0,
    steps: int = 50,
    alpha: float | Schedule | None = None,
    noise: float = 1.0,
    within: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> Float[ndarray, " k"]:
    """w₁, w₂, … of the search for the root of g, of which only noisy values are seen.

    w_{k+1} = w_k − α_k (g(w_k) + η_k)           Robbins & Monro 1951; Zhao 6.2

    η is normal with standard deviation `noise`, α_k = 1/k unless given. It converges with
    probability 1 where g' is positive and bounded, Σ α_k = ∞ and Σ α_k² < ∞. Zhao's w³ − 5 has no
    bounded slope: from w₁ = 0 with α_k = 1/k it goes to about 5, then −55, and flies off. A step
    that leaves the interval `within` stops at its end, and the slope is bounded there.

    Raises `ConfigError` where it leaves the numbers, and where the start lies outside `within`.

    >>> w = robbins_monro(lambda w: w**3 - 5, steps=2000, within=(-3, 3))
    >>> float(w[-1].round(1))  # the root is 5^⅓ = 1.71: Zhao, Fig 6.3
    1.7
    """
    rate, (low, high) = _schedule(alpha), _around(start, within)
    eta = noise * _generator(seed).standard_normal(whole("steps", steps))
    w = np.empty(steps + 1)
    w[0] = start
    for k in range(steps):
        try:
            w[k + 1] = np.clip(w[k] - rate.at(k + 1) * (g(float(w[k])) + eta[k]), low, high)
        except OverflowError:
            w[k + 1] = np.inf
        if not np.isfinite(w[k + 1]):
            raise ConfigError(
                f"w left the numbers in step {k + 1}: g grows faster than the step sizes fall. Say "
                "where the root must lie, within=(-3, 3), or take a smaller alpha: inverse(0.1)."
            )
    return w


def mean_estimates(
    samples: ArrayLike, *, alpha: float | Schedule | None = None, start: float = 0.0
) -> Float[ndarray, " k"]:
    """Estimates of a mean after each sample; with α_k = 1/k the mean so far.

    w_{k+1} = w_k − α_k (w_k − x_k)           Zhao 6.1; Sutton & Barto, eq. 2.3

    >>> mean_estimates([4.0, 2.0, 0.0])
    array([4., 3., 2.])
    >>> mean_estimates([4.0, 2.0, 0.0], alpha=0.5)
    array([2., 2., 1.])
    """
    rate, x = _schedule(alpha), _vector("samples", samples)
    w, found = start, np.empty(len(x))
    for k in range(len(x)):
        w += rate.at(k + 1) * (x[k] - w)
        found[k] = w
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Means of samples of one distribution, for another; each after 1, 2, … samples."""

    samples: Float[ndarray, " n"]
    weights: Float[ndarray, " n"]  # p₀(x)/p₁(x) of each sample
    plain: Float[ndarray, " n"]  # Σ x / n: of p₁, which was sampled
    ordinary: Float[ndarray, " n"]  # Σ w x / n: of p₀, unbiased
    weighted: Float[ndarray, " n"]  # Σ w x / Σ w: of p₀, biased, with less variance


def importance_sampled(
    values: ArrayLike, target: ArrayLike, behaviour: ArrayLike, *, samples: int = 200, seed: int = 0
) -> Sampled:
    """Estimates of the mean under p₀ = `target`, from samples of p₁ = `behaviour`.

    E_p₀[X] = E_p₁[p₀(X)/p₁(X) X]           Zhao 10.3.1

    Raises `ConfigError` where a distribution is none, or p₁ misses a value that p₀ has.

    >>> drawn = importance_sampled([1, -1], [0.5, 0.5], [0.8, 0.2], samples=50_000)
    >>> drawn.plain[-1:].round(1), abs(drawn.ordinary[-1:]).round(1)  # Zhao, Fig 10.2
    (array([0.6]), array([0.]))
    >>> np.unique(drawn.weights)
    array([0.625, 2.5  ])
    """
    x = _vector("values", values)
    p0, p1 = _distribution("target", target, len(x)), _distribution("behaviour", behaviour, len(x))
    missed = np.flatnonzero((p0 > 0) & (p1 <= 0))
    if len(missed):
        raise ConfigError(
            f"the behaviour never draws {x[missed[0]]:g}, which the target does: no weight can "
            "make up for it."
        )
    drawn = _generator(seed).choice(len(x), size=whole("samples", samples), p=p1)
    weights = np.divide(p0, p1, out=np.zeros(len(x)), where=p1 > 0)[drawn]
    count, total = np.arange(1, samples + 1), np.cumsum(weights)
    sums = np.cumsum(weights * x[drawn])
    return Sampled(
        samples=x[drawn],
        weights=weights,
        plain=np.cumsum(x[drawn]) / count,
        ordinary=sums / count,
        weighted=np.divide(sums, total, out=np.zeros(samples), where=total > 0),
    )


def _schedule(alpha: float | Schedule | None) -> Schedule:
    if alpha is None:
        return inverse(1.0)
    return alpha if isinstance(alpha, Schedule) else constant(alpha)


def _around(start: float, within: tuple[float, float]) -> tuple[float, float]:
    low, high = within
    if not low <= start <= high:
        raise ConfigError(f"start is {start:g} but must lie within [{low:g}, {high:g}].")
    return low, high


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(mix(whole("seed", seed, 0), 0x50A1)))


def _vector(name: str, given: ArrayLike) -> Float[ndarray, " n"]:
    x = np.asarray(given, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ShapeError(f"{name} are {list(x.shape)} but must be [n].")
    if not np.isfinite(x).all():
        raise ConfigError(f"{name} hold a number that is NaN or infinite.")
    return x


def _distribution(name: str, given: ArrayLike, length: int) -> Float[ndarray, " n"]:
    p = _vector(name, given)
    if len(p) != length:
        raise ShapeError(f"{name} is [{len(p)}] but there are {length} values.")
    if (p < 0).any() or abs(p.sum() - 1) > 1e-9:
        raise ConfigError(f"{name} is {p.tolist()} but must be a distribution: its sum is 1.")
    return p / p.sum()
