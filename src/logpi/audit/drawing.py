"""A report as a table for the terminal, as Markdown, and as a picture."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from logpi.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from logpi.audit.report import AuditReport, Fit, Step

__all__ = ["decisions", "figures", "markdown", "plot", "table", "text"]

COLUMNS = ("objective", "bias", "relative", "cosine", "norm ratio", "scalar", "noise/signal")
"""The columns of a report's table."""

DECISIONS = ("decision", "visits", "true advantage", "coefficient", "its spread", "push")
"""The columns of the table of decisions."""

_NAMED, _LONGEST = 12, 24
"""So many points have names in a picture, of so many letters at most."""

_FIGURES = ("bias_norm", "relative_bias", "cosine", "norm_ratio", "scalar", "noise_to_signal")


def figures(found: Fit) -> tuple[str, ...]:
    """The cells of an objective's line: its name, and its figures with their intervals."""
    cells = [found.objective]
    for name in _FIGURES:
        cell = _number(getattr(found, name), digits=6 if name == "cosine" else 4)
        if name in found.intervals:
            low, high = found.intervals[name]
            cell = f"{cell} [{_number(low)}, {_number(high)}]"
        cells.append(cell)
    return tuple(cells)


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    if 0 < abs(value) < 1e-3:
        return "0" if abs(value) < 1e-12 else f"{value:.1e}"
    return f"{value:.{digits}g}"


def _summary(report: AuditReport) -> list[str]:
    kind = "drawn" if report.sampled else "enumerated"
    lines = [
        f"A batch: {report.batch}, drawn by {report.law}. "
        f"{report.batches:,} batches of {report.trajectories:,} trajectories, {kind}.",
        f"Total variance of one batch's gradient: {_number(report.total_variance)}.",
    ]
    if report.confidence is not None:
        lines.append(f"In brackets: {report.confidence:.0%} confidence intervals.")
    if report.settings.get("time_limit"):
        lines.append(f"Nothing ends the task: rows are cut after {report.settings['time_limit']}.")
    if report.critic is not None:
        lines.append(f"Critic: {report.critic}.")
    if report.clipped:
        lines.append(f"Clipped on the first step: {report.clipped:.2%} of decisions.")
    if report.skipped:
        lines.append(
            f"{len(report.skipped)} objectives do not exist here: `skipped` (in --json) says why."
        )
    return [*lines, report.verdict]


def table(report: AuditReport) -> Table:
    """The figures against every objective, and of later steps, for the terminal."""
    out = Table(
        title=f"{report.recipe} in {report.world}",
        caption="\n".join(_summary(report)),
        box=box.SIMPLE,
        caption_justify="left",
    )
    for i, name in enumerate(COLUMNS):
        out.add_column(name, justify="right" if i else "left", overflow="fold", min_width=len(name))
    best = report.best
    for found in report.fits:
        out.add_row(*figures(found), style="bold" if found is best else None)
    for step in report.steps:
        out.add_section()
        for found in step.fits:
            name, *cells = figures(found)
            out.add_row(f"{_step_name(step)}: {name}", *cells)
    return out


def text(table: Table) -> str:
    """A table as plain text.

    >>> out = Table("objective", box=None)
    >>> out.add_row("return")
    >>> text(out).split()
    ['objective', 'return']
    """
    to = Console(width=100, color_system=None, file=StringIO())
    with to.capture() as caught:
        to.print(table)
    return "\n".join(line.rstrip() for line in caught.get().strip("\n").split("\n")).strip("\n")


def decisions(report: AuditReport) -> Table:
    """What every decision is worth, and what it is given, for the terminal."""
    out = Table(title="decisions of a row", box=box.SIMPLE)
    for i, name in enumerate(DECISIONS):
        out.add_column(name, justify="right" if i else "left", overflow="fold")
    for cells in _decisions(report):
        out.add_row(*cells)
    return out


