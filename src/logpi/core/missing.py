"""How many rewards are missing: what a reward that raised, hung or gave no number leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["COUNTED", "missing"]

COUNTED = ("missing", "judged")
"""The figures of an iteration that are counts: rewards not given, and rewards asked for."""


def missing(lines: Iterable[Mapping[str, Any]]) -> str:
    """How many rewards all of these figures miss, and their share; "" where none.

    >>> missing([{"missing": 2.0, "judged": 100.0}, {"missing": 1.0, "judged": 100.0}])
    '3 (1.5%)'
    """
    lacking = judged = 0.0
    for line in lines:
        lacking += line.get("missing") or 0
        judged += line.get("judged") or 0
    if not lacking:
        return ""
    return f"{lacking:,.0f}" + (f" ({100 * lacking / judged:.2g}%)" if judged else "")
