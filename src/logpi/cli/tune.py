"""`logpi tune PRESET|FILE key=range ...`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from logpi.core.errors import ConfigError, RunError
from logpi.run import Stopped
from logpi.train.rundir import run_path
from logpi.tuning import Spec, Trial, best_of, command, read_spec, search
from logpi.views.show import console
from logpi.views.text import number

__all__ = ["run"]

_SIGNALS = {"SIGINT": 130, "SIGTERM": 143}
_SHOWN = 5


def run(given: Namespace) -> int:
    """0 once all trials are over; 130 or 143 where a signal stopped the study."""
    spec, folder = _asked(given)

    def said(trial: Trial) -> None:
        values = " ".join(f"{k}={v}" for k, v in trial.values.items())
        told = f"trial {trial.number} {trial.state}: {number(trial.score, 4)}  {values}"
        print(told, file=sys.stderr, flush=True)

    try:
        trials = search(spec, folder, trials=given.trials, said=said)
    except Stopped as stopped:
        print(f"{stopped.signal}: go on with `logpi tune --resume {folder}`.", file=sys.stderr)
        return _SIGNALS.get(stopped.signal, 130)
    best = best_of(trials, minimize=spec.minimize)
    if given.json:
        told = {"study": str(folder), "trials": [asdict(t) for t in trials]}
        told["best"] = command(spec, best[0]) if best else None
        print(json.dumps(told))
        return 0
    if not best:
        raise RunError(
            f"no trial of {folder} came to its end with a score. Look at one with `logpi report "
            f"{folder}/trial-0`."
        )
    _print(best, trials)
    print(command(spec, best[0]))
    return 0


def _asked(given: Namespace) -> tuple[Spec, Path]:
    if given.resume:
        folder = next(
            (f for f in (Path(given.resume), Path("runs") / given.resume) if read_spec(f)), None
        )
        if folder is None:
            raise ConfigError(f"there is no study at `{given.resume}`, and none below runs/.")
        spec = read_spec(folder)
        assert spec is not None
        return spec, folder
    if not given.words or "=" in given.words[0]:
        raise ConfigError(
            "what shall be tuned? Name a recipe, a preset or a YAML file first, then overrides and "
            "ranges: `logpi tune ppo/cartpole optim.lr=log:1e-5..1e-2`."
        )
    source, *words = given.words
    name = given.name or f"tune-{Path(source).with_suffix('').as_posix().replace('/', '-')}"
    told = {key: getattr(given, key) for key in ("metric", "minimize", "seed", "seeds")}
    return Spec(source=source, words=tuple(words), **told), run_path(name)


def _print(best: list[Trial], trials: list[Trial]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("trial", justify="right")
    table.add_column("score", justify="right")
    if spread := len(best[0].scores) > 1:
        table.add_column("of each seed", justify="right")
    for key in best[0].values:
        # Of a long key no letter is lost, however many there are.
        table.add_column(Text(key.replace(".", ".\n")), justify="right", overflow="fold")
    for t in best[:_SHOWN]:
        seeds = [" ".join(number(s, 4) for s in t.scores)] if spread else []
        row = [str(t.number), number(t.score, 4), *seeds, *(str(v) for v in t.values.values())]
        table.add_row(*row)
    to = console()
    counts = {s: sum(t.state == s for t in trials) for s in ("complete", "pruned", "fail")}
    to.print(Text(", ".join(f"{n} {state}" for state, n in counts.items() if n), style="dim"))
    to.print(table)
