"""Whether what environments gave are numbers, asked after every step."""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

__all__ = ["all_finite"]


def all_finite(x: ndarray) -> bool:
    """Whether nothing in the array is NaN or infinite.

    A finite sum of squares says so in a third of the time; one that overflowed says nothing.

    >>> huge = np.float32(1e30)
    >>> all_finite(np.array([huge, 0])), all_finite(np.array([np.nan, huge]))
    (True, False)
    """
    if x.dtype.kind != "f":
        return True
    return math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())
