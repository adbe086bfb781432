"""The generated parts of the documentation: `python -m logpi.docs` writes them, a test compares.

A part stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`, and comes from the code it
describes: the table of recipes, the audit of each, and the first line of each credit, coefficient
and averaging.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from logpi.audit.page import markdown as audited
from logpi.core import aggregate, coefficient, credit, divergence, regulariser, returns
from logpi.views.recipes_table import markdown

__all__ = ["PAGES", "PARTS", "main", "rendered"]

PAGES = ("README.md", "docs/audit.md", "docs/formulas.md")
"""The pages with generated parts, from the root of a checkout."""


def _definitions(*modules: ModuleType) -> str:
    lines = ["| name | value | module |", "|---|---|---|"]
    for module in modules:
        for name in module.__all__:
            first = (inspect.getdoc(getattr(module, name)) or "").partition("\n")[0]
            home = module.__name__.removeprefix("logpi.")
            lines.append(f"| `{name}` | {first.replace('|', chr(92) + '|')} | `{home}` |")
    return "\n".join(lines) + "\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "audit": audited,
    "recipes": markdown,
    "credits": lambda: _definitions(credit),
    "coefficients": lambda: _definitions(coefficient, regulariser),
    "averaging": lambda: _definitions(aggregate),
    "values": lambda: _definitions(returns, divergence),
}
"""Name to what writes that part."""


def rendered(page: str) -> str:
    """The page with each of its generated parts made anew.

    >>> "reward_to_go" in rendered("<!-- credits: begin --> <!-- credits: end -->")
    True
    """
    for name, write in PARTS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in page:
            continue
        fresh = f"{begin}\n\n{write()}\n{end}"
        page = re.sub(f"{begin}.*?{end}", lambda _, new=fresh: new, page, flags=re.DOTALL)
    return page


def main() -> int:
    """The exit code of `python -m logpi.docs`: 0 after the pages of this checkout were written."""
    root = Path(__file__).parents[2]
    if not (root / PAGES[0]).is_file():
        print(f"{root} is no checkout of logpi: its README.md is not there.", file=sys.stderr)
        return 2
    for page in PAGES:
        path = root / page
        path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
