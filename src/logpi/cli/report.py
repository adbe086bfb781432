"""`logpi report RUN`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from logpi.views.reading import read
from logpi.views.report import write

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after writing the file and naming it."""
    record = read(given.run)
    for note in record.notes:
        print(f"note: {note}", file=sys.stderr)
    print(write(record, Path(given.out) if given.out else record.directory / "report.html"))
    return 0
