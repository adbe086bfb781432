"""`logpi audit`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from logpi.audit import AuditReport, audit, sampled
from logpi.cli.models import options_of
from logpi.mdp import MDP, uniform
from logpi.views.show import console

__all__ = ["run"]

_FEW = 12
"""So many decisions are printed unasked."""


def run(given: Namespace) -> int:
    """Exit code 0, after printing the report."""
    report = _report(given)
    if given.json:
        print(report.to_json())
    else:
        to = console()
        to.print(report.table())
        if given.decisions or len(report.decisions) <= _FEW:
            to.print(report.decisions_table())
    if given.plot is not None:
        name = f"audit-{given.recipe}-{Path(given.world).stem}.png"
        print(report.plot(given.plot or name))
    return 0


def _report(given: Namespace) -> AuditReport:
    world = MDP(given.world, discount=given.discount, horizon=given.horizon)
    recipe = {**options_of(given.words), "name": given.recipe}
    told: dict[str, Any] = {"group_size": given.group_size, "steps": given.steps, "lr": given.lr}
    if given.reference == "uniform":
        told["reference"] = uniform(world.model_of())
    if given.sampled is None:
        return audit(recipe, world, **told)
    return sampled(recipe, world, batches=given.sampled, seed=given.seed, **told)
