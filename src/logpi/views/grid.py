"""Values and policies of a grid: as text in the terminal, as a picture, and as a film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy import ndarray
from rich.table import Table
from rich.text import Text

from logpi.core.errors import ConfigError
from logpi.views.frames import Film
from logpi.views.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Grid", "animate", "arrows", "cells", "draw", "picture", "save_picture"]

_ARROWS = {
    (-1, 0): "↑",
    (1, 0): "↓",
    (0, 1): "→",
    (0, -1): "←",
    (0, 0): "○",
    (-1, 1): "↗",
    (1, 1): "↘",
    (1, -1): "↙",
    (-1, -1): "↖",
}
_MARKS = {
    "forbidden": "#e8b26a",
    "cliff": "#6b6f76",
    "hole": "#6b6f76",
    "wall": "#30343a",
    "target": "#58b7a8",
    "goal": "#58b7a8",
    "start": "#9fb8e0",
}
_FILLED = {"cliff", "hole", "wall"}  # no state that one stands in: the whole cell, not its edge
_WORDS = 3  # letters that an action's name may have to stand in a cell
_LARGEST = 60  # rows or columns that a terminal, and a number in a cell, still have room for
_FILM_FPS, _FILM_DPI, _FILM_WIDTH = 2, 110, 1200  # slow enough, and large enough, to read numbers


class Grid(Protocol):
    """Where states lie and what actions do: `logpi.mdp.Layout` is one."""

    @property
    def rows(self) -> int:
        """Rows of the grid."""
        ...

    @property
    def columns(self) -> int:
        """Columns of the grid; state s lies in cell divmod(s, columns)."""
        ...

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions' names."""
        ...

    @property
    def moves(self) -> tuple[tuple[int, int], ...]:
        """Each action's step, as (row, column)."""
        ...

    @property
    def marks(self) -> Mapping[str, tuple[int, ...]]:
        """Kinds of cells, to state numbers."""
        ...


def arrows(policy: ndarray, grid: Grid) -> list[str]:
    """A sign for each state: every action that is as likely as the likeliest, none if it is over.

    `policy` is [S] actions, −1 where none is taken, or [S, A] probabilities.

    >>> from types import SimpleNamespace as Namespace
    >>> arrows(np.array([0, -1]), Namespace(moves=((0, 1), (1, 0)), actions=("right", "down")))
    ['→', '']
    """
    signs = [_ARROWS.get(move, "?") for move in grid.moves]
    short = all(len(name) <= _WORDS for name in grid.actions)
    signs = signs or [name if short else name[:1] for name in grid.actions]
    signs = signs or [str(a) for a in range(10)]
    if policy.ndim == 1:
        return [signs[a] if a >= 0 else "" for a in policy]
    best = (policy > 0) & (policy >= policy.max(1, keepdims=True) - 1e-9)
    return ["".join(signs[a] for a in np.flatnonzero(row)) for row in best]


def cells(value: ndarray, policy: ndarray, grid: Grid, *, pad: int = 1) -> Table:
    """The grid as a table: value and arrow in each cell, coloured by what kind of cell it is.

    `pad` is the number of blanks on either side of a cell. Raises `ConfigError` where the grid is
    too large for a terminal.
    """
    if max(grid.rows, grid.columns) > _LARGEST:
        raise ConfigError(
            f"a grid of {grid.rows} × {grid.columns} cells is too large for the terminal. "
            "Say `--plot FILE.png`."
        )
    kind = {s: name for name, states in grid.marks.items() for s in states}
    signs = arrows(policy, grid)
    table = Table(show_header=False, show_lines=True, padding=(0, pad))
    for _ in range(grid.columns):
        table.add_column(justify="center", no_wrap=True)
    for row in range(grid.rows):
        line: list[Text] = []
        for s in range(row * grid.columns, (row + 1) * grid.columns):
            style = f"on {_MARKS[kind[s]]} black" if kind.get(s) in _MARKS else ""
            line.append(Text(f"{number(float(value[s]))}\n{signs[s] or '·'}", style=style))
        table.add_row(*line)
    return table


