"""The gridworlds and walks of Sutton & Barto, "Reinforcement Learning", second edition (2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo.grids import (
    COMPASS,
    KING,
    STAY,
    Cell,
    grid_layout,
    grid_model,
    moved,
    state_of,
)
from logpi.worlds.mdp.zoo.tables import check_at_least, check_probability, from_outcomes

__all__ = ["cliff", "gridworld", "random_walk", "terminal_grid", "windy"]


def gridworld(
    rows: int = 5,
    cols: int = 5,
    *,
    jumps: Sequence[tuple[Cell, Cell, float]] = (((0, 1), (4, 1), 10.0), ((0, 3), (2, 3), 5.0)),
    r_boundary: float = -1.0,
    r_other: float = 0.0,
    discount: float = 0.9,
) -> FiniteMDP:
    """Return the gridworld of Sutton & Barto, Examples 3.5 and 3.8, with the cells A and B.

    Moving off the grid pays −1 and leaves the state unchanged, any other move pays 0. From A every
    action leads to A′ and pays 10, from B to B′ and pays 5: `jumps` lists (from, to, reward).
    Actions are up, right, down, left; nothing is terminal.

    >>> gridworld().reward[:4, 0]  # up, along the first row
    array([-1., 10., -1., 5.])
    """
    successor, bounced = moved(rows, cols, COMPASS.values())
    reward = np.where(bounced, float(r_boundary), r_other)
    marks = {"jump": [], "landing": []}
    for origin, landing, earned in jumps:
        here = state_of(origin, rows, cols, name="jumps")
        there = state_of(landing, rows, cols, name="jumps")
        successor[here], reward[here] = there, earned
        marks["jump"].append(here)
        marks["landing"].append(there)
    layout = grid_layout(rows, cols, COMPASS, marks)
    return from_outcomes(
        successor[:, :, None], 1.0, reward, discount, layout=layout, name="gridworld"
    )


def terminal_grid(
    rows: int = 4,
    cols: int = 4,
    *,
    ends: Sequence[Cell] | None = None,
    r_step: float = -1.0,
    slip: float = 0.0,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the gridworld of Sutton & Barto, Example 4.1: −1 a move until a corner is reached.

    The corners (0, 0) and (rows − 1, cols − 1) are terminal, or the cells of `ends`. Moves off the
    grid leave the state unchanged. Under the equiprobable policy v is 0, −14, −20, −22, ...

    >>> terminal_grid().terminal.nonzero()[0]
    array([ 0, 15])
    """
    corners = (0, rows * cols - 1) if ends is None else ends
    last = [state_of(cell, rows, cols, name="ends") for cell in corners]
    successor, _ = moved(rows, cols, COMPASS.values())
    return grid_model(
        successor,
        r_step,
        slip=slip,
        discount=discount,
        terminal=last,
        layout=grid_layout(rows, cols, COMPASS, {"target": last}),
        name="terminal_grid",
    )


