"""`Interrupt`: the first Ctrl-C asks the loop to stop cleanly, the second stops it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupt"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class Interrupt:
    """A context in which SIGINT and SIGTERM set `requested` instead of ending the program.

    The loop looks at it once an iteration, writes a checkpoint and leaves. A second signal raises
    `KeyboardInterrupt` at once. Only the main thread may own signal handlers: in any other one this
    does nothing.

    >>> with Interrupt() as interrupt:
    ...     bool(interrupt)
    False
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.requested: str | None = None  # the name of the signal that asked
        self._quiet = quiet
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.requested is not None

    def __enter__(self) -> Self:
        """The context, with the handlers in place."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing; the handlers that were there before are back."""
        while self._before:
            number, handler = self._before.popitem()
            # None: a handler that was not installed from Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.requested is not None:
            raise KeyboardInterrupt(f"{name}, after {self.requested}")
        self.requested = name
        if not self._quiet:
            _say(
                f"\n{name}: stopping after this iteration, with a checkpoint to resume from. "
                "Once more stops at once and keeps the last checkpoint.\n"
            )


def _say(text: str) -> None:
    # A handler may interrupt a write to sys.stderr, whose buffer must not be entered twice.
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
    except (OSError, ValueError):
        return
