"""`logpi train`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from logpi.cli.rewards import python_function
from logpi.core.errors import ConfigError
from logpi.core.missing import missing
from logpi.length import counted
from logpi.named import world_of
from logpi.recipes import RECIPES
from logpi.run import Stopped, train_config
from logpi.train.config import RunConfig, build_config, load_config, presets
from logpi.train.overrides import apply_overrides
from logpi.train.rundir import read_config, run_path
from logpi.views.reading import find
from logpi.views.show import console

__all__ = ["run"]

_SIGNALS = {"SIGINT": 130, "SIGTERM": 143}


def run(given: Namespace) -> int:
    """0 once the run is finished; 130 or 143 where a signal stopped it after a checkpoint."""
    if given.list:
        _list()
        return 0
    words, directory, resume = _what(given)
    reward = python_function(given.reward) if given.reward else None
    resumed = directory if resume else None
    config = _config(counted(words, lambda said: _config(said, resumed)), resumed)
    if reward is not None:  # so that config.yaml names the reward that ran, not the one it replaced
        config = config.model_copy(update={"world": {**config.world, "reward": reward}})
    world = world_of(config, reward=reward)
    if given.dry_run:
        told = config.model_copy(update={"world": world.model_dump()})
        print(told.resolved().to_yaml(), end="")
        return 0
    try:
        done = train_config(
            config, world=world, directory=directory, resume=resume, quiet=given.quiet
        )
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return _SIGNALS.get(stopped.signal, 130)
    print(_last_line(done.directory, done.metrics))
    return 0


def _what(given: Namespace) -> tuple[list[str], Path | None, bool]:
    """The words of the configuration, the directory, and whether it is resumed."""
    words, resumed = list(given.words), given.resume
    if resumed and "=" in resumed:  # `--resume iterations=400`: the option's own word is left out
        words.insert(0, resumed)
        resumed = ""
    named = None if given.name is None else run_path(given.name)
    if resumed is None:
        if not words or "=" in words[0]:
            raise ConfigError(
                "what shall be trained? Name a recipe, a preset or a YAML file first, then "
                "key=value overrides: `logpi train grpo world.model=... world.data=...`. "
                "`logpi train --list` shows what there is."
            )
        return words, named, False
    return words, find(resumed) if resumed else named or _latest(), True


def _config(words: list[str], resumed: Path | None) -> RunConfig:
    if words and "=" not in words[0]:
        return load_config(words[0], words[1:])
    if resumed is None:
        raise ConfigError("what shall be trained? Name a recipe, a preset or a YAML file.")
    stored = read_config(resumed)
    return build_config(apply_overrides(stored.plain(), words), where=f"{resumed}/config.yaml")


def _latest() -> Path:
    root = Path("runs")
    found = [p.parent for p in root.glob("*/config.yaml")] if root.is_dir() else []
    if not found:
        raise ConfigError("there is no run in `runs` to resume. Name one: `--resume RUN`.")
    latest = max(found, key=lambda p: max(f.stat().st_mtime for f in p.glob("*.*")))
    print(f"resuming {latest}, the latest run", file=sys.stderr)
    return latest


def _list() -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("preset or recipe", style="bold", no_wrap=True)
    table.add_column("what it is")
    for name, what in presets().items():
        table.add_row(Text(name), Text(what))
    for name, recipe in RECIPES.items():
        text = recipe.data != "replay" and recipe.update == "adam" and recipe.critic != "q"
        where = "" if text else "not of language models; "
        table.add_row(Text(name), Text(f"{where}{recipe.data}; {recipe.paper}"))
    console().print(table)


def _last_line(directory: Path, metrics: list[dict[str, Any]]) -> str:
    last = metrics[-1] if metrics else {}
    figures = [
        f"{label} {last[key]:.4g}"
        for key, label in _FIGURES
        if isinstance(last.get(key), int | float)
    ]
    if lacking := missing(metrics):
        figures.append(f"missing rewards {lacking}")
    done = last.get("iteration", 0)
    told = ", ".join([f"{done} iteration{'' if done == 1 else 's'}", *figures])
    return f"{directory}: {told}. See `logpi report {directory}`."


_FIGURES = (
    ("reward", "reward"),
    ("nll", "nll"),
    ("preferred", "share preferred"),
    ("eval/reward", "held-out reward"),
    ("eval/correct", "held-out share correct"),
    ("eval/preferred", "held-out share preferred"),
    ("eval/return", "evaluated return"),
    ("eval/regret", "less than the best by"),
)
