"""`make demo`: a small language model from scratch imitates noisy sums, then a reward improves it.

SFT on additions of which about half are right, in runs/demo-sft; then GRPO on a reward that checks
the sum, in runs/demo. Both are measured on problems that neither trained on. A demo that was
interrupted is gone on with; one that is finished is kept, and the next one is runs/demo-2.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from rich.console import Console
from rich.table import Table

from logpi.core.errors import RunError
from logpi.run import Run, Stopped, train_config
from logpi.train.config import load_config
from logpi.train.rundir import read_config
from logpi.views.reading import read
from logpi.views.report import write

__all__ = ["GOAL", "Demo", "demos", "main"]

GOAL = 0.95
"""The held-out accuracy of greedy decoding that the demo must reach."""

_CORRECT = "eval/correct"
_SIGNALS = {"SIGINT": 130, "SIGTERM": 143}
_IMITATE = ("world.reward=exact_match", "evaluate.every=0", "evaluate.examples=null")
_IMPROVE = ("evaluate.every=25", "evaluate.examples=null")
_QUICK = ("iterations=3", "world.prompts_per_batch=8", "optim.warmup=0")


@dataclass(frozen=True, slots=True)
class Demo:
    """The two runs of one demo: what imitates, and what improves it."""

    sft: Path
    grpo: Path

    @property
    def taken(self) -> bool:
        """Whether one of the two folders is there."""
        return self.sft.exists() or self.grpo.exists()

    @property
    def unfinished(self) -> bool:
        """Whether this demo was begun here and has not come to its end."""
        return self.sft.exists() and not (_finished(self.sft) and _finished(self.grpo))


def demos(root: Path, name: str = "demo") -> Iterator[Demo]:
    """The demos of this folder in order, those that are there and then those that are not.

    >>> next(demos(Path("runs"))).grpo.as_posix()
    'runs/demo'
    """
    for number in itertools.count(1):
        stem = name if number == 1 else f"{name}-{number}"
        yield Demo(root / f"{stem}-sft", root / stem)


def main(*, quick: bool = False, root: str | Path = "runs", stream: TextIO | None = None) -> int:
    """The demo's exit code: 0 if the goal was reached; 130 or 143 if a signal stopped it.

    `quick` does a few iterations in runs/demo-quick, only to see that everything works.
    """
    torch.set_num_threads(1)  # products this small lose more by waiting than they gain
    console = Console(file=stream or sys.stdout, highlight=False)
    demo = _next(demos(Path(root), "demo-quick" if quick else "demo"))
    begin = time.monotonic()
    few = _QUICK if quick else ()
    try:
        console.print(
            "Sums are written ones first, as one adds by hand: 37+45=28 says 82.\n"
            "[bold]1  Imitate[/]: SFT from scratch on sums of which about half are right."
        )
        sft = _run("sft/arithmetic", demo.sft, [*_IMITATE, *few])
        console.print("[bold]2  Improve[/]: GRPO on a reward that checks the sum.")
        grpo = _run("grpo/arithmetic", demo.grpo, [f"world.model={sft.model_dir}", *_IMPROVE, *few])
    except Stopped as stopped:
        again = "logpi demo --quick" if quick else "make demo"
        console.print(f"Stopped; nothing is lost. Go on with: [bold]{again}[/]")
        return _SIGNALS.get(stopped.signal, 130)
    before, after = _accuracy(sft), _accuracy(grpo)
    report = write(read(str(grpo.directory)), grpo.directory / "report.html")
    _tell(console, grpo, (before, after), report=report, seconds=time.monotonic() - begin)
    return 0 if quick or after >= GOAL else 1


def _next(known: Iterator[Demo]) -> Demo:
    """The first demo that is begun and unfinished, else the first free one."""
    for demo in known:
        if demo.unfinished or not demo.taken:
            return demo
    raise RunError("no free name was found for the demo.")  # the names never end


def _finished(directory: Path) -> bool:
    return (directory / "model").is_dir()


def _run(preset: str, directory: Path, overrides: Sequence[str]) -> Run:
    """The finished run of a preset: as it was found, gone on with, or new."""
    if _finished(directory):
        return Run(directory)
    if directory.exists():
        return train_config(read_config(directory), directory=directory, resume=True)
    return train_config(load_config(preset, overrides), directory=directory)


def _accuracy(run: Run) -> float:
    """The share of held-out sums that greedy decoding of the finished run gets right."""
    return next(float(line[_CORRECT]) for line in reversed(run.metrics) if _CORRECT in line)


def _tell(
    console: Console, run: Run, accuracy: tuple[float, float], *, report: Path, seconds: float
) -> None:
    examples = int(run.metrics[-1].get("eval/examples", 0))
    console.print(f"Greedy decoding on {examples} problems that neither phase trained on:")
    table = Table()
    for name in ("", "before: SFT", "after: GRPO"):
        table.add_column(name, justify="right")
    table.add_row("correct", *(f"{share:.1%}" for share in accuracy))
    console.print(table)
    console.print(f"{seconds:.0f} s. The report: [bold]{report}[/]", soft_wrap=True)
    console.print(
        f"Next: logpi show {run.directory}, logpi evaluate {run.directory}", soft_wrap=True
    )
    if accuracy[1] < GOAL:
        console.print(f"[red]The goal was {GOAL:.0%}.[/]")
