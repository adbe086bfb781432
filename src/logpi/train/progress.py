"""What a run shows while it runs: a live line in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from logpi.core.missing import COUNTED, missing

__all__ = ["Reporter", "clock", "headline"]

_EVERY = 5.0  # seconds between plain lines


class Reporter:
    """The progress of a run on `stream`: iteration, reward or return, KL, speed, time left.

    In a terminal one live line, of as many figures as it has room for; elsewhere a plain line about
    every five seconds, the first and the last iteration always, without control characters. The
    last held-out figure stays, and missing rewards are counted, from `before` on, the figures of
    earlier iterations. `decisions` is what the world calls them; `quiet` shows nothing at all.

    >>> import io
    >>> with Reporter(2, stream=io.StringIO()) as reporter:
    ...     reporter.update(1, {"reward": 0.5})
    ...     print(reporter.stream.getvalue().split(" · ")[:2])
    ['iteration 1/2', 'reward 0.500']
    """

    def __init__(
        self,
        iterations: int,
        *,
        done: int = 0,
        before: Iterable[Mapping[str, Any]] = (),
        title: str = "",
        decisions: str = "decisions",
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self.stream = sys.stdout if stream is None else stream
        self._iterations, self._first, self._title, self._quiet = iterations, done, title, quiet
        self._decisions = decisions
        self._begin = time.monotonic()
        self._last = -_EVERY
        self._kept: dict[str, Any] = {}
        for line in before:
            self._keep(line)
        self._live: Progress | None = None
        self._task = TaskID(0)
        if not quiet and self.stream.isatty():
            console = Console(file=self.stream)
            live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=_bar(console.width)),
                MofNCompleteColumn(table_column=Column(min_width=2 * len(str(iterations)) + 1)),
                TextColumn("{task.fields[figures]}", markup=False),
                console=console,
                refresh_per_second=4,
            )
            self._task = live.add_task(
                title or "train", total=iterations, completed=done, figures=""
            )
            self._live = live

    def update(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Nothing; `iteration` iterations are done and these are the last one's figures."""
        spent = time.monotonic() - self._begin
        finished = max(1, iteration - self._first)
        left = spent / finished * (self._iterations - iteration)
        self._keep(metrics)
        figures = headline({**metrics, **self._kept}, decisions=self._decisions)
        last = [f"{clock(left)} left"] if iteration < self._iterations else []
        if self._live is not None:
            while figures and len(" · ".join([*figures, *last])) > self._room():
                figures.pop()
            figures = " · ".join([*figures, *last])
            self._live.update(self._task, completed=iteration, figures=figures)
        elif not self._quiet and (iteration >= self._iterations or spent - self._last >= _EVERY):
            self._last = spent
            title = f"{self._title} " if self._title else ""
            self._write(
                " · ".join([f"{title}iteration {iteration}/{self._iterations}", *figures, *last])
            )

    def say(self, text: str) -> None:
        """Nothing; the text stands above the live line, or on a line of its own."""
        if self._live is not None:
            self._live.console.print(Text(text))
        elif not self._quiet:
            self._write(text)

    def __enter__(self) -> Self:
        """Itself, with the live line begun."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing; the last line stays."""
        if self._live is not None:
            self._live.stop()

    def _room(self) -> int:
        """Characters that a terminal's line has left for figures."""
        assert self._live is not None
        count, gaps = 2 * len(str(self._iterations)) + 1, 3
        width = self._live.console.width
        return width - len(self._title or "train") - count - gaps - _bar(width)

    def _keep(self, metrics: Mapping[str, Any]) -> None:
        counted = {name: self._kept.get(name, 0) + metrics.get(name, 0) for name in COUNTED}
        evaluated = {name: value for name, value in metrics.items() if name.startswith("eval/")}
        self._kept |= {**counted, **evaluated}

    def _write(self, text: str) -> None:
        safe = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self.stream.write(safe.encode(encoding, "replace").decode(encoding) + "\n")
        self.stream.flush()


def _bar(width: int) -> int:
    return 20 if width >= 120 else 6


def headline(metrics: Mapping[str, Any], *, decisions: str = "decisions") -> list[str]:
    """The figures worth a look, as text, what matters most first: those that the metrics have.

    `decisions` is what they are called: tokens, of a language model.

    >>> headline(
    ...     {
    ...         "reward": 0.25,
    ...         "kl_reference": 0.001,
    ...         "decisions": 500,
    ...         "seconds": 0.5,
    ...         "skipped": 0.4,
    ...     }
    ... )
    ['reward 0.250', 'KL 0.0010', '1,000 decisions/s', '40% skipped']
    """
    shown: list[str] = []
    for key, label, form in _FIGURES:
        if isinstance(value := metrics.get(key), int | float):
            shown.append(f"{label} {value:{form}}")
    if lacking := missing([metrics]):
        shown.append(f"missing {lacking}")
    held_out = (one for one in _HELD_OUT if isinstance(metrics.get(one[0]), int | float))
    for key, label, form in list(held_out)[:1]:
        shown.append(f"{label} {metrics[key]:{form}}")
    known = (metrics[name] for name in ("kl_reference", "kl", "kl_old") if name in metrics)
    if isinstance(kl := next(known, None), int | float):
        shown.append(f"KL {kl:.4f}")
    count, seconds = metrics.get("decisions"), metrics.get("seconds")
    if count and seconds:
        shown.append(f"{count / seconds:,.0f} {decisions}/s")
    if isinstance(skipped := metrics.get("skipped"), int | float):
        shown.append(f"{skipped:.0%} skipped")
    return shown


_HELD_OUT = (
    ("eval/reward", "held-out reward", ".3f"),
    ("eval/return", "evaluated return", ".4g"),
    ("eval/preferred", "held-out preferred", ".0%"),
    ("eval/nll", "held-out nll", ".4f"),
)


_FIGURES = (
    ("reward", "reward", ".3f"),
    ("return", "return", ".4g"),
    ("nll", "nll", ".4f"),
    ("margin", "margin", ".3f"),
    ("preferred", "preferred", ".0%"),
)


def clock(seconds: float) -> str:
    """A duration as a person reads it.

    >>> clock(5), clock(65), clock(3700)
    ('0:05', '1:05', '1:01:40')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
