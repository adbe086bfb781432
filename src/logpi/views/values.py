"""Values of an MDP that is no grid: a table of its states, the likeliest starts first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from rich.table import Table
from rich.text import Text

from logpi.views.text import number, visible

__all__ = ["table_of_values"]


def table_of_values(
    value: ndarray,
    q: ndarray,
    policy: ndarray,
    *,
    states: Sequence[str],
    actions: Sequence[str],
    most: int = 40,
) -> Table:
    """A row for each state, at most `most` of them: value, action values, and what is done.

    `q` is −inf where an action is not allowed; `policy` is [S] actions or [S, A] probabilities.

    >>> t = table_of_values(
    ...     np.array([1.0]),
    ...     np.array([[1.0, -np.inf]]),
    ...     np.array([0]),
    ...     states=["s"],
    ...     actions=["a", "b"],
    ... )
    >>> t.row_count
    1
    """
    shown = list(actions) if len(actions) <= 8 else []
    table = _headed(shown)
    for s in range(min(len(value), most)):
        figures = [number(float(x)) if np.isfinite(x) else "" for x in q[s][: len(shown)]]
        does = Text(_does(policy, s, actions))
        table.add_row(Text(visible(states[s])), number(float(value[s])), *figures, does)
    if len(value) > most:
        table.caption = f"{most} of {len(value)} states"
    return table


def _headed(actions: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("state", no_wrap=True)
    table.add_column("value", justify="right")
    for name in actions:
        table.add_column(Text(f"q {visible(name)}"), justify="right")
    table.add_column("policy")
    return table


def _does(policy: ndarray, s: int, actions: Sequence[str]) -> str:
    if policy.ndim == 1:
        return visible(actions[int(policy[s])]) if policy[s] >= 0 else "terminal"
    taken = [int(a) for a in np.flatnonzero(policy[s] > 0)]
    told = [f"{visible(actions[a])} {number(float(policy[s, a]), 2)}" for a in taken]
    return ", ".join(told) or "terminal"
