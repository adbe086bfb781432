"""`logpi solve`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
from rich.text import Text

from logpi.cli.models import model_of, options_of, picture_path
from logpi.core.errors import ConfigError
from logpi.mdp import FiniteMDP, Solution, action_name, backup, greedy, solve, state_name
from logpi.views.frames import check_film
from logpi.views.grid import animate, picture
from logpi.views.show import console
from logpi.views.text import counted, number
from logpi.views.values import curve_of_values, grid_that_fits, table_of_values

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing values and policy."""
    m = model_of(given)
    film = given.animate
    if film:
        check_film(film)
        if not m.layout.is_grid:
            raise ConfigError(f"{m.name} is no grid, so there is nothing to animate.")
    options = options_of(given.set)
    found = solve(
        m, given.method, given.tolerance, history=bool(film), horizon=given.horizon, **options
    )
    if given.json:
        print(json.dumps(_json(m, found)))
    else:
        _print(m, found)
    if path := picture_path(given, m):
        print(_picture(m, found, path))
    if film:
        frames = [(i.value, _policy_of(m, i.value)) for i in found.history]
        print(animate(frames, m.layout, film, title=f"{m.name}: {found.method}"))
    return 0


def _policy_of(m: FiniteMDP, value: np.ndarray) -> np.ndarray:
    return greedy(m, backup(m, value))


def _picture(m: FiniteMDP, found: Solution, path: Path) -> Path:
    title = f"{m.name}, γ = {m.discount:g}"
    if not m.layout.is_grid:
        actions = [action_name(m, a) for a in range(m.actions)]
        return curve_of_values(found.value, found.policy, path, actions=actions, title=title)
    return picture(found.value, found.policy, m.layout, path, title=title)


def _print(m: FiniteMDP, found: Solution) -> None:
    to = console()
    grid = grid_that_fits(to, found.value, found.policy, m.layout, is_grid=m.layout.is_grid)
    if grid is not None:
        to.print(grid)
    else:
        states = [state_name(m, s) for s in range(min(m.states, 40))]
        actions = [action_name(m, a) for a in range(m.actions)]
        to.print(
            table_of_values(found.value, found.q, found.policy, states=states, actions=actions)
        )
    start = float(m.start @ found.value)
    to.print(Text.assemble(
        (f"{m.name}", "bold"),
        f"  {m.states} states, γ = {m.discount:g}; value from the start {number(start, 6)}, ",
        f"{_certified(found)}; {found.method}; {counted(found.sweeps, 'sweep')}, ",
        f"{found.seconds:.2g} CPU s",
    ))  # fmt: skip


def _certified(found: Solution) -> str:
    if "gain" in found.facts:
        gain = number(found.facts["gain"], 6)
        return f"gain a step {gain}, within {found.bound:.1e}; the values are the bias"
    return f"every value within {found.bound:.1e}"


def _json(m: FiniteMDP, found: Solution) -> dict[str, object]:
    q = np.where(np.isfinite(found.q), found.q, 0.0)
    return {
        "model": m.name,
        "states": m.states,
        "actions": m.actions,
        "discount": m.discount,
        "method": found.method,
        "bound": found.bound if np.isfinite(found.bound) else None,
        "sweeps": found.sweeps,
        "seconds": found.seconds,
        "start_value": float(m.start @ found.value),
        "facts": {k: x if np.isfinite(x) else None for k, x in found.facts.items()},
        "value": found.value.tolist(),
        "q": [
            [float(x) if ok else None for x, ok in zip(row, allowed, strict=True)]
            for row, allowed in zip(q, m.allowed, strict=True)
        ],
        "policy": found.policy.tolist(),
    }
