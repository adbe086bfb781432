"""Values of an MDP in the terminal, as a grid or a table, and a picture of what is no grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from logpi.views.grid import Grid, cells, save_picture
from logpi.views.text import number, visible

__all__ = ["curve_of_values", "grid_that_fits", "table_of_values"]

_MARKED = 120  # states up to which each has a mark of its own


def grid_that_fits(
    to: Console, value: ndarray, policy: ndarray, grid: Grid, *, is_grid: bool
) -> Table | None:
    """The states as the cells of a grid; None where they are none, or too wide for the terminal."""
    if not is_grid or 2 * grid.columns > to.width or grid.rows > to.width:
        return None
    unlimited = to.options.update(width=1 << 20)
    for pad in (1, 0):
        table = cells(value, policy, grid, pad=pad)
        if to.measure(table, options=unlimited).maximum <= to.width:
            return table
    return None


def curve_of_values(
    value: ndarray, policy: ndarray, path: str | Path, *, actions: Sequence[str], title: str
) -> Path:
    """The path, where a picture now is: the value of each state, and below it what is done there.

    `policy` is [S] actions, −1 where none is taken, or [S, A] probabilities, drawn as shades.
    Raises `ConfigError` where the file cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - only what draws pays for it

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    state, over = np.arange(len(value)), (policy < 0) if policy.ndim == 1 else ~policy.any(1)
    shown = np.where(over, np.nan, value)  # 0 by definition where the episode is over
    upper.plot(state, shown, ".-" if len(value) <= _MARKED else "-", linewidth=1)
    upper.set(title=title, ylabel="value")
    if policy.ndim == 1:
        taken = np.where(policy >= 0, policy.astype(float), np.nan)
        lower.plot(state, taken, "." if len(value) <= _MARKED else ",")
    else:
        lower.imshow(policy.T, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=1)
    if len(actions) <= 12:
        lower.set_yticks(range(len(actions)), [visible(name) for name in actions])
    lower.set(xlabel="state", ylabel="action")
    return save_picture(figure, path)


def table_of_values(
    value: ndarray,
    q: ndarray,
    policy: ndarray,
    *,
    states: Sequence[str],
    actions: Sequence[str],
    most: int = 40,
) -> Table:
    """A row for each state, at most `most` of them: value, action values, and what is done.

    `q` is −inf where an action is not allowed; `policy` is [S] actions or [S, A] probabilities.

    >>> t = table_of_values(
    ...     np.array([1.0]),
    ...     np.array([[1.0, -np.inf]]),
    ...     np.array([0]),
    ...     states=["s"],
    ...     actions=["a", "b"],
    ... )
    >>> t.row_count
    1
    """
    shown = list(actions) if len(actions) <= 8 else []
    table = _headed(shown)
    for s in range(min(len(value), most)):
        figures = [number(float(x)) if np.isfinite(x) else "" for x in q[s][: len(shown)]]
        does = Text(_does(policy, s, actions))
        table.add_row(Text(visible(states[s])), number(float(value[s])), *figures, does)
    if len(value) > most:
        table.caption = f"{most} of {len(value)} states; --json has them all"
    return table


def _headed(actions: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("state", no_wrap=True)
    table.add_column("value", justify="right")
    for name in actions:
        table.add_column(Text(f"q {visible(name)}"), justify="right")
    table.add_column("policy")
    return table


def _does(policy: ndarray, s: int, actions: Sequence[str]) -> str:
    if policy.ndim == 1:
        return visible(actions[int(policy[s])]) if policy[s] >= 0 else "terminal"
    taken = [int(a) for a in np.flatnonzero(policy[s] > 0)]
    told = [f"{visible(actions[a])} {number(float(policy[s, a]), 2)}" for a in taken]
    return ", ".join(told) or "terminal"
