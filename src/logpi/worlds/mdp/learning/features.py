"""Features of states, [S, d], for values that are linear in weights: v(s) = w·x(s).

Pass them to `learn(..., features=...)`. For values of actions each action then has weights of its
own; features [S, A, d] share them.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.learning.options import whole
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["coordinates", "fourier", "one_hot", "polynomial", "tiles"]


def coordinates(m: FiniteMDP) -> Float[ndarray, "S k"]:
    """Where the states lie: (column, row) on a grid, else their number; from 0 to 1 along each.

    An axis along which all are the same is left out.

    >>> from logpi.worlds.mdp.zoo import make
    >>> coordinates(make("book_grid"))[[0, 4, 24]]
    array([[0., 0.],
           [1., 0.],
           [1., 1.]])
    """
    at = np.arange(m.states)
    row, column = np.divmod(at, m.layout.columns) if m.layout.is_grid else (0 * at, at)
    points = np.stack([column, row], axis=1).astype(np.float64)
    span = np.ptp(points, axis=0)
    if not span.any():
        return np.zeros((m.states, 1))
    return (points - points.min(0))[:, span > 0] / span[span > 0]


def one_hot(states: int | FiniteMDP) -> Float[ndarray, "S S"]:
    """One feature a state, of so many or of a model: linear methods are then the tabular ones.

    >>> one_hot(2)
    array([[1., 0.],
           [0., 1.]])
    """
    count = states.states if isinstance(states, FiniteMDP) else states
    return np.eye(whole("states", count))


def polynomial(points: ArrayLike | FiniteMDP, degree: int) -> Float[ndarray, "S d"]:
    """All products of coordinates up to a degree, which should lie in [−1, 1].

    x(s) = (1, x, y, x², xy, y², …)           Zhao 8.2.4; Sutton & Barto 9.5.1

    Two coordinates make 3, 6 and 10 features of degree 1, 2 and 3.

    >>> polynomial([[0.5, -1.0]], 2)
    array([[ 1.  ,  0.5 , -1.  ,  0.25, -0.5 ,  1.  ]])
    """
    x = _points(points)
    powers = product(range(whole("degree", degree, 0) + 1), repeat=x.shape[1])
    kept = sorted((p for p in powers if sum(p) <= degree), key=lambda p: (sum(p), [-i for i in p]))
    return np.stack([np.prod(x**p, axis=1) for p in np.array(kept)], axis=1)


def fourier(points: ArrayLike | FiniteMDP, order: int) -> Float[ndarray, "S d"]:
    """Cosines of all frequencies up to an order in each coordinate, which should lie in [0, 1].

    x_c(s) = cos(π c·s),   c ∈ {0, …, order}^k           Zhao 8.2.4; Sutton & Barto 9.5.2

    Two coordinates make 4, 9 and 16 features of order 1, 2 and 3.

    >>> fourier([[0.0], [0.5], [1.0]], 2).round(3)
    array([[ 1.,  1.,  1.],
           [ 1.,  0., -1.],
           [ 1., -1.,  1.]])
    """
    x = _points(points)
    c = np.array(list(product(range(whole("order", order, 0) + 1), repeat=x.shape[1])))
    return np.cos(np.pi * (x @ c.T))


def tiles(
    points: ArrayLike | FiniteMDP, *, tilings: int = 8, across: int = 4
) -> Float[ndarray, "S d"]:
    """1 for each tile that a state lies in: `tilings` grids, shifted against each other.

    A tile is 1/`across` wide, so that coordinates in [0, 1] meet `across` + 1 of them. Grid i is
    shifted by i/tilings of a tile times 1, 3, 5, … along the axes     Sutton & Barto 9.5.4

    Divide α by `tilings`, as so many features are 1 in every state. Empty tiles are left out.

    >>> tiles([[0.0], [0.5], [1.0]], tilings=2, across=1)
    array([[1., 0., 1., 0.],
           [1., 0., 0., 1.],
           [0., 1., 0., 1.]])
    """
    x = _points(points)
    whole("tilings", tilings)
    whole("across", across)
    shift = 2 * np.arange(x.shape[1]) + 1
    found = []
    for i in range(tilings):
        cell = np.floor(x * across + (i * shift % tilings) / tilings + 1e-9).astype(np.int64)
        _, number = np.unique(cell, axis=0, return_inverse=True)
        found.append(np.eye(number.max() + 1)[number.ravel()])
    return np.concatenate(found, axis=1)


def _points(given: ArrayLike | FiniteMDP) -> Float[ndarray, "S k"]:
    """Points [S, k] of states, checked; a model stands for its `coordinates`."""
    x = np.asarray(coordinates(given) if isinstance(given, FiniteMDP) else given, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ShapeError(f"points are {list(x.shape)} but must be [S, k]: coordinates of states.")
    if not np.isfinite(x).all():
        raise ConfigError("a coordinate is NaN or infinite.")
    return x
