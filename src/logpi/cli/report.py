"""`logpi report RUN`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from logpi.views.reading import find, read
from logpi.views.report import write

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after writing the file and naming it."""
    if given.video:
        from logpi.run import Run  # noqa: PLC0415 - a report alone needs neither torch nor a world

        Run(find(given.run)).play()
    record = read(given.run)
    for note in record.notes:
        print(f"note: {note}", file=sys.stderr)
    print(write(record, Path(given.out) if given.out else record.directory / "report.html"))
    return 0
