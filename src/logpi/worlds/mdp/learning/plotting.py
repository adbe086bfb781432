"""Learning curves as pictures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from logpi.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot", "smoothed"]

_LABELS = {
    "errors": "RMS error",
    "returns": "Sum of rewards an episode",
    "lengths": "Steps an episode",
}


class Curves(Protocol):
    """The part of `Learned` that is drawn."""

    @property
    def returns(self) -> Float[ndarray, "R E"]: ...
    @property
    def lengths(self) -> ndarray: ...
    @property
    def errors(self) -> Float[ndarray, "R K"] | None: ...
    @property
    def recorded(self) -> ndarray: ...
    @property
    def counted(self) -> str: ...
    @property
    def method(self) -> str: ...


def plot(
    learned: Curves,
    where: Axes | str | Path | None,
    *,
    curve: str | None,
    label: str | None,
    smooth: int,
) -> Axes:
    """The axes, with the curve drawn; see `Learned.plot`."""
    curve = curve or ("returns" if learned.errors is None else "errors")
    if curve not in _LABELS:
        raise ConfigError(f"curve is {curve!r} but must be one of {', '.join(_LABELS)}.")
    y: Any = getattr(learned, curve)
    if y is None:
        raise ConfigError(
            "no error was recorded: give `truth=` to learn, the values to compare to."
        )
    x = learned.recorded if curve == "errors" else np.arange(1, y.shape[1] + 1)
    if curve == "lengths":
        y = np.where(y > 0, y, np.nan)
    axes, figure = _axes(where)
    mean, spread = _over_runs(smoothed(y.astype(np.float64), smooth))
    axes.plot(x, mean, label=label or learned.method)
    if len(y) > 1:
        axes.fill_between(x, mean - spread, mean + spread, alpha=0.2, linewidth=0)
    axes.set_xlabel(f"{learned.counted}s" if curve == "errors" else "episodes")
    axes.set_ylabel(_LABELS[curve])
    axes.legend()
    if figure is not None and isinstance(where, str | Path):
        try:
            figure.savefig(where)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no picture can be written to {where}: {error}.") from error
    return axes


def _axes(where: Axes | str | Path | None) -> tuple[Axes, Figure | None]:
    """The axes to draw into, and their figure where it is ours."""
    if where is None or isinstance(where, str | Path):
        from matplotlib.figure import Figure  # noqa: PLC0415 - only what draws pays for it

        figure = Figure(figsize=(6, 4), layout="constrained")
        return figure.subplots(), figure
    return where, None


def _over_runs(y: Float[ndarray, "R K"]) -> tuple[Float[ndarray, " K"], Float[ndarray, " K"]]:
    with warnings.catch_warnings():  # an episode that no run finished has no mean
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(y, axis=0), np.nanstd(y, axis=0)


def smoothed(y: Float[ndarray, "R K"], window: int) -> Float[ndarray, "R K"]:
    """The mean of each entry and its neighbours, `window` in all, fewer at the ends.

    Raises `ConfigError` unless the window is positive.

    >>> smoothed(np.array([[0.0, 3.0, 6.0, 0.0]]), 3)
    array([[1.5, 3. , 3. , 3. ]])
    """
    if window < 1:
        raise ConfigError(f"smooth is {window} but must be at least 1.")
    total = np.concatenate([np.zeros((len(y), 1)), np.cumsum(y, axis=1)], axis=1)
    at = np.arange(y.shape[1])
    low = np.maximum(at - (window - 1) // 2, 0)
    high = np.minimum(at + window // 2 + 1, y.shape[1])
    return (total[:, high] - total[:, low]) / (high - low)
