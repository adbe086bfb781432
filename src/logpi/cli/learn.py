"""`logpi learn`."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict, is_dataclass

import numpy as np
from rich.table import Table
from rich.text import Text

from logpi.cli.models import options_of, picture_path, world_of
from logpi.mdp import METHODS, FiniteMDP, Learned, action_name, learn, state_name
from logpi.views.show import console
from logpi.views.text import counted, number
from logpi.views.values import grid_that_fits, table_of_values

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing what was learned."""
    if given.list:
        _list()
        return 0
    world, m = world_of(given)
    found = learn(
        world,
        given.method,
        episodes=given.episodes,
        steps=given.steps,
        max_steps=given.max_steps,
        discount=given.discount,
        runs=given.runs,
        seed=given.seed,
        **options_of(given.set),
    )
    if given.json:
        print(json.dumps(_json(m, found)))
    else:
        _print(m, found)
    if path := picture_path(given, m):
        found.plot(path, label=given.method)
        print(path)
    return 0


def _list() -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("method", style="bold", no_wrap=True)
    table.add_column("what it does")
    table.add_column("options")
    for name, method in METHODS.items():
        table.add_row(
            Text(name), Text(f"{method.description} ({method.source})"), ", ".join(method.options)
        )
    console().print(table)


def _print(m: FiniteMDP, found: Learned) -> None:
    to = console()
    grid = grid_that_fits(to, found.value, found.policy, m.layout, is_grid=m.layout.is_grid)
    if grid is not None:
        to.print(grid)
    else:
        q = found.q if found.q is not None else np.full(m.reward.shape, -np.inf)
        to.print(
            table_of_values(
                found.value,
                q,
                found.policy,
                states=[state_name(m, s) for s in range(min(m.states, 40))],
                actions=[action_name(m, a) for a in range(m.actions)],
            )
        )
    tail = found.returns[:, -max(1, found.returns.shape[1] // 10) :]
    to.print(Text.assemble(
        (found.method, "bold"),
        f" on {m.name}: {counted(found.steps, 'step')} in {found.seconds:.2g} CPU s",
        _returns(tail),
    ))  # fmt: skip


def _returns(tail: np.ndarray) -> str:
    if not np.isfinite(tail).any():
        return ""
    return f"; mean return of the last episodes {number(float(np.nanmean(tail)), 4)}"


def _json(m: FiniteMDP, found: Learned) -> dict[str, object]:
    q = found.q
    return {
        "model": m.name,
        "method": found.method,
        "settings": {name: _plain(value) for name, value in found.settings.items()},
        "steps": found.steps,
        "seconds": found.seconds,
        "value": found.value.tolist(),
        "q": None if q is None else _q(q),
        "policy": found.policy.tolist(),
        "returns": _means(found.returns),
    }


def _plain(value: object) -> object:
    """A setting as JSON has it: a constant rate is its number, another one a dictionary."""
    if is_dataclass(value) and not isinstance(value, type):
        rate = asdict(value)
        return rate["start"] if rate.get("kind") == "constant" else rate
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _q(q: np.ndarray) -> list[list[float | None]]:
    return [[float(x) if np.isfinite(x) else None for x in row] for row in q]


def _means(returns: np.ndarray) -> list[float | None]:
    """The mean over the runs that finished the episode; None where none did."""
    kept = np.isfinite(returns)
    total, count = np.where(kept, returns, 0.0).sum(0), kept.sum(0)
    return [float(x / n) if n else None for x, n in zip(total, count, strict=True)]
