"""`logpi export RUN`."""

from __future__ import annotations

from argparse import Namespace

from logpi.played import FORMATS
from logpi.run import Run
from logpi.views.reading import find

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after writing the acting policy and naming its file."""
    whole = Run(find(given.run), best=given.best)
    path = given.out or whole.model_dir / f"policy{FORMATS[given.format]}"
    print(whole.export(path))
    return 0
