"""Cells, moves, walls and slips: what every grid of the zoo shares.

State r·cols + c is the cell (r, c), row 0 on top. Moves go clockwise from up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.csr import Facts
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.tables import check_at_least, check_probability, from_outcomes

__all__ = [
    "COMPASS",
    "KING",
    "STAY",
    "Cell",
    "grid_layout",
    "grid_model",
    "moved",
    "slipping",
    "state_of",
]

Cell = int | Sequence[int]
"""A state number, or (row, column)."""

COMPASS = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
"""The four moves of most grids."""
STAY = {"stay": (0, 0)}
"""The fifth, where there is one."""
KING = {
    "up": (-1, 0),
    "up-right": (-1, 1),
    "right": (0, 1),
    "down-right": (1, 1),
    "down": (1, 0),
    "down-left": (1, -1),
    "left": (0, -1),
    "up-left": (-1, -1),
}
"""The eight moves of a king."""

_MOST_NAMES = 10_000  # a larger grid's cells are only numbers: the names would outweigh the model


def state_of(cell: Cell, rows: int, cols: int, *, name: str = "cell") -> int:
    """Return the number of a cell given as (row, column) or already as a number.

    >>> state_of((3, 2), 5, 5)
    17

    Raises `ConfigError` where the cell lies outside the grid.
    """
    check_at_least(rows=(rows, 1), cols=(cols, 1))
    if isinstance(cell, int | np.integer):
        if not 0 <= cell < rows * cols:
            raise ConfigError(f"`{name}` is state {cell}, but a {rows}×{cols} grid ends before it.")
        return int(cell)
    if len(cell) != 2 or not (0 <= cell[0] < rows and 0 <= cell[1] < cols):
        raise ConfigError(
            f"`{name}` is {tuple(cell)}, which is no cell of a {rows}×{cols} grid: "
            "give (row, column), counted from 0."
        )
    return int(cell[0]) * cols + int(cell[1])


def moved(
    rows: int, cols: int, moves: Iterable[tuple[int, int]], *, walls: Sequence[int] = ()
) -> tuple[Int[ndarray, "S M"], Bool[ndarray, "S M"]]:
    """Return where each move leads, and whether it bounced off the boundary or a wall.

    >>> successor, bounced = moved(2, 2, COMPASS.values())
    >>> successor[0], bounced[0]
    (array([0, 1, 2, 0]), array([ True, False, False, True]))
    """
    check_at_least(rows=(rows, 1), cols=(cols, 1))
    state = np.arange(rows * cols)
    row, col = np.divmod(state[:, None], cols)
    down, right = np.array(list(moves)).T
    row, col = row + down, col + right
    bounced = (row < 0) | (row >= rows) | (col < 0) | (col >= cols)
    successor = np.where(bounced, state[:, None], row * cols + col)
    if len(walls):
        blocked = np.isin(successor, np.asarray(walls))
        bounced |= blocked
        successor = np.where(blocked, state[:, None], successor)
    return successor, bounced


def slipping(actions: int, slip: float) -> tuple[Int[ndarray, "A K"], Float[ndarray, "A K"]]:
    """Return the move that each action turns into, and with what probability.

    With probability 1 − slip the move that was chosen, with slip/2 each of the two at right angles
    to it, as in the grid of Russell & Norvig 17.1 (slip 0.2) and in FrozenLake (slip 2/3). An
    action beyond the first four, staying, never slips.

    >>> slipping(4, 0.2)[0][0]
    array([0, 3, 1])
    """
    check_probability(slip=slip)
    chosen = np.arange(actions)[:, None]
    if slip == 0:
        return chosen, np.ones((actions, 1))
    turned = np.where(chosen < 4, (chosen + np.array([0, -1, 1])) % 4, chosen)
    probability = np.where(chosen < 4, [1 - slip, slip / 2, slip / 2], [1.0, 0.0, 0.0])
    return turned, probability


def grid_model(
    successor: Int[ndarray, "S A"],
    reward: float | Float[ndarray, "S A"],
    *,
    slip: float,
    discount: float,
    dtype: Any = np.float64,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """Return the model of firm moves and what they pay, slipped as `slipping` says.

    >>> successor, bounced = moved(1, 2, COMPASS.values())
    >>> grid_model(successor, np.where(bounced, -1, 0), slip=0.2, discount=0.9).reward[0]
    array([-0.9, -0.2, -0.9, -1. ])
    """
    turned, probability = slipping(successor.shape[1], slip)
    paid = np.broadcast_to(reward, successor.shape)[:, turned]
    return from_outcomes(successor[:, turned], probability, paid, discount, dtype=dtype, **facts)


def grid_layout(
    rows: int,
    cols: int,
    moves: Mapping[str, tuple[int, int]],
    marks: Mapping[str, Iterable[int]],
    *,
    names: Sequence[str] = (),
) -> Layout:
    """Return the layout of a grid; its states are called "(row, column)" unless names are given."""
    if not names and rows * cols <= _MOST_NAMES:
        names = [f"({row}, {col})" for row in range(rows) for col in range(cols)]
    return Layout(
        states=tuple(names),
        actions=tuple(moves),
        rows=rows,
        columns=cols,
        moves=tuple(moves.values()),
        marks={mark: tuple(sorted(int(s) for s in cells)) for mark, cells in marks.items()},
    )
