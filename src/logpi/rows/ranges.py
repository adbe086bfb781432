"""What a recipe's constants may be: types that a factory's signature names, and that are checked.

`logpi.recipes.recipe` checks them. Where nothing else is said a number is finite.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AllowInfNan, Field

__all__ = ["Bound", "Cap", "Count", "Limit", "NonNegative", "Number", "Positive", "Share"]

Number = float
"""Any: a baseline, a threshold, an entropy bonus (below 0 it asks for a surer policy)."""

NonNegative = Annotated[float, Field(ge=0)]
"""A weight that may be 0: of a penalty, of a pull, of a margin."""

Positive = Annotated[float, Field(gt=0)]
"""What is divided by, or would push nothing at 0: a temperature, the β of a preference."""

Share = Annotated[float, Field(ge=0, le=1)]
"""Between 0 and 1: λ."""

Bound = Annotated[float, Field(ge=0), AllowInfNan(True)]
"""How far a ratio may go from 1: .inf bounds nothing."""

Limit = Annotated[float, Field(gt=0), AllowInfNan(True)]
"""The most that something may be, where 0 would leave nothing: .inf limits nothing."""

Cap = Annotated[float, Field(gt=1), AllowInfNan(True)]
"""The most that a ratio may be, which is 1 at first: .inf caps nothing."""

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""