def cliff(
    rows: int = 4,
    cols: int = 12,
    *,
    r_step: float = -1.0,
    r_cliff: float = -100.0,
    slip: float = 0.0,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the cliff of Sutton & Barto, Example 6.6: start and goal with a cliff between them.

    The start is the bottom left cell, the goal, which is terminal, the bottom right one. Each step
    pays −1; stepping into the cliff between them pays −100 and leads back to the start, without
    ending the episode. The best path pays −13, the safe one along the top row −17.

    >>> m = cliff()
    >>> m.row(36, 1), m.reward[36]  # right of the start is the cliff
    ((array([36], dtype=int32), array([1.])), array([ -1., -100., -1., -1.]))
    """
    check_at_least(cols=(cols, 2))
    start, goal = (rows - 1) * cols, rows * cols - 1
    edge = np.arange(start + 1, goal)
    successor, _ = moved(rows, cols, COMPASS.values())
    fell = np.isin(successor, edge)
    reward = np.where(fell, r_cliff, r_step)
    successor = np.where(fell, start, successor)
    marks = {"cliff": edge, "start": [start], "target": [goal]}
    return grid_model(
        successor,
        reward,
        slip=slip,
        discount=discount,
        terminal=[goal],
        start=start,
        layout=grid_layout(rows, cols, COMPASS, marks),
        name="cliff",
    )


def windy(
    rows: int = 7,
    cols: int = 10,
    *,
    wind: Sequence[int] = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0),
    start: Cell = (3, 0),
    goal: Cell = (3, 7),
    king: bool = False,
    stay: bool = False,
    stochastic: bool = False,
    r_step: float = -1.0,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the windy gridworld of Sutton & Barto, Example 6.5, and Exercises 6.9 and 6.10.

    The wind of the column that is left shifts the move upward; what would leave the grid stops at
    its edge. `king` adds the diagonal moves, `stay` one that only the wind carries. With
    `stochastic` a wind that blows is one stronger or weaker with probability 1/3 each.

    >>> windy(king=True, stay=True).actions
    9
    """
    if len(wind) != cols:
        raise ConfigError(f"`wind` has {len(wind)} columns but the grid {cols}: give one for each.")
    moves = (KING if king else COMPASS) | (STAY if stay else {})
    row, col = np.divmod(np.arange(rows * cols)[:, None, None], cols)
    down, right = np.array(list(moves.values())).T[:, None, :, None]
    blown = np.asarray(wind)[col]
    gust = np.array([-1, 0, 1]) * (blown != 0) if stochastic else np.array([0])
    row = np.clip(row + down - blown - gust, 0, rows - 1)
    col = np.clip(col + right, 0, cols - 1)
    first, last = (state_of(c, rows, cols, name=n) for c, n in ((start, "start"), (goal, "goal")))
    marks = {"start": [first], "target": [last], "wind": np.flatnonzero(np.tile(wind, rows))}
    return from_outcomes(
        row * cols + col, 1 / gust.shape[-1], r_step, discount, terminal=[last], start=first,
        layout=grid_layout(rows, cols, moves, marks), name="windy",
    )  # fmt: skip


def random_walk(
    states: int = 5,
    *,
    left_reward: float = 0.0,
    right_reward: float = 1.0,
    step_reward: float = 0.0,
    p_right: float = 0.5,
    jump: int = 1,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the random walk of Sutton & Barto: Examples 6.2 (5 states), 7.1 (19) and 9.1 (1000).

    States 1 to n lie between two terminal ones, 0 and n + 1, which pay `left_reward` and
    `right_reward` on arrival. The one action goes right with probability `p_right`, by 1 to `jump`
    states, each as probable; what would pass an end stops there. It starts in the middle. Example
    7.1 has `states=19, left_reward=-1`, Example 9.1 `states=1000, left_reward=-1, jump=100`.

    >>> random_walk(19, left_reward=-1.0).reward[[1, 10, 19], 0]
    array([-0.5, 0. , 0.5])
    """
    check_at_least(states=(states, 1), jump=(jump, 1))
    check_probability(p_right=p_right)
    last = states + 1
    by = np.arange(1, jump + 1)
    at = np.arange(last + 1)[:, None, None]
    successor = np.clip(at + np.concatenate([-by, by]), 0, last)
    probability = np.repeat([1 - p_right, p_right], jump) / jump
    arrival = np.full(last + 1, step_reward, float)
    arrival[[0, last]] += left_reward, right_reward
    middle = (states + 1) // 2
    letters = [chr(ord("A") + i) for i in range(states)] if states <= 26 else range(1, last)
    names = ["left", *map(str, letters), "right"]
    marks = {"start": [middle], "target": [last]}
    return from_outcomes(
        successor, probability, arrival[successor], discount, terminal=[0, last], start=middle,
        layout=grid_layout(1, last + 1, {"step": (0, 0)}, marks, names=names), name="random_walk",
    )  # fmt: skip
