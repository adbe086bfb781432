"""The audit of a sample: the same figures where there is too much to enumerate, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.audit.drawn import draw_batches
from logpi.audit.enumeration import measured, reported
from logpi.audit.objectives import targets_of
from logpi.audit.problem import values_of
from logpi.audit.report import AuditReport, Interval
from logpi.audit.setup import Setup
from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.worlds.mdp.exact.trajectories import longest

__all__ = ["intervals_of", "sample"]

_REPEATS = 400  # of the multiplier bootstrap
_ROUNDING = 1e-12  # of a sum, relative: no interval is shorter


def sample(setup: Setup, *, batches: int, confidence: float, seed: int) -> AuditReport:
    """The report of batches that are drawn, with intervals that hold the truth this often.

    Raises `ConfigError` for fewer than 2 batches, a confidence outside (0, 1), or several steps on
    a model without a horizon.
    """
    if batches < 2:
        raise ConfigError(f"batches is {batches} but a spread needs at least 2.")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence} but must lie between 0 and 1.")
    problem, length = setup.problem, _length(setup)
    if setup.steps > 1 and length is None:
        raise ConfigError(
            "several steps need the exact gradient of each moved policy: set horizon."
        )
    values = values_of(problem, setup.critic, horizon=length)
    rows, draws = draw_batches(setup, values, batches=batches, seed=seed)
    moments = measured(setup, rows, draws, length or 1, keep=True)
    targets = targets_of(problem, setup.law, beta=setup.beta, k=setup.k)
    each = moments[0].each
    assert each is not None
    return reported(
        setup,
        moments,
        length,
        targets=targets,
        counts=(draws.count, rows.count),
        intervals=intervals_of(each, targets.gradients, confidence=confidence, seed=seed),
        confidence=confidence,
    )


def _length(setup: Setup) -> int | None:
    """The most decisions of a row, or None where only a time limit cuts it."""
    problem = setup.problem
    if problem.horizon is not None:
        return problem.horizon
    try:
        return longest(problem.m)
    except ConfigError:
        return None


def intervals_of(
    each: Float[Tensor, "b p"],
    gradients: Mapping[str, Float[Tensor, " p"]],
    *,
    confidence: float,
    seed: int,
) -> dict[str, dict[str, Interval]]:
    """Intervals for the figures against each objective, from every batch's gradient.

    The mean lies within a ball around its estimate, whose radius the multiplier bootstrap gives;
    what follows of a norm and an angle holds for every point of the ball, so those intervals are
    wide but never too short. Scalars and variances are means of batches: normal intervals.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.1], [1.0, -0.1]] * 50, dtype=torch.float64)
    >>> found = intervals_of(g, {"return": g.mean(0)}, confidence=0.95, seed=0)
    >>> low, high = found["return"]["cosine"]
    >>> 0.99 < low < high <= 1.0
    True
    """
    x = each.numpy()
    mean, scatter, radius = _spread(x, confidence, seed)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    wide = NormalDist().inv_cdf((3 + confidence) / 4)  # two at once, each with half the error
    out: dict[str, dict[str, Interval]] = {}
    for name, gradient in gradients.items():
        target = gradient.numpy()
        size = float(np.linalg.norm(target))
        if not size > 0:
            continue
        along = x @ target / size
        low, high = _around(along, z)
        out[name] = _of_ball(mean, target, radius) | {
            "scalar": (low / size, high / size),
            "noise_to_signal": _of_ratio(_around(scatter, wide), _around(along, wide)),
        }
    return out


def _spread(
    x: Float[ndarray, "b p"], confidence: float, seed: int
) -> tuple[ndarray, ndarray, float]:
    """The mean, each batch's squared distance from it, and the radius of the ball around it."""
    mean, noise = x.mean(0), _ROUNDING * float(np.abs(x).max(initial=0.0))
    scatter = ((x - mean) ** 2).sum(1)
    draw = np.random.Generator(np.random.Philox(mix(seed, 0xB007)))
    moved_by = draw.standard_normal((_REPEATS, len(x))) @ (x - mean) / len(x)
    radius = float(np.quantile(np.sqrt((moved_by**2).sum(1)), confidence))
    return mean, np.where(scatter > noise**2, scatter, 0.0), radius + noise


def _of_ratio(variance: Interval, along: Interval) -> Interval:
    """What variance / along² may be; without a bound where `along` may be 0."""
    low, high = sorted(abs(x) for x in along)
    most = variance[1] / low**2 if along[0] * along[1] > 0 else float("inf")
    return max(0.0, variance[0]) / high**2, most


def _around(x: Float[ndarray, " b"], z: float) -> Interval:
    half = z * float(x.std(ddof=1)) / len(x) ** 0.5 + _ROUNDING * float(np.abs(x).max())
    return float(x.mean()) - half, float(x.mean()) + half


def _of_ball(mean: ndarray, target: ndarray, radius: float) -> dict[str, Interval]:
    """What a norm, a ratio and an angle may be anywhere within `radius` of the mean."""
    size, length = float(np.linalg.norm(target)), float(np.linalg.norm(mean))
    bias = float(np.linalg.norm(mean - target))
    around = (max(0.0, bias - radius), bias + radius)
    angle = np.arccos(np.clip(mean @ target / max(size * length, 1e-300), -1, 1))
    most = np.arcsin(radius / length) if radius < length else np.pi
    return {
        "bias_norm": around,
        "relative_bias": (around[0] / size, around[1] / size),
        "norm_ratio": (max(0.0, length - radius) / size, (length + radius) / size),
        "cosine": (float(np.cos(min(np.pi, angle + most))), float(np.cos(max(0.0, angle - most)))),
    }
