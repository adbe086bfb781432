"""`logpi mdp`."""

from __future__ import annotations

import inspect
import json
from argparse import Namespace
from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from logpi.core.errors import ConfigError
from logpi.mdp import FiniteMDP, zoo
from logpi.views.show import console

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing the zoo, or one of its models."""
    known = zoo.names()
    if given.what == "list":
        if given.json:
            print(json.dumps(known, indent=2, ensure_ascii=False))
            return 0
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("model", style="bold", no_wrap=True)
        table.add_column("what it is")
        for name, what in known.items():
            table.add_row(Text(name), Text(what.removeprefix("Return ")))
        console().print(table)
        return 0
    if given.model is None:
        raise ConfigError("which one? `logpi mdp show cliff`; `logpi mdp list` names them.")
    told = _facts(given.model)
    if given.json:
        print(json.dumps(told, indent=2, default=str))
        return 0
    to = console()
    described = inspect.cleandoc(_entry(given.model).__doc__ or "").partition("\n>>>")[0]
    described = described.removeprefix("Return ").strip()
    to.print(Text(described[:1].upper() + described[1:] + "\n"))
    for name, value in told.items():
        if isinstance(value, dict):
            value = " ".join(f"{option}={_written(x)}" for option, x in value.items())
        to.print(Text.assemble((f"{name:12}", "dim"), str(value)))
    return 0


def _facts(name: str) -> dict[str, object]:
    m = zoo.make(name)
    return {
        "model": name,
        "states": m.states,
        "actions": m.actions,
        "transitions": int(m.transitions.nnz),
        "discount": m.discount,
        "terminal": int(m.terminal.sum()),
        "options": {
            option: None if parameter.default is parameter.empty else parameter.default
            for option, parameter in inspect.signature(_entry(name)).parameters.items()
        },
    }


def _written(value: object) -> str:
    """An option's default as the command line takes it: without blanks, null where it is unset."""
    if value is None or isinstance(value, int | float | str | list | tuple):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).strip('"')
    return "..."


def _entry(name: str) -> Callable[..., FiniteMDP]:
    return getattr(zoo, name.replace("/", "_"))
