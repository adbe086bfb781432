"""`logpi recipes`."""

from __future__ import annotations

import json
from argparse import Namespace

from logpi.views.recipes_table import markdown, rows, table
from logpi.views.show import console

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing the table."""
    if given.json:
        print(json.dumps(rows(), indent=2, ensure_ascii=False))
    elif given.markdown:
        print(markdown())
    else:
        to = console()
        to.print(table(to.width))
    return 0
