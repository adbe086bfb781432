"""One diverging scale: blue pushes a log-probability up, vermilion down, no colour is zero."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["BLUE", "GREY", "PALETTE", "VERMILION", "Colour", "diverging", "scale_of", "strength"]

# Red, green and blue, 0 to 255.
Colour = tuple[int, int, int]

# Blue and vermilion stay apart for every common kind of colour blindness; red and green do not.
BLUE: Colour = (20, 90, 190)
VERMILION: Colour = (190, 60, 10)  # a negative coefficient
GREY: Colour = (
    104,
    104,
    104,
)  # white text on it has contrast 5.5, on a light and on a dark terminal

# The report mixes these into its page at no more than 0.58.
PALETTE: dict[str, dict[str, Colour]] = {
    "light": {"up": (38, 104, 190), "down": (204, 82, 28), "other": (92, 96, 102)},
    "dark": {"up": (92, 160, 240), "down": (240, 124, 72), "other": (150, 155, 162)},
}


def scale_of(values: Iterable[float | None]) -> float:
    """The largest finite magnitude, at which the colour is full; 1 where there is none.

    >>> scale_of([0.5, -2.0, None]), scale_of([None, 0.0])
    (2.0, 1.0)
    """
    return max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0) or 1.0


def strength(value: float | None, scale: float) -> float:
    """How full the colour is, 0 to 1, on a square-root scale so that weak tokens remain visible.

    >>> strength(0.25, 1.0), strength(None, 1.0), strength(-9.0, 1.0)
    (0.5, 0.0, 1.0)
    """
    if value is None or math.isnan(value):
        return 0.0
    return min(1.0, abs(value) / scale) ** 0.5


def diverging(value: float | None, scale: float) -> Colour | None:
    """The background of a token in a terminal, for white text; None where there is nothing to show.

    >>> diverging(1.0, 1.0) == BLUE, diverging(-1.0, 1.0) == VERMILION, diverging(0.0, 1.0)
    (True, True, None)
    """
    if value is None or value == 0 or math.isnan(value):
        return None
    end, share = (BLUE if value > 0 else VERMILION), strength(value, scale)
    r, g, b = (round(grey + share * (full - grey)) for grey, full in zip(GREY, end, strict=True))
    return r, g, b