def picture(value: ndarray, policy: ndarray, grid: Grid, path: str | Path, *, title: str) -> Path:
    """The path, where a picture of values (colour, number) and policy (arrows) now is.

    Raises `ConfigError` where the file cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - only what draws pays for it

    figure = Figure(figsize=_size(grid), layout="constrained")
    draw(figure.subplots(), value, policy, grid, title=title)
    return save_picture(figure, path)


def save_picture(figure: Figure, path: str | Path) -> Path:
    """The path, where the figure now is; raises `ConfigError` where it cannot be written.

    >>> from matplotlib.figure import Figure
    >>> save_picture(Figure(), "nowhere/a.png")
    Traceback (most recent call last):
    logpi.core.errors.ConfigError: no picture can be written to nowhere/a.png: ...
    """
    try:
        figure.savefig(path, dpi=144)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no picture can be written to {path}: {error}.") from error
    return Path(path)


def draw(
    axes: Axes,
    value: ndarray,
    policy: ndarray,
    grid: Grid,
    *,
    title: str,
    limits: tuple[float, float] | None = None,
) -> None:
    """Nothing; the axes show the grid. `limits` fix the colours, for pictures to be compared."""
    cut = value[: grid.rows * grid.columns].reshape(grid.rows, grid.columns)
    low, high = limits or (float(cut.min()), float(cut.max()))
    axes.imshow(cut, cmap="Blues", vmin=low - 0.15 * (high - low), vmax=high + 0.35 * (high - low))
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    small = max(grid.rows, grid.columns) <= 14
    _draw_marks(axes, grid)
    _draw_policy(axes, policy, grid, small=small)
    if small:
        for s, v in enumerate(cut.ravel()):
            row, column = divmod(s, grid.columns)
            axes.text(column, row - 0.34, number(float(v)), ha="center", va="center", fontsize=7)


def animate(
    frames: Sequence[tuple[ndarray, ndarray]], grid: Grid, path: str | Path, *, title: str
) -> Path:
    """The path of a film, .gif or .mp4, of (value, policy) after each iteration.

    Raises `ConfigError` where there is nothing to show, or no such film can be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only what draws
    from matplotlib.figure import Figure  # noqa: PLC0415 - pays for it

    if not frames:
        raise ConfigError("there are no iterations to animate: the method kept no history.")
    figure = Figure(figsize=_size(grid), dpi=_FILM_DPI, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    every = np.concatenate([value for value, _ in frames])
    limits = (float(every.min()), float(every.max()))
    with Film(path, fps=_FILM_FPS, width=_FILM_WIDTH) as film:
        for k, (value, policy) in enumerate(frames):
            axes.clear()
            draw(axes, value, policy, grid, title=f"{title}, iteration {k}", limits=limits)
            canvas.draw()
            film.write(np.asarray(canvas.buffer_rgba())[:, :, :3])
    return Path(path)


def _size(grid: Grid) -> tuple[float, float]:
    cell = min(0.9, 9 / max(grid.rows, grid.columns))
    return max(2.4, cell * grid.columns + 0.2), max(1.8, cell * grid.rows + 0.5)


def _draw_marks(axes: Axes, grid: Grid) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - only what draws pays for it

    for name, states in grid.marks.items():
        colour = _MARKS.get(name)
        for s in states if colour else ():
            row, column = divmod(s, grid.columns)
            if name in _FILLED:
                patch = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour)
            else:  # an edge: the colour of the cell is its value's
                patch = Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, linewidth=2.5)
                patch.set(facecolor="none", edgecolor=colour)
            axes.add_patch(patch)


def _draw_policy(axes: Axes, policy: ndarray, grid: Grid, *, small: bool) -> None:
    if not grid.moves:
        _write_policy(axes, policy, grid)
        return
    table = policy
    if policy.ndim == 1:
        table = np.where(policy[:, None] >= 0, np.eye(len(grid.moves))[policy], 0.0)
    size = 0.28 if small else 0.4
    for a, (down, right) in enumerate(grid.moves):
        s = np.flatnonzero(table[: grid.rows * grid.columns, a] > 0.01)
        row, column, p = s // grid.columns, s % grid.columns, table[s, a]
        low = row + (0.15 if small else 0.0)
        if (down, right) == (0, 0):
            axes.scatter(column, low, s=60 * p * size, facecolors="none", edgecolors="#20242a")
        else:
            axes.quiver(
                column, low, right * p * size, -down * p * size, angles="uv", scale=1,
                scale_units="x", units="x", width=0.03, color="#20242a", zorder=3,
            )  # fmt: skip


def _write_policy(axes: Axes, policy: ndarray, grid: Grid) -> None:
    """The names of actions that are no moves, where there is room for them."""
    large = max(grid.rows, grid.columns) > _LARGEST
    if large or any(len(name) > _WORDS for name in grid.actions):
        return
    for s, sign in enumerate(arrows(policy, grid)[: grid.rows * grid.columns]):
        row, column = divmod(s, grid.columns)
        axes.text(column, row + 0.15, sign, ha="center", va="center", fontsize=7)
