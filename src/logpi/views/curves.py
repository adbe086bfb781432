"""Curves as plain geometry: what a template needs to draw an inline SVG, and what a hover reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Chart", "Tick", "charts", "labels", "smooth", "ticks"]

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 22
MOST_POINTS = 400
_MANY = 25  # points from which on single ones are no longer marked
_WINDOW = 0.12  # the smoothing window's share of the run

# Name and title, in the order of drawing. What is not here is drawn further down, by its name.
TITLES = {
    "return": "Return of an episode",
    "eval/return": "Evaluated return",
    "episode_length": "Decisions an episode",
    "reward": "Reward",
    "eval/correct": "Held-out share correct",
    "eval/reward": "Held-out reward",
    "eval/preferred": "Held-out share of pairs preferred",
    "eval/margin": "Held-out margin of the chosen (nats)",
    "eval/nll": "Held-out nats a token",
    "nll": "Nats a token",
    "margin": "Margin of the chosen (nats)",
    "preferred": "Share of pairs preferred",
    "kl_reference": "KL to the reference (nats)",
    "kl": "KL of the natural step (nats)",
    "step_share": "Share of the natural step taken",
    "kl_old": "KL from the sampling policy (nats)",
    "entropy": "Entropy (nats)",
    "completion_tokens": "Tokens a completion",
    "clipped": "Share clipped",
    "critic_loss": "Critic's loss",
    "explained_variance": "Critic's explained variance",
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
    "coefficient_norm": "Norm of weight · coefficient",
    "skipped": "Share of decisions skipped",
    "tokens_per_second": "Decisions per second",
    "missing": "Rewards missing",
}
# The surrogate is left out on purpose: only its gradient means something.
_ALWAYS = {"reward", "eval/correct", "eval/reward", "eval/preferred"}
_EXACT = {"learning_rate"}  # a schedule has no noise to smooth away
_LEFT_OUT = {"iteration", "surrogate", "time", "seed"}
_SAID_BY = {"kl_old": "kl"}  # before a natural step, its only one, the policy is its own sampler
# What is drawn as a band around another metric: one standard deviation to each side.
_SPREAD = {"return": "return_std", "eval/return": "eval/return_std"}


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    place: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One curve in a box of WIDTH × HEIGHT."""

    name: str
    title: str
    path: str
    smooth: str
    band: str  # one standard deviation to each side, where it is known
    dots: tuple[tuple[float, float], ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    first: float
    last: float
    iterations: tuple[int, ...]
    values: tuple[float, ...]
    places: tuple[tuple[float, float], ...]
    mean_of: int
    main: bool


def charts(metrics: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """A chart for every metric that is a number at two iterations, the well-known ones first.

    >>> [
    ...     c.title
    ...     for c in charts([{"iteration": 0, "reward": 0.0}, {"iteration": 1, "reward": 1.0}])
    ... ]
    ['Reward']
    """
    names = dict.fromkeys(name for entry in metrics for name in entry)
    names = {name: None for name in names if _SAID_BY.get(name) not in names}
    known = [name for name in TITLES if name in names]
    around = {spread for name, spread in _SPREAD.items() if name in names}
    left_out = _LEFT_OUT | around
    others = [name for name in names if name not in TITLES and name not in left_out]
    made = []
    for name in known + others:
        points = [(int(m["iteration"]), float(m[name])) for m in metrics if _drawable(m.get(name))]
        if len(points) > 1 and _says_something(name, {y for _, y in points}):
            spread = {
                int(m["iteration"]): float(m[_SPREAD[name]])
                for m in metrics
                if name in _SPREAD and _drawable(m.get(_SPREAD[name]))
            }
            made.append(_chart(name, points, spread, main=name in TITLES))
    return tuple(made)


def _says_something(name: str, values: set[float]) -> bool:
    if name in TITLES:
        return values != {0.0} or name in _ALWAYS
    return len(values) > 1


def _drawable(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _chart(
    name: str, points: list[tuple[int, float]], spread: Mapping[int, float], *, main: bool
) -> Chart:
    first, last = points[0][1], points[-1][1]
    thin, mean_of = _thinned(points)
    xs, ys = [x for x, _ in thin], [y for _, y in thin]
    below, above = _around(thin, spread)
    marks = ticks(min(ys + below), max(ys + above))
    low, high = min(marks[0], *ys, *below), max(marks[-1], *ys, *above)
    x0, x1 = points[0][0], max(points[-1][0], points[0][0] + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        up = (y - low) / ((high - low) or 1)
        return round(across, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)

    places = [place(x, y) for x, y in zip(xs, ys, strict=True)]
    edge = zip([*xs, *xs[::-1]], [*above, *below[::-1]], strict=True) if below else ()
    smoothed = smooth(ys) if len(ys) >= _MANY and name not in _EXACT else []
    return Chart(
        name=name,
        title=TITLES.get(name, name),
        path=_path(places),
        smooth=_path(place(x, y) for x, y in zip(xs, smoothed, strict=True)) if smoothed else "",
        band=_path(place(x, y) for x, y in edge) + "Z" if below else "",
        dots=tuple(places) if len(ys) < _MANY else (),
        x=tuple(Tick(place(x, low)[0], f"{x:g}") for x in _whole_ticks(x0, x1)),
        y=tuple(
            Tick(place(x0, y)[1], label) for y, label in zip(marks, labels(marks), strict=True)
        ),
        first=first,
        last=last,
        iterations=tuple(xs),
        values=tuple(ys),
        places=tuple(places),
        mean_of=mean_of,
        main=main,
    )


def _thinned(points: list[tuple[int, float]]) -> tuple[list[tuple[int, float]], int]:
    size = math.ceil(len(points) / MOST_POINTS)
    if size == 1:
        return points, 1
    bins = [points[i : i + size] for i in range(0, len(points), size)]
    return [(b[-1][0], sum(y for _, y in b) / len(b)) for b in bins], size


def _around(
    points: Sequence[tuple[int, float]], spread: Mapping[int, float]
) -> tuple[list[float], list[float]]:
    """One standard deviation below and above each point; nothing where it is not known of all."""
    if not all(x in spread for x, _ in points):
        return [], []
    return [y - spread[x] for x, y in points], [y + spread[x] for x, y in points]


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def smooth(values: Sequence[float]) -> list[float]:
    """A line fitted around each point, read there: a mean inside, not flattened at the ends.

    >>> smooth([2.0, 4.0]), [round(v, 6) for v in smooth([0.0, 3.0] * 20)[18:20]]
    ([2.0, 4.0], [1.2, 1.8])
    """
    half = round(len(values) * _WINDOW / 2)
    made = []
    for i in range(len(values)):
        start = max(0, i - half)
        window = values[start : i + half + 1]
        centre, mean = start + (len(window) - 1) / 2, sum(window) / len(window)
        spread = sum((start + k - centre) ** 2 for k in range(len(window)))
        slope = (
            sum((start + k - centre) * v for k, v in enumerate(window)) / spread if spread else 0.0
        )
        fitted = mean + slope * (i - centre)
        made.append(min(max(window), max(min(window), fitted)))  # no norm below 0, no share above 1
    return made


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers around [low, high], at most `most` steps apart.

    >>> ticks(0.13, 0.91)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> ticks(3.0, 3.0)
    [2.0, 3.0, 4.0]
    """
    if not high > low:
        step = abs(low) or 1.0
        step = 10.0 ** math.floor(math.log10(step))
        return [low - step, low, low + step] if low else [0.0, 1.0]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10, 20) if _span(low, high, m * power) <= most)
    start = math.floor(low / step + 1e-9)
    return [round((start + i) * step, 12) for i in range(_span(low, high, step) + 1)]


def _span(low: float, high: float, step: float) -> int:
    return math.ceil(high / step - 1e-9) - math.floor(low / step + 1e-9)


def _whole_ticks(low: int, high: int) -> list[int]:
    found = [round(t) for t in ticks(low, high) if low <= t <= high and t == round(t)]
    return found or [low, high]


def labels(marks: Sequence[float]) -> list[str]:
    """Labels of one axis, all in one notation.

    >>> labels([0.0, 1e-4, 2e-4]), labels([0.0, 20000.0]), labels([0.0, 0.25, 0.5])
    (['0', '1e-4', '2e-4'], ['0', '20k'], ['0', '0.25', '0.5'])
    """
    largest = max(map(abs, marks))
    if largest >= 1e6 or 0 < largest < 1e-2:
        return [_scientific(m) for m in marks]
    if largest >= 10_000:
        return [f"{m / 1000:g}k" if m else "0" for m in marks]
    return [f"{m:.6g}" for m in marks]


def _scientific(value: float) -> str:
    if value == 0:
        return "0"
    digits, _, power = f"{value:.3e}".partition("e")
    return f"{float(digits):g}e{int(power)}"
