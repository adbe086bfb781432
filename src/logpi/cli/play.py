"""`logpi play RUN`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from logpi.run import Run
from logpi.views.reading import find
from logpi.views.show import console
from logpi.views.text import number

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after writing the film and naming it."""
    directory = find(given.run)
    told = Run(directory, best=given.best).play(
        given.video,
        strip=given.frames,
        episodes=given.episodes,
        seed=given.seed,
        greedy=not given.sample,
    )
    written = json.loads((directory / "play" / "episodes.json").read_text(encoding="utf-8"))
    if given.json:
        print(json.dumps({"run": str(directory), **written}))
        return 0
    _print(directory, told)
    print(written["video"], written["strip"], sep="\n")
    return 0


def _print(directory: Path, episodes: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("seed", "return", "decisions", "ended"):
        table.add_column(name, justify="left" if name == "ended" else "right", no_wrap=True)
    for e in episodes:
        table.add_row(str(e["seed"]), number(e["return"], 4), str(e["length"]), e["ended"])
    to = console()
    to.print(Text(str(directory), style="bold"))
    to.print(table)
