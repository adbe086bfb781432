"""Grids with walls and holes: the Dyna maze, the world of Russell & Norvig, the frozen lake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo.grids import COMPASS, Cell, grid_layout, grid_model, moved, state_of
from logpi.worlds.mdp.zoo.tables import uniform_over

__all__ = ["LAKES", "frozen_lake", "maze", "russell_norvig"]

LAKES = {
    "4x4": "SFFF FHFH FFFH HFFG",
    "8x8": "SFFFFFFF FFFFFFFF FFFHFFFF FFFFFHFF FFFHFFFF FHHFFFHF FHFFHFHF FFFHFFFG",
}
"""Gymnasium's two maps of the frozen lake: S start, F ice, H hole, G goal; rows between spaces."""


def maze(
    rows: int = 6,
    cols: int = 9,
    *,
    walls: Sequence[Cell] = ((1, 2), (2, 2), (3, 2), (4, 5), (0, 7), (1, 7), (2, 7)),
    start: Cell = (2, 0),
    goal: Cell = (0, 8),
    r_goal: float = 1.0,
    r_step: float = 0.0,
    slip: float = 0.0,
    discount: float = 0.95,
) -> FiniteMDP:
    """Return the Dyna maze of Sutton & Barto, Example 8.1 (Fig 8.2), or another maze.

    Moves into a wall or off the grid leave the state unchanged. Each move pays 0, and 1 where it
    reaches the goal, which is terminal. The shortest way takes 14 steps.

    >>> maze()
    FiniteMDP('maze', states=54, actions=4, transitions=184, discount=0.95)
    """
    blocked = [state_of(cell, rows, cols, name="walls") for cell in walls]
    first = state_of(start, rows, cols, name="start")
    last = state_of(goal, rows, cols, name="goal")
    successor, _ = moved(rows, cols, COMPASS.values(), walls=blocked)
    marks = {"wall": blocked, "start": [first], "target": [last]}
    return grid_model(
        successor,
        np.where(successor == last, r_goal, r_step),
        slip=slip,
        discount=discount,
        terminal=[*blocked, last],
        start=first,
        layout=grid_layout(rows, cols, COMPASS, marks),
        name="maze",
    )


def russell_norvig(
    *,
    r_step: float = -0.04,
    slip: float = 0.2,
    pays_last_step: bool = True,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the 4×3 world of Russell & Norvig, section 17.1: +1 and −1 in the right column.

    Every step pays −0.04; a move goes off at each right angle with probability 0.1. Arriving at
    (0, 3) pays +1 and at (1, 3) −1, and ends the episode; (1, 1) is a wall. The third edition pays
    for every state, so for the last step as well: v(start) = 0.705. The fourth pays ±1 alone for
    it: `pays_last_step=False`, v(start) = 0.7453. Start is the bottom left cell.

    >>> russell_norvig().reward[2]  # left of the +1
    array([ 0.06, 0.76, 0.06, -0.04])
    """
    rows, cols, wall, good, bad = 3, 4, 5, 3, 7
    successor, _ = moved(rows, cols, COMPASS.values(), walls=[wall])
    arrival = np.full(rows * cols, r_step, float)
    arrival[[good, bad]] = np.array([1.0, -1.0]) + r_step * pays_last_step
    marks = {"wall": [wall], "target": [good], "forbidden": [bad], "start": [8]}
    return grid_model(
        successor,
        arrival[successor],
        slip=slip,
        discount=discount,
        terminal=[wall, good, bad],
        start=8,
        layout=grid_layout(rows, cols, COMPASS, marks),
        name="russell_norvig",
    )


def frozen_lake(
    lake: str = "4x4",
    *,
    slippery: bool = True,
    success_rate: float = 1 / 3,
    r_goal: float = 1.0,
    r_hole: float = 0.0,
    r_step: float = 0.0,
    discount: float = 0.99,
) -> FiniteMDP:
    """Return Gymnasium's FrozenLake-v1: cross the ice to the goal, around the holes.

    `lake` is the name of a map of `LAKES`, or a map. Actions are, in Gymnasium's order, left, down,
    right, up; on slippery ice a move goes where it should with `success_rate`, and else to one of
    the two sides. Holes and the goal are terminal; only reaching the goal pays.

    >>> frozen_lake().row(14, 2)
    (array([10, 14, 15], dtype=int32), array([0.33, 0.33, 0.33]))

    Raises `ConfigError` where the map is not rectangular, or has no start or no goal.
    """
    lines = LAKES.get(lake, lake).split()
    if len({len(line) for line in lines}) != 1 or not {"S", "G"} <= set("".join(lines)):
        raise ConfigError(
            f"`lake` must be one of {', '.join(LAKES)} or rows of one length, with S and G."
        )
    field, rows, cols = np.array([list(line) for line in lines]), len(lines), len(lines[0])
    kinds = {mark: np.flatnonzero(field == mark) for mark in "SHG"}
    moves = {action: COMPASS[action] for action in ("left", "down", "right", "up")}
    successor, _ = moved(rows, cols, moves.values())
    arrival = np.select([field == "G", field == "H"], [r_goal, r_hole], float(r_step)).ravel()
    marks = {"start": kinds["S"], "hole": kinds["H"], "target": kinds["G"]}
    return grid_model(
        successor, arrival[successor], slip=(1 - success_rate) * slippery, discount=discount,
        terminal=np.concatenate([kinds["H"], kinds["G"]]), name="frozen_lake",
        start=uniform_over(rows * cols, kinds["S"]),
        layout=grid_layout(rows, cols, moves, marks),
    )  # fmt: skip
