"""A rollout in the terminal: every token in the colour of its coefficient, and its figures."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from logpi.core.errors import RunError
from logpi.views.colours import diverging, scale_of
from logpi.views.reading import Decision, Record, Row
from logpi.views.text import number, signed, spaced, visible

__all__ = ["choose", "console", "show"]

_UNLIMITED = 10_000  # what is piped has no width: a line is never broken
_BAR = 5
_LEAVE_OUT = ("weight", "logp_ref", "value", "bar", "reward", "clipped")  # the first one first


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as one whose reader has seen enough."""
        raise BrokenPipeError


def console(file: TextIO | None = None) -> Console:
    """A console that is plain where `file` is no terminal or NO_COLOR is set.

    Into a file or a pipe every line is written whole, however long.
    """
    styled = _Console(file=file, highlight=False)
    if os.environ.get("NO_COLOR") or styled.color_system is None:
        width = None if styled.is_terminal else _UNLIMITED
        return _Console(file=file, highlight=False, color_system=None, no_color=True, width=width)
    return styled


def choose(
    record: Record, *, iteration: int | None = None, row: int | None = None
) -> tuple[Row, ...]:
    """The recorded rows of one iteration (the last by default), or only the row asked for.

    Raises RunError, naming what is recorded, where there is none.
    """
    recorded = record.iterations
    if not recorded:
        raise RunError(
            f"`{record.directory}` has no recorded rollouts, so there is nothing to show: "
            f"{' '.join(record.notes)} "
            "A run records some rows every `log.decisions_every` iterations."
        )
    wanted = recorded[-1] if iteration is None else iteration
    rows = record.of(wanted)
    if not rows:
        nearest = min(recorded, key=lambda i: abs(i - wanted))
        raise RunError(
            f"iteration {wanted} of `{record.directory}` has no recorded rollouts. "
            f"Recorded are {_listed(recorded)}; "
            f"the nearest is --iteration {nearest}."
        )
    if row is None:
        return rows
    chosen = tuple(r for r in rows if r.row == row)
    if not chosen:
        raise RunError(
            f"iteration {wanted} of `{record.directory}` has no recorded row {row}. "
            f"Recorded are {_listed([r.row for r in rows])}."
        )
    return chosen


def show(record: Record, rows: Sequence[Row], to: Console) -> None:
    """Print these rows of a run, coloured on one common scale, with a legend."""
    scale = scale_of(d.coefficient for r in rows for d in r.decisions)
    to.print(_title(record, rows[0].iteration))
    left_out: dict[str, None] = {}
    for row in rows:
        table, without = _fitting(to, row.decisions, scale)
        left_out |= dict.fromkeys(without)
        to.print()
        to.print(_rollout(row, scale, table))
    to.print()
    to.print(_legend(scale))
    if left_out:
        told = f"Left out at this width: {', '.join(left_out)}. `logpi show ... | less -S` has all."
        to.print(Text(told, style="dim"))
    for note in record.notes:
        to.print(Text(f"note: {note}", style="dim"))


def _title(record: Record, iteration: int) -> Text:
    line = Text(visible(record.name), style="bold")
    line.append(f"  {visible(record.recipe)}, iteration {iteration}", style="not bold")
    line.append(f"  (recorded: {_listed(record.iterations)})", style="not bold dim")
    return line


def _rollout(row: Row, scale: float, table: Table) -> RenderableType:
    head = Text(f"row {row.row}", style="bold")
    facts = [f"group {row.group}"] if row.group is not None else []
    facts += [f"reward {number(row.reward)}", f"{sum(d.mask for d in row.decisions)} decisions"]
    facts += [f"{visible(str(k))} {visible(str(v))}" for k, v in row.columns.items()]
    head.append("  " + "  ".join(facts), style="not bold")
    prompt = (visible(row.prompt, breaks=True), "dim")
    text = Text.assemble(prompt, _coloured(row.decisions, scale))
    return Group(head, text, table)


def _coloured(decisions: Iterable[Decision], scale: float) -> Text:
    line = Text()
    for d in decisions:
        line.append(visible(d.action, breaks=True), style=_style(d.coefficient, scale, mask=d.mask))
    return line


def _style(value: float | None, scale: float, *, mask: bool = True) -> Style:
    if value is None or not mask:
        return Style(dim=True, italic=True)
    background = diverging(value, scale)
    if background is None:
        return Style()
    rgb = "#{:02x}{:02x}{:02x}"
    return Style(color="#ffffff", bgcolor=rgb.format(*background), underline=value < 0)


def _fitting(to: Console, decisions: Sequence[Decision], scale: float) -> tuple[Table, list[str]]:
    """The table of the decisions as wide as there is room for, and what it has to go without."""
    names = [
        name
        for name in (*_NAMES, "bar")
        if name not in _OPTIONAL or any(getattr(d, name) is not None for d in decisions)
    ]
    less = [name for name in _LEAVE_OUT if name in names]
    left_out: list[str] = []
    unlimited = to.options.update(width=_UNLIMITED)
    table = _table(decisions, scale, names)
    while less and to.measure(table, options=unlimited).maximum > to.width:
        left_out.append(less.pop(0))
        table = _table(decisions, scale, [name for name in names if name not in left_out])
    return table, left_out


_OPTIONAL = ("logp_ref", "value", "reward")
_NAMES = ("logp", "ratio", *_OPTIONAL, "credit", "coefficient", "weight", "clipped")


def _table(decisions: Sequence[Decision], scale: float, names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("token", no_wrap=True, max_width=24, overflow="ellipsis")
    for name in names:
        words = name in ("clipped", "bar")
        table.add_column(
            "" if name == "bar" else name, justify="left" if words else "right", no_wrap=True
        )
    for place, d in enumerate(decisions):
        style = _style(d.coefficient, scale, mask=d.mask)
        cells = [_cell(d, name, scale) for name in names]
        table.add_row(str(place), Text.assemble((spaced(d.action), style)), *cells)
    return table


def _cell(d: Decision, name: str, scale: float) -> str:
    if name == "bar":
        return bar(d.coefficient, scale)
    if name == "clipped":
        return "–" if d.clipped is None else "clipped" if d.clipped else ""
    return (signed if name in _SIGNED else number)(getattr(d, name))


_SIGNED = {"credit", "coefficient", "reward"}


def bar(value: float | None, scale: float) -> str:
    """A coefficient as pluses or minuses, so that no figure needs colour; `–` where there is none.

    >>> bar(1.0, 1.0), bar(-0.1, 1.0), bar(0.0, 1.0), bar(None, 1.0)
    ('+++++', '-', '0', '–')
    """
    if value is None:
        return "–"
    if value == 0 or math.isnan(value):
        return number(value)
    return ("+" if value > 0 else "-") * max(1, round(_BAR * min(1.0, abs(value) / scale)))


def _legend(scale: float) -> Text:
    line = Text("coefficient ")
    for share in (-1.0, -0.5, -0.1):
        line.append(f" {number(share * scale)} ", style=_style(share, 1.0))
    line.append(" 0 ")
    for share in (0.1, 0.5, 1.0):
        line.append(f" {signed(share * scale)} ", style=_style(share, 1.0))
    line.append("  ")
    line.append("– not assigned", style=_style(None, 1.0))
    return line


def _listed(values: Sequence[int]) -> str:
    """Numbers as a reader would write them: `0, 5, …, 55, 59`."""
    shown = [str(v) for v in values]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "…", *shown[-2:]])
