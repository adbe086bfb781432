"""`logpi compare RUN RUN ...`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from rich.text import Text

from logpi.views.compare import better, compare
from logpi.views.compared import tables, write
from logpi.views.reading import find
from logpi.views.show import console
from logpi.views.text import visible

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing what the runs come to, and writing what was asked for."""
    runs = [path for name in given.runs for path in _runs(name)]
    found = compare(runs, metric=given.metric, axis=given.over, by=given.by)
    written = [write(found, path) for path in given.out]
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if given.json:
        print(json.dumps(found.plain()))
        return 0
    to = console()
    for panel, table in zip(found.panels, tables(found), strict=True):
        to.print(table)
        for b in better(panel, found.metric):
            middle, low, high = b["probability"]
            pair = visible(f"{b['of']} ends above {b['over']}")
            to.print(Text(f"{pair} with probability {middle:.2f} ({low:.2f} … {high:.2f})"))
        to.print()
    for path in written:
        print(path)
    return 0


def _runs(name: str) -> list[Path]:
    """A run, or the runs that a folder holds."""
    for folder in (Path(name), Path("runs") / name):
        if folder.is_dir() and not (folder / "config.yaml").exists():
            inner = sorted(p.parent for p in folder.glob("*/config.yaml"))
            if inner:
                return inner
    return [find(name)]
