"""`logpi show RUN`."""

from __future__ import annotations

from argparse import Namespace

from rich.text import Text

from logpi.views.reading import read
from logpi.views.show import choose, console, show

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing the rows asked for."""
    record = read(given.run)
    rows = choose(record, iteration=given.iteration, row=given.row)
    to = console()
    if given.all or given.row is not None:
        show(record, rows, to)
        return 0
    show(record, [max(rows, key=lambda row: row.effort)], to)
    if len(rows) > 1:
        to.print(
            Text(
                f"{len(rows)} rows are recorded here: --row R shows another, --all shows each.",
                style="dim",
            )
        )
    return 0
