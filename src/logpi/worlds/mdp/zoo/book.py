"""The worlds of Zhao's "Mathematical Foundations of Reinforcement Learning", as he has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.grids import COMPASS, STAY, Cell, grid_layout, grid_model, moved, state_of
from logpi.worlds.mdp.zoo.tables import check_at_least, from_outcomes

__all__ = ["BOOK_GRIDS", "book_grid", "importance_sampling", "two_state"]

BOOK_GRIDS: dict[tuple[int, int], tuple[tuple[tuple[int, int], ...], tuple[int, int]]] = {
    (5, 5): (((1, 1), (1, 2), (2, 2), (3, 1), (3, 3), (4, 1)), (3, 2)),  # Figs 2.7, 3.4, 5.4-8.9
    (3, 3): (((1, 2), (2, 0)), (2, 2)),  # Figs 1.3 and 5.3
    (2, 2): (((0, 1),), (1, 1)),  # Figs 2.4, 2.5, 4.2
}
"""The book's grids by their size: forbidden cells, and the target."""


def book_grid(
    rows: int = 5,
    cols: int = 5,
    *,
    forbidden: Sequence[Cell] | None = None,
    target: Cell | None = None,
    r_boundary: float = -1.0,
    r_forbidden: float = -1.0,
    r_target: float = 1.0,
    r_other: float = 0.0,
    discount: float = 0.9,
    slip: float = 0.0,
    bounce_adds: bool = False,
    terminal: bool = False,
    start: Cell | None = None,
) -> FiniteMDP:
    """Return the grid world of Zhao's book: forbidden cells can be entered, the target left.

    Actions are up, right, down, left, stay. A move off the grid bounces and pays `r_boundary`; any
    other pays for the cell it reaches, by staying too: `r_target`, `r_forbidden`, or `r_other`.
    Nothing is terminal. Sizes 5×5, 3×3 and 2×2 have the book's forbidden cells and target, others
    none and the last cell, unless given. Figs 3.4d and 5.4 take `r_forbidden=-10`, Figs 5.6 and 5.7
    also let a bounce on a forbidden cell pay both (`bounce_adds`); chapter 7 ends an episode at the
    target (`terminal`) and starts in one cell (`start`, else uniform). `slip`: see `slipping`.

    >>> book_grid().reward[16]  # left of the target, in a forbidden cell
    array([ 0., 1., -1., 0., -1.])
    """
    bad, goal = _book_cells(rows, cols, forbidden, target)
    successor, bounced = moved(rows, cols, (COMPASS | STAY).values())
    entered, bounce = np.empty((2, rows * cols))
    entered[:], bounce[:] = r_other, r_boundary
    entered[bad], entered[goal] = r_forbidden, r_target
    bounce[bad] += r_forbidden * bounce_adds
    return grid_model(
        successor, np.where(bounced, bounce[:, None], entered[successor]), slip=slip,
        discount=discount, terminal=[goal] if terminal else None, name="book_grid",
        start=None if start is None else state_of(start, rows, cols, name="start"),
        layout=_book_layout(rows, cols, bad, goal),
    )  # fmt: skip


def _book_layout(rows: int, cols: int, bad: list[int], goal: int) -> Layout:
    names = [f"s{i + 1}" for i in range(rows * cols)]
    marks = {"forbidden": bad, "target": [goal]}
    return grid_layout(rows, cols, COMPASS | STAY, marks, names=names)


def _book_cells(
    rows: int, cols: int, forbidden: Sequence[Cell] | None, target: Cell | None
) -> tuple[list[int], int]:
    """The numbers of the forbidden cells and of the target, the book's where none are given."""
    check_at_least(rows=(rows, 1), cols=(cols, 1))
    ours, goal = BOOK_GRIDS.get((rows, cols), ((), (rows - 1, cols - 1)))
    goal = state_of(goal if target is None else target, rows, cols, name="target")
    cells = ours if forbidden is None else forbidden
    return sorted({state_of(c, rows, cols, name="forbidden") for c in cells}), goal


def two_state(*, discount: float = 0.9) -> FiniteMDP:
    """Return the two cells side by side of Zhao, section 4.2.3: left, stay, right; target at s2.

    Leaving the world bounces and pays −1, reaching or staying at s2 pays 1, s1 pays 0.

    >>> two_state().reward
    array([[-1., 0., 1.],
           [ 0., 1., -1.]])
    """
    successor = np.array([[0, 0, 1], [0, 1, 1]])
    reward = [[-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]
    moves = {"left": (0, -1), "stay": (0, 0), "right": (0, 1)}
    return from_outcomes(
        successor[:, :, None],
        1.0,
        reward,
        discount,
        layout=grid_layout(1, 2, moves, {"target": [1]}, names=["s1", "s2"]),
        name="two_state",
    )


def importance_sampling(
    values: Sequence[float] = (1.0, -1.0),
    behaviour: Sequence[float] = (0.8, 0.2),
    *,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the random variable of Zhao, Fig 10.2: X is +1 or −1, drawn with 0.8 and 0.2.

    One decision, whose action i pays `values[i]`; `policy` is the behaviour. Its mean is 0.6; under
    the target policy (0.5, 0.5) it is 0, which weights p₀/p₁ = (0.625, 2.5) recover.

    >>> m = importance_sampling()
    >>> float(m.policy[0] @ m.reward[0])
    0.6
    """
    actions = len(values)
    return from_outcomes(
        np.ones((2, actions, 1), int),
        1.0,
        [values, [0.0] * actions],
        discount,
        terminal=[1],
        policy=[behaviour, [0.0] * actions],
        layout=Layout(states=("draw", "end"), actions=tuple(f"X = {v:g}" for v in values)),
        name="importance_sampling",
    )