def _decisions(report: AuditReport) -> list[tuple[str, ...]]:
    """The cells of each decision's line: those of `DECISIONS`."""
    return [
        (d.name, *map(_number, (d.visits, d.advantage, d.coefficient, d.spread, d.push)))
        for d in report.decisions
    ]


def _step_name(step: Step) -> str:
    return f"step {step.number} ({step.clipped:.1%} clipped)"


def markdown(report: AuditReport) -> str:
    """The figures against every objective, of later steps, and of every decision, as Markdown."""
    lines = [f"**{report.recipe}** in {report.world}", ""]
    lines += [f"| {' | '.join(COLUMNS)} |"]
    lines += ["|---" + "|--:" * (len(COLUMNS) - 1) + "|"]
    lines += [f"| {' | '.join(figures(found))} |" for found in report.fits]
    for step in report.steps:
        for found in step.fits:
            name, *cells = figures(found)
            lines.append(f"| {_step_name(step)}: {name} | {' | '.join(cells)} |")
    lines += ["", *[f"{line}  " for line in _summary(report)], ""]
    lines += [f"| {' | '.join(DECISIONS)} |"]
    lines += ["|---" + "|--:" * (len(DECISIONS) - 1) + "|"]
    lines += [f"| {' | '.join(cells)} |" for cells in _decisions(report)]
    return "\n".join(lines) + "\n"


def plot(report: AuditReport, path: str | Path) -> Path:
    """The path, now a picture of each decision: its true advantage, and the coefficient it gets.

    Bars are one standard deviation of the coefficient; a point is the larger, the more often the
    decision is taken. An estimator that gives what is earned lies on the diagonal. Raises
    `ConfigError` where the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _points(axes, report)
    axes.axline((0, 0), slope=1, color="0.6", lw=1, ls="--", zorder=0)
    axes.set_xlabel("true advantage")
    axes.set_ylabel("coefficient: mean and one standard deviation")
    axes.set_title(f"{report.recipe} in {report.world}", fontsize=10)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no picture can be written to {path}: {error}.") from error
    return Path(path)


def _points(axes: Axes, report: AuditReport) -> None:
    """Every decision as a point with its spread; with its name, where there are few."""
    most = max((d.visits for d in report.decisions), default=1.0)
    for d in report.decisions:
        axes.errorbar(
            d.advantage,
            d.coefficient,
            yerr=d.spread,
            fmt="o",
            ms=3 + 7 * (d.visits / most) ** 0.5,
            color="C0",
            ecolor="0.7",
            alpha=0.7,
            capsize=2,
        )
    names: dict[tuple[float, float], list[str]] = {}
    for d in report.decisions:
        names.setdefault((round(d.advantage, 9), round(d.coefficient, 9)), []).append(d.name)
    if len(names) <= _NAMED:
        _write_names(axes, names)


def _write_names(axes: Axes, names: dict[tuple[float, float], list[str]]) -> None:
    """The points' names, inside the axes, one above the other where points are as high."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(left, right), ylim=(low, high))
    taken: list[float] = []
    for x, y in sorted(names):
        here = names[x, y]
        label = _short(here[0]) + ("" if len(here) == 1 else f" and {len(here) - 1} more")
        height, inward = (y - low) / (high - low), x > (left + right) / 2
        rank = sum(abs(height - other) < 0.05 for other in taken)  # a line of text is so high
        taken.append(height)
        axes.annotate(
            label,
            (x, y),
            xytext=(-7 if inward else 7, 4 + 11 * rank),
            textcoords="offset points",
            ha="right" if inward else "left",
            fontsize=8,
        )


def _short(name: str) -> str:
    """The end of a name that is too long for a picture: what tells it from its neighbours.

    >>> _short("France: The capital of France is Paris")
    '… of France is Paris'
    """
    if len(name) <= _LONGEST:
        return name
    end = name[-_LONGEST:]
    return "… " + (end.split(" ", 1)[1] if " " in end else end)
