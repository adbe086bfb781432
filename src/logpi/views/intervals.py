"""Scores of few runs, said with what they do not tell: interquartile means and their intervals.

Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice,
arXiv 2108.13264: interquartile means, stratified bootstrap, probability of improvement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from scipy.stats import trim_mean

__all__ = ["Interval", "improvement", "interquartile_mean", "intervals"]

Interval = tuple[ndarray, ndarray, ndarray]
"""The estimate and the two ends of its interval, each [points]."""

_RESAMPLES = 2000


def interquartile_mean(scores: ndarray) -> ndarray:
    """The mean of the middle half of the runs, [..., runs, points] -> [..., points].

    Fewer than four runs have no quarter to leave out: their mean. Section 4.3 there.

    >>> interquartile_mean(np.array([[0.0], [1.0], [2.0], [99.0]]))
    array([1.5])
    """
    return trim_mean(scores, 0.25, axis=-2)


def intervals(
    scores: Sequence[ndarray], *, level: float = 0.95, resamples: int = _RESAMPLES, seed: int = 0
) -> Interval:
    """The interquartile mean over all runs of all tasks, with a stratified bootstrap's interval.

    `scores` has one array [runs, points] a task; each task's runs are drawn anew among themselves
    (section 4.1 there). A task of one run does not vary, so its interval says nothing.

    >>> one = np.arange(8.0)[:, None]
    >>> middle, low, high = intervals([one])
    >>> float(middle[0]), bool(low[0] < 3.5 < high[0])
    (3.5, True)
    """
    rng = np.random.default_rng(seed)
    drawn = [x[rng.integers(len(x), size=(resamples, len(x)))] for x in scores]
    found = interquartile_mean(np.concatenate(drawn, axis=1))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return interquartile_mean(np.concatenate(list(scores))), low, high


def improvement(
    x: Sequence[ndarray],
    y: Sequence[ndarray],
    *,
    level: float = 0.95,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """P(a run of x scores above one of y), ties half, with its interval; the mean over tasks.

    Each of x and y has one array [runs] a task. Section 4.3 there (Mann–Whitney's U).

    >>> improvement([np.array([1.0, 2.0])], [np.array([0.0, 1.0])])[0]
    0.875
    """
    rng = np.random.default_rng(seed)

    def above(a: ndarray, b: ndarray) -> ndarray:
        gap = np.sign(a[..., :, None] - b[..., None, :])
        return 0.5 + gap.mean(axis=(-2, -1)) / 2

    def anew(a: ndarray) -> ndarray:
        return a[rng.integers(len(a), size=(resamples, len(a)))]

    pairs = list(zip(x, y, strict=True))
    middle = float(np.mean([above(a, b) for a, b in pairs]))
    found = np.mean([above(anew(a), anew(b)) for a, b in pairs], axis=0)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return middle, float(low), float(high)
