"""The gridworlds of Berkeley's CS188, in which a reward is paid for leaving a cell by its exit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.grids import COMPASS, grid_layout, grid_model, moved
from logpi.worlds.mdp.zoo.tables import uniform_over

__all__ = ["BERKELEY_GRIDS", "berkeley_grid"]

BERKELEY_GRIDS = {
    "book": ". . . 1 / . # . -1 / S . . .",
    "bridge": "# -100 -100 -100 -100 -100 # / 1 S . . . . 10 / # -100 -100 -100 -100 -100 #",
    "cliff": ". . . . . / S . . . 10 / -100 -100 -100 -100 -100",
    "cliff2": ". . . . . / 8 S . . 10 / -100 -100 -100 -100 -100",
    "discount": ". . . . . / . # . . . / . # 1 # 10 / S . . . . / -10 -10 -10 -10 -10",
    "maze": ". . . 1 / # # . # / . # . . / . # # . / S . . .",
}
"""The course's grids: S start, # wall, . free, a number an exit that pays it; rows between /."""

_EXIT = 4


def berkeley_grid(
    grid: str | Sequence[Sequence[str | float]] = "book",
    *,
    noise: float = 0.2,
    r_living: float = 0.0,
    discount: float = 0.9,
) -> FiniteMDP:
    """Return a gridworld of Berkeley's CS188, "book" or another of `BERKELEY_GRIDS`, or your own.

    A move goes off at each right angle with probability `noise`/2, and walls and the edge bounce;
    it pays `r_living`. On a cell that holds a number the one action is to exit, which pays the
    number, a step later than in `russell_norvig`, and ends the episode in the last state, which is
    no cell. Without arguments the values are those of the lectures: .64, .74, .85 and 1 on top.
    `grid` may also be rows of S, #, . (or " ") and numbers.

    >>> berkeley_grid().allowed[:4, 4]  # the exit of the first row
    array([False, False, False, True])

    Raises `ConfigError` where the rows are not of one length, a cell is none of these, or there is
    no exit.
    """
    field = _read(grid)
    free, walls, exits, pays = _kinds(field)
    (rows, cols), done = field.shape, field.size
    successor = np.full((done + 1, 5), done)
    successor[:done, :_EXIT], _ = moved(rows, cols, COMPASS.values(), walls=walls.tolist())
    paid, allowed = np.full((done + 1, 5), float(r_living)), np.zeros((done + 1, 5), bool)
    paid[exits, _EXIT] = pays
    allowed[free, :_EXIT] = allowed[exits, _EXIT] = True
    start = next(some for some in (_starts(field), free, exits) if len(some))
    return grid_model(
        successor, paid, slip=noise, discount=discount, allowed=allowed, layout=_layout(field),
        start=uniform_over(done + 1, start), name="berkeley_grid",
    )  # fmt: skip


def _starts(field: ndarray) -> ndarray:
    return np.flatnonzero(field.ravel() == "S")


def _layout(field: ndarray) -> Layout:
    _, walls, exits, pays = _kinds(field)
    marks = {"wall": walls, "start": _starts(field)}
    marks |= {"target": exits[pays > 0], "forbidden": exits[pays <= 0]}
    rows, cols = field.shape
    names = [*(f"({row}, {col})" for row, col in np.ndindex(rows, cols)), "over"]
    return grid_layout(rows, cols, COMPASS | {"exit": (0, 0)}, marks, names=names)


def _kinds(field: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """The numbers of free cells, of walls and of exits, and what the exits pay."""
    cells = field.ravel()
    free, walls = np.flatnonzero(np.isin(cells, [".", "S"])), np.flatnonzero(cells == "#")
    exits = np.delete(np.arange(len(cells)), np.union1d(walls, free))
    if not len(exits):
        raise ConfigError("`grid` has no exit: give a number in some cell, which leaving it pays.")
    return free, walls, exits, cells[exits].astype(float)


def _read(grid: str | Sequence[Sequence[str | float]]) -> ndarray:
    """The cells as text: S, #, . or a number."""
    if isinstance(grid, str):
        if grid not in BERKELEY_GRIDS and len(grid.split()) == 1:
            raise ConfigError(
                f"there is no grid `{grid}`.{did_you_mean(grid, BERKELEY_GRIDS)} "
                f"There are {', '.join(BERKELEY_GRIDS)}."
            )
        lines = [row.split() for row in BERKELEY_GRIDS.get(grid, grid).split("/")]
    else:
        lines = [[str(cell).strip() or "." for cell in row] for row in grid]
    if len({len(line) for line in lines}) != 1 or not lines[0]:
        raise ConfigError(
            f"`grid` must be one of {', '.join(BERKELEY_GRIDS)}, or rows of one length."
        )
    for cell in (cell for line in lines for cell in line if cell not in ("#", ".", "S")):
        try:
            known = bool(np.isfinite(float(cell)))
        except ValueError:
            known = False
        if not known:
            raise ConfigError(f"`grid` has a cell {cell!r} but a cell is S, #, . or a number.")
    return np.array(lines, dtype=object)
