"""The racetrack of Sutton & Barto, Exercise 5.12, from a map of characters."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.tables import check_at_least, check_probability, from_outcomes

__all__ = ["TRACK", "racetrack"]

TRACK = """\
###.........F
##..........F
#...........F
#.......#####
#......######
#.....#######
#.....#######
#.....#######
#SSSSS#######
"""
"""A small right turn of our own: S start, F finish, . track, # outside."""

_FINISHED, _CRASHED = -1, -2
_CHANGES = np.array([(up, right) for up in (1, 0, -1) for right in (-1, 0, 1)])


def racetrack(
    track: str = TRACK, *, fastest: int = 4, p_stuck: float = 0.1, discount: float = 1.0
) -> FiniteMDP:
    """Return a racetrack as in Sutton & Barto, Exercise 5.12: round the corner, fast and not off.

    A state is a cell of the map and a velocity (up, right), each 0 to `fastest` and both 0 on a
    start cell alone; an action changes each by −1, 0 or 1, but not with probability `p_stuck`. Each
    step pays −1. The straight path is looked at once for each cell that it moves: one that meets
    the finish first ends the episode, one that meets the outside first puts the car back on a start
    cell, at rest, uniformly. `track` is a map of S, F, # and . as in the default, `TRACK`.

    Raises `ConfigError` where the map is not rectangular, or has no start or no finish.

    >>> racetrack()
    FiniteMDP('racetrack', states=1518, actions=9, transitions=35504, discount=1)
    """
    check_at_least(fastest=(fastest, 1))
    check_probability(p_stuck=p_stuck)
    state = _states(field := _read(track), fastest)
    faster = state[:, None, 2:] + _CHANGES
    allowed = ((faster >= 0) & (faster <= fastest)).all(2) & faster.any(2)
    kept = np.broadcast_to(state[:, None, 2:], faster.shape)
    start = np.flatnonzero(~state[:, 2:].any(1))
    landed = np.stack([_drive(field, state, v, fastest) for v in (faster, kept)], 2)
    landed = np.where(landed == _FINISHED, len(state), landed)[..., None]
    successor = np.where(landed == _CRASHED, start, landed).reshape(len(state), 9, -1)
    chances = np.repeat([1 - p_stuck, p_stuck], len(start)) / len(start)
    names = [f"({r}, {c}) at ({u}, {v})" for r, c, u, v in state]
    return from_outcomes(
        np.concatenate([successor, np.zeros_like(successor[:1])]), chances, -1.0, discount,
        allowed=np.concatenate([allowed, np.zeros((1, 9), bool)]),
        start=np.append(np.isin(np.arange(len(state)), start) / len(start), 0),
        layout=Layout(
            states=(*names, "finish"),
            actions=tuple(f"up {u:+}, right {r:+}" for u, r in _CHANGES),
            marks={"start": tuple(map(int, start)), "target": (len(state),)},
        ),
        name="racetrack",
    )  # fmt: skip


def _read(track: str) -> ndarray:
    lines = track.strip().splitlines()
    if len({len(line) for line in lines}) != 1 or not {"S", "F"} <= set(track):
        raise ConfigError("`track` must be lines of one length, with an S and an F among them.")
    return np.array([list(line) for line in lines])


def _states(field: ndarray, fastest: int) -> Int[ndarray, "S 4"]:
    """Row, column and velocity of every state, in this order."""
    velocities = np.mgrid[: fastest + 1, : fastest + 1].reshape(2, -1).T
    found = [
        (row, col, up, right)
        for row, col in np.argwhere(np.isin(field, [".", "S"]))
        for up, right in velocities
        if up or right or field[row, col] == "S"
    ]
    return np.array(found)


def _drive(
    field: ndarray, state: Int[ndarray, "S 4"], velocity: Int[ndarray, "S A 2"], fastest: int
) -> Int[ndarray, "S A"]:
    """The state in which each velocity ends, or that it finished or crashed on the way."""
    rows, cols = field.shape
    number = np.full((rows, cols, fastest + 1, fastest + 1), _CRASHED)
    number[tuple(state.T)] = np.arange(len(state))
    v = velocity.clip(0, fastest)
    steps = v.max(2)
    event = np.zeros(steps.shape, int)
    row, col = state[:, :1], state[:, 1:2]
    for k in range(1, fastest + 1):
        part = np.minimum(k / np.maximum(steps, 1), 1.0)
        row = np.floor(state[:, :1] - part * v[..., 0] + 0.5).astype(int)
        col = np.floor(state[:, 1:2] + part * v[..., 1] + 0.5).astype(int)
        out = (row < 0) | (col >= cols)
        here = np.where(out, "#", field[row.clip(0), col.clip(max=cols - 1)])
        met = np.where(here == "F", _FINISHED, np.where(here == "#", _CRASHED, 0))
        event = np.where(event == 0, met, event)
    row, col = np.broadcast_to(row, steps.shape).clip(0), np.broadcast_to(col, steps.shape)
    arrived = number[row, col.clip(max=cols - 1), v[..., 0], v[..., 1]]
    return np.where(event == 0, arrived, event)
