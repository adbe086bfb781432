"""The table of recipes, from `logpi.recipes` itself: in the terminal, as Markdown, and as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from logpi.core.traits import name_of
from logpi.recipes import RECIPES

__all__ = ["COLUMNS", "markdown", "rows", "table"]

# The columns in their order; `rows` has them as keys.
COLUMNS = ("name", "data", "credit", "coefficient", "averaging", "critic", "update", "paper")


def rows() -> list[dict[str, str | None]]:
    """Each recipe as plain data, in the table's order.

    >>> next(r for r in rows() if r["name"] == "rloo")["credit"]
    'leave_one_out'
    """
    return [
        {
            "name": name,
            "data": recipe.data,
            "credit": name_of(recipe.credit),
            "coefficient": name_of(recipe.coefficient),
            "averaging": name_of(recipe.aggregate),
            "critic": recipe.critic,
            "update": recipe.update,
            "paper": recipe.paper,
        }
        for name, recipe in RECIPES.items()
    ]


def markdown() -> str:
    """The table in Markdown, as README.md and the documentation hold it.

    >>> markdown().splitlines()[0]
    '| name | data | credit | coefficient | averaging | critic | update | paper |'
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(_cell(name, row[name]) for name in COLUMNS)} |" for row in rows()]
    return "\n".join(lines) + "\n"


_CODE = {"name", "credit", "coefficient", "averaging"}


def _cell(column: str, value: str | None) -> str:
    if not value:
        return "–"
    text = value.replace("|", "\\|")
    return f"`{text}`" if column in _CODE else text


_WIDTHS = {"paper": 180, "update": 140, "critic": 110, "data": 90}


def table(width: int = 1000) -> Table:
    """The table for a terminal of this width; a narrow one leaves columns out and says so.

    With room for it every recipe is one line.
    """
    whole = _table(COLUMNS, str)
    endless = Console(width=1 << 20)
    if endless.measure(whole).maximum <= width:
        return whole
    names = [name for name in COLUMNS if width >= _WIDTHS.get(name, 0)]
    made = _table(names, _broken)
    if len(names) < len(COLUMNS):
        left_out = ", ".join(name for name in COLUMNS if name not in names)
        made.caption = f"Left out at this width: {left_out}. --json has all of it."
    return made


def _table(names: Sequence[str], written: Callable[[str], str]) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    for name in names:
        style = "bold" if name == "name" else ""
        made.add_column(name, overflow="fold", style=style, no_wrap=name in _WHOLE)
    for row in rows():
        made.add_row(*(Text(written(row[name] or "–")) for name in names))
    return made


_WHOLE = {"name", "data", "averaging", "critic", "update"}


def _broken(call: str) -> str:
    """A call of calls over several lines, one argument each; a plain call stays on one."""
    head, _, inner = call[:-1].partition("(")
    if not call.endswith(")") or "(" not in inner:
        return call
    lines, depth = [""], 0
    for c in inner:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            lines.append("")
        else:
            lines[-1] += c
    body = [f"  {part}" for line in lines for part in _broken(line.strip()).splitlines()]
    return "\n".join([f"{head}(", *body]) + ")"
