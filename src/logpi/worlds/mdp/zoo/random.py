"""Models of any size for tests and benchmarks: Garnets, and grids on which one slips."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.csr import from_csr, wrap
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo.grids import COMPASS, Cell, grid_layout, moved, slipping
from logpi.worlds.mdp.zoo.tables import check_at_least, from_outcomes

__all__ = ["garnet", "slip_grid"]


def garnet(
    states: int = 100,
    actions: int = 4,
    branching: int = 5,
    *,
    seed: int = 0,
    discount: float = 0.95,
    rewards: str = "uniform",
    dtype: Any = np.float64,
) -> FiniteMDP:
    """Return a Garnet: a random MDP with `branching` successors for each state and action.

    The successors are distinct and uniform, their probabilities the gaps between branching − 1
    uniform cuts of [0, 1], and r(s, a) is uniform on [0, 1] or, with `rewards="normal"`, N(0, 1).
    Archibald, McKinnon & Thomas 1995; Bhatnagar, Sutton, Ghavamzadeh & Lee 2009. The same seed
    gives the same model.

    >>> garnet(50, 3, 2, seed=1)
    FiniteMDP('garnet', states=50, actions=3, transitions=300, discount=0.95)

    Raises `ConfigError` where branching exceeds the number of states.
    """
    check_at_least(states=(states, 1), actions=(actions, 1), branching=(branching, 1))
    if branching > states:
        raise ConfigError(f"`branching` is {branching} but there are only {states} states.")
    random = np.random.default_rng(seed)
    rows = states * actions
    successor = _distinct(random, rows, states, branching)
    # normalised exponentials are distributed as the gaps between sorted uniform cuts
    gap = random.standard_exponential((rows, branching)).astype(dtype, copy=False)
    gap /= gap.sum(1, keepdims=True)
    index = np.int32 if successor.size < 2**31 else np.int64
    pointers = np.arange(0, successor.size + 1, branching, dtype=index)
    transitions = wrap(gap.ravel(), successor.ravel().astype(index, copy=False), pointers,
                       (rows, states))  # fmt: skip
    draw = {"uniform": random.random, "normal": random.standard_normal}
    reward = _choose("rewards", rewards, draw)((states, actions)).astype(dtype, copy=False)
    return from_csr(transitions, reward, discount, name="garnet")


def _distinct(
    random: np.random.Generator, rows: int, states: int, branching: int
) -> Int[ndarray, "rows b"]:
    """Rows of sorted, distinct, uniform state numbers: those with a repetition are drawn again."""
    if branching * branching > states:  # repetitions would be the rule
        keys = random.random((rows, states)).argpartition(branching - 1, axis=1)[:, :branching]
        return np.sort(keys.astype(np.int32), axis=1)
    out = np.empty((rows, branching), np.int32)
    again = np.arange(rows)
    while len(again):
        drawn = random.integers(0, states, (len(again), branching), dtype=np.int32)
        drawn.sort(axis=1)
        out[again] = drawn
        again = again[(drawn[:, 1:] == drawn[:, :-1]).any(1)]
    return out


def _choose(option: str, given: str, known: dict[str, Any]) -> Any:
    if given not in known:
        raise ConfigError(
            f"`{option}` is {given!r} but must be one of {', '.join(known)}."
            f"{did_you_mean(given, known)}"
        )
    return known[given]


def slip_grid(
    rows: int = 100,
    cols: int = 100,
    *,
    slip: float = 0.2,
    goal: Cell | None = (-1, -1),
    rewards: str = "step",
    seed: int = 0,
    discount: float = 0.99,
    dtype: Any = np.float64,
) -> FiniteMDP:
    """Return a grid of any size on which a move goes off at a right angle with probability `slip`.

    Actions are up, right, down, left; what would leave the grid stays. The goal, by default the
    last cell (negative numbers count from the end), is terminal; `goal=None` leaves it out.
    `rewards` is "step", −1 for each action; "goal", 1 for reaching the goal and 0 else; or
    "random", r(s, a) uniform on [−1, 0], drawn with `seed`.

    >>> slip_grid(100, 100)
    FiniteMDP('slip_grid', states=10000, actions=4, transitions=119982, discount=0.99)
    """
    successor, _ = moved(rows, cols, COMPASS.values())
    ends: list[int] = []
    if goal is not None:
        row, col = divmod(goal, cols) if isinstance(goal, int) else goal
        ends = [(row % rows) * cols + col % cols]
    turned, probability = slipping(4, slip)
    pay = {
        "step": lambda: np.full(successor.shape, -1.0),
        "goal": lambda: (np.isin(successor, ends)[:, turned] * probability).sum(2),
        "random": lambda: -np.random.default_rng(seed).random(successor.shape),
    }
    reward = _choose("rewards", rewards, pay)()
    layout = grid_layout(rows, cols, COMPASS, {"target": ends} if ends else {})
    return from_outcomes(
        successor.astype(np.int32)[:, turned], probability, reward, discount, dtype=dtype,
        terminal=ends, layout=layout, name="slip_grid",
    )  # fmt: skip
