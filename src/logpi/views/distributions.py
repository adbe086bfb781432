"""Distributions as plain geometry: histograms of recorded figures, and their spread over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from logpi.views.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, labels, ticks
from logpi.views.reading import Decision, Record

__all__ = ["Fan", "Histogram", "fans", "histograms"]

_BINS = 30
_LEFT_OUT = 0.005  # of the values, at each end: one outlier would leave no room for the rest
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# Title, and what a decision has of it.
_SHOWN: dict[str, Callable[[Decision], float | None]] = {
    "Credit": lambda d: d.credit,
    "Ratio π/π old": lambda d: d.ratio,
    "Coefficient": lambda d: d.coefficient,
}
_OVER_TIME = ("Credit", "Coefficient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How the values of one iteration are spread, filled, and those of another as an outline."""

    title: str
    filled: str
    outline: str
    x: tuple[Tick, ...]
    first: int
    last: int
    mean: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """A quantity over the run: its median, and where half and nine tenths of its values are."""

    title: str
    median: str
    half: str
    most: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    last: float


def histograms(record: Record) -> tuple[Histogram, ...]:
    """One for each quantity whose recorded values differ: first and last recorded iteration."""
    found = record.iterations
    if not found:
        return ()
    made = []
    for title, of in _SHOWN.items():
        first, last = (_values(record, i, of) for i in (found[0], found[-1]))
        both = np.concatenate([first, last])
        if len(last) and len(both) and np.ptp(both) > 0:
            made.append(_histogram(title, (first, last), (found[0], found[-1])))
    return tuple(made)


def fans(record: Record) -> tuple[Fan, ...]:
    """One for each quantity that was recorded at two iterations, and is not everywhere the same."""
    made = []
    for title in _OVER_TIME:
        values = {i: _values(record, i, _SHOWN[title]) for i in record.iterations}
        values = {i: v for i, v in values.items() if len(v)}
        if len(values) > 1 and any(np.ptp(v) > 0 for v in values.values()):
            quantiles = np.array([np.quantile(v, _QUANTILES) for v in values.values()])
            made.append(_fan(title, np.array(list(values)), quantiles))
    return tuple(made)


def _values(record: Record, iteration: int, of: Callable[[Decision], float | None]) -> ndarray:
    found = [of(d) for row in record.of(iteration) for d in row.decisions if d.mask]
    return np.array([v for v in found if v is not None and math.isfinite(v)], dtype=float)


def _histogram(
    title: str, values: tuple[ndarray, ndarray], iterations: tuple[int, int]
) -> Histogram:
    both = np.concatenate(values)
    low, high = np.quantile(both, [_LEFT_OUT, 1 - _LEFT_OUT])
    if not high > low:
        low, high = both.min(), both.max()
    marks = [t for t in ticks(float(low), float(high)) if low <= t <= high] or [float(low)]
    edges = np.linspace(low, high, _BINS + 1)
    shares = [np.histogram(v, edges)[0] / max(len(v), 1) for v in values]
    top = max(float(s.max()) for s in shares) or 1.0

    def across(x: float) -> float:
        return round(LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def steps(share: ndarray) -> str:
        up = [round(HEIGHT - BOTTOM - s / top * (HEIGHT - TOP - BOTTOM), 1) for s in share]
        path = [f"M{across(edges[0]):g} {HEIGHT - BOTTOM:g}"]
        path += [f"V{y:g}H{across(right):g}" for y, right in zip(up, edges[1:], strict=True)]
        return "".join([*path, f"V{HEIGHT - BOTTOM:g}"])

    first, last = values
    return Histogram(
        title=title,
        filled=steps(shares[1]) + "Z",
        outline=steps(shares[0]) if len(first) and iterations[0] != iterations[1] else "",
        x=tuple(Tick(across(t), label) for t, label in zip(marks, labels(marks), strict=True)),
        first=iterations[0],
        last=iterations[1],
        mean=float(last.mean()),
        count=len(last),
    )


def _fan(title: str, iterations: ndarray, quantiles: ndarray) -> Fan:
    marks = ticks(float(quantiles.min()), float(quantiles.max()))
    low, high = min(marks[0], quantiles.min()), max(marks[-1], quantiles.max())
    x0, x1 = int(iterations[0]), int(iterations[-1])

    def across(x: float) -> float:
        return round(LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT), 1)

    def up(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def line(k: int) -> list[str]:
        return [
            f"{across(i):g} {up(y):g}" for i, y in zip(iterations, quantiles[:, k], strict=True)
        ]

    def band(a: int, b: int) -> str:
        return "M" + "L".join(_there_and_back(line(a), line(b))) + "Z"

    return Fan(
        title=f"{title} over the run",
        median="M" + "L".join(line(2)),
        half=band(1, 3),
        most=band(0, 4),
        x=tuple(Tick(across(i), f"{i:g}") for i in (x0, x1)),
        y=tuple(Tick(up(y), label) for y, label in zip(marks, labels(marks), strict=True)),
        last=float(quantiles[-1, 2]),
    )


def _there_and_back(below: Sequence[str], above: Sequence[str]) -> list[str]:
    return [*below, *reversed(above)]
