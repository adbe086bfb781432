"""A comparison to look at: a table in the terminal, a picture, or one offline page."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from logpi.core.errors import ConfigError, RunError
from logpi.views.compare import Comparison, Panel, better
from logpi.views.text import number, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "page", "tables", "write"]

# Okabe and Ito's colours, which stay apart for every common kind of colour blindness.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_SUFFIXES = (".png", ".svg", ".html")


def tables(found: Comparison) -> list[Table]:
    """A table a panel: each group's interquartile mean at the end, and its interval."""
    made = []
    for panel in found.panels:
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", title_justify="left")
        table.title = Text(visible(f"{panel.title}: {found.metric} at {_end(panel, found)}"))
        table.add_column("group", style="bold")
        for name in ("runs", "IQM", "95% interval", "least", "most"):
            table.add_column(name, justify="right", no_wrap=True)
        for g in panel.groups:
            middle, low, high = g.final
            last = g.scores[:, -1]
            alone = len(g.runs) == 1
            interval = "–" if alone else f"{number(low, 4)} … {number(high, 4)}"
            table.add_row(
                Text(visible(g.label)),
                str(len(g.runs)),
                number(middle, 4),
                interval,
                number(float(last.min()), 4),
                number(float(last.max()), 4),
            )
        made.append(table)
    return made


def draw(found: Comparison) -> Figure:
    """A matplotlib figure: a panel a task, a line and a band a group."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, and seldom needed

    labels = list(dict.fromkeys(g.label for p in found.panels for g in p.groups))
    count = len(found.panels)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(1 + 4.6 * columns, 0.6 + 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for k, axes in enumerate(grid.flat):
        if k >= count:
            axes.set_axis_off()
            continue
        panel = found.panels[k]
        for g in panel.groups:
            i = labels.index(g.label)
            colour, dash = _COLOURS[i % len(_COLOURS)], _DASHES[i // len(_COLOURS) % 4]
            axes.plot(panel.x, g.middle, color=colour, linestyle=dash, label=_plain(g.label))
            if len(g.runs) > 1:
                axes.fill_between(panel.x, g.low, g.high, color=colour, alpha=0.18, linewidth=0)
        joined = panel.title.startswith("all ") and panel.x[-1] == 1
        axes.set(title=_plain(panel.title), xlabel="share of the run" if joined else found.axis)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    grid[0, 0].set_ylabel(f"{_plain(found.metric)}, interquartile mean")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    """One for all panels, below them, and no wider than they are."""
    handles = {}
    for axes in figure.axes:
        lines, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, lines, strict=True))
    room = int(11 * figure.get_figwidth())  # characters that fit side by side
    names = [textwrap.fill(name, room - 8) for name in handles]
    beside = room // (8 + max(len(line) for name in names for line in name.splitlines()))
    how = {"loc": "outside lower center", "frameon": False, "ncols": min(len(names), 4, beside)}
    figure.legend(handles.values(), names, **how)


def page(found: Comparison) -> str:
    """One HTML page that loads nothing: the picture, the tables, and what they mean."""
    svg = base64.b64encode(_drawn(found, "svg")).decode()
    parts = [_table(panel, found) for panel in found.panels]
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in found.notes)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Comparison – logpi</title>
<style>
body {{ font: 16px/1.5 Georgia, serif; max-width: 1080px; margin: 32px auto; padding: 0 20px;
  background: #fff; color: #1a1a1a; }}
img {{ width: 100%; }} table {{ border-collapse: collapse; margin: 8px 0 28px; }}
th, td {{ padding: 3px 18px 3px 0; text-align: right; font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; }} tr + tr td {{ border-top: 1px solid #ddd; }}
.note {{ color: #666; }}
</style></head><body>
<h1>{escape(_plain(found.metric))} over {escape(found.axis)}</h1>
<img alt="Learning curves; the tables below have the figures at the end." \
src="data:image/svg+xml;base64,{svg}">
{notes}{"".join(parts)}
<p class=note>Lines are interquartile means over runs, bands their 95% intervals by a bootstrap
that is stratified over tasks (Agarwal et al., arXiv 2108.13264). With fewer than four runs the
interquartile mean is the mean. P(better) is the probability that a run of the row ends better
than one of the other group.</p>
</body></html>
"""


def write(found: Comparison, path: str | Path) -> Path:
    """The file that was written: .png, .svg or .html.

    Raises `ConfigError` for another suffix, and `RunError` where it exists or cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"`{path}` must end in {', '.join(_SUFFIXES)}.")
    if target.exists():
        raise RunError(f"`{path}` already exists, and no file is overwritten. Give another name.")
    content = page(found).encode() if suffix == ".html" else _drawn(found, suffix[1:])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise RunError(f"`{path}` cannot be written: {error.strerror or error}.") from error
    return target


def _drawn(found: Comparison, kind: str) -> bytes:
    out = io.BytesIO()
    draw(found).savefig(out, format=kind, dpi=150)
    return out.getvalue()


def _table(panel: Panel, found: Comparison) -> str:
    rows = []
    for g in panel.groups:
        middle, low, high = g.final
        interval = "–" if len(g.runs) == 1 else f"{number(low, 4)} … {number(high, 4)}"
        rows.append(_row("td", [visible(g.label), str(len(g.runs)), number(middle, 4), interval]))
    pairs = [
        _row("td", [f"{visible(b['of'])} over {visible(b['over'])}", *_share(b["probability"])])
        for b in better(panel, found.metric)
    ]
    head = _row("th", ["group", "runs", "IQM", "95% interval"])
    other = f"<table>{_row('th', ['pair', 'P(better)', '95% interval'])}{''.join(pairs)}</table>"
    title = escape(visible(f"{panel.title}, at {_end(panel, found)}"))
    return f"<h2>{title}</h2><table>{head}{''.join(rows)}</table>{other if pairs else ''}"


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(c)}</{kind}>" for c in cells) + "</tr>"


def _share(found: tuple[float, float, float]) -> list[str]:
    middle, low, high = found
    return [f"{middle:.2f}", f"{low:.2f} … {high:.2f}"]


def _end(panel: Panel, found: Comparison) -> str:
    if panel.title.startswith("all ") and panel.x[-1] == 1:
        return "the end"
    return f"{panel.x[-1]:,.0f} {found.axis}"


def _plain(text: str) -> str:
    """Text as matplotlib draws it as it is: a dollar sign would begin mathematics."""
    return visible(text).replace("$", r"\$")
