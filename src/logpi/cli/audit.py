"""`logpi audit`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.text import Text

from logpi.audit import AuditReport, audit, sampled
from logpi.cli.models import options_of
from logpi.mdp import MDP
from logpi.recipes import recipe
from logpi.views.show import console

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing the report."""
    report = _report(given)
    if given.json:
        print(report.to_json())
    else:
        to = console()
        to.print(report.table())
        to.print(Text(report.verdict))
    if given.plot is not None:
        name = f"audit-{given.recipe}-{Path(given.world).stem}.png"
        print(report.plot(given.plot or name))
    return 0


def _report(given: Namespace) -> AuditReport:
    world = MDP(given.world, discount=given.discount, horizon=given.horizon)
    constants = options_of(given.words)
    audited = recipe(given.recipe, **constants) if constants else given.recipe
    told: dict[str, Any] = {"group_size": given.group_size, "steps": given.steps}
    if given.sampled is None:
        return audit(audited, world, **told)
    return sampled(audited, world, batches=given.sampled, seed=given.seed, **told)
