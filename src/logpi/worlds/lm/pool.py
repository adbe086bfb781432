"""`Pool`: reward workers and the rows on their way through them."""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from logpi.core.errors import RewardError
from logpi.worlds.lm.worker import HEADER, frame

__all__ = ["Lost", "NotARewardError", "Pool"]

_STARTUP = 120.0  # seconds to import what the functions need: a reward may load a model
_CHUNK = 64  # rows at most in one frame
_READ = 1 << 16

Row = tuple[int, str, str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lost:
    """A verdict that did not come, and why."""

    why: str


class Pool:
    """Worker processes that evaluate functions row by row.

    One thread, no locks: the parent waits on all pipes at once. A worker that takes longer than
    `timeout` for one call, or dies, is replaced, and what it had not begun is given to others.
    """

    def __init__(
        self,
        functions: Sequence[tuple[bytes, frozenset[str] | None]],
        *,
        modules: Sequence[str] = (),
        workers: int = 1,
        timeout: float = 5.0,
    ) -> None:
        path = [entry or os.getcwd() for entry in sys.path]
        self._load = frame(("load", path, list(modules), list(functions), timeout))
        self._path = path
        self._functions = len(functions)
        self._timeout = timeout
        self._workers: list[_Worker | None] = [None] * workers
        self._finalizer = weakref.finalize(self, _end, self._workers)

    def start(self) -> None:
        """Start the workers without waiting for them."""
        for i, worker in enumerate(self._workers):
            if worker is None:
                self._workers[i] = _Worker(self._load, self._path)

    def close(self) -> None:
        """End the workers; they start again when they are needed."""
        _end(self._workers)

    def run(self, rows: Sequence[Row], *, patience: int) -> dict[tuple[int, int], Any]:
        """Return {(row, function): value or Lost}.

        Incomplete once more than `patience` workers were lost.

        Raises `RewardError` where a function returns what is no reward, or cannot be loaded.
        """
        results: dict[tuple[int, int], Any] = {}
        pending = deque(rows)
        chunk = max(1, min(_CHUNK, -(-len(rows) // (4 * len(self._workers)))))
        lost = 0
        self._look_after()
        try:
            while lost <= patience and (
                pending or any(w is not None and w.row for w in self._workers)
            ):
                self.start()
                for worker in self._workers:
                    if worker is not None and worker.ready and not worker.row and pending:
                        batch = [pending.popleft() for _ in range(min(chunk, len(pending)))]
                        worker.give(batch, self._timeout)
                lost += self._advance(results, pending)
        except BaseException:
            # Ctrl-C too: workers in the middle of a row know nothing of the next call.
            self.close()
            raise
        if lost > patience:
            self.close()
        return results

    def _look_after(self) -> None:
        """Make up for the time in which nobody listened to the workers."""
        for i, worker in enumerate(self._workers):
            if worker is not None and not worker.ready:
                # What it said since it was started has not been read: only waiting counts as late.
                worker.deadline = time.monotonic() + _STARTUP
            elif worker is not None and worker.process.poll() is not None:
                self._workers[i] = None  # it ended between two calls: no row is to blame
                worker.end()

    def _advance(self, results: dict[tuple[int, int], Any], pending: deque[Row]) -> int:
        """Wait for one thing to happen; return how many workers were lost."""
        live = [w for w in self._workers if w is not None]
        heard = _wait(live)
        lost = 0
        for i, worker in enumerate(self._workers):
            if worker is None:
                continue
            if worker in heard:
                for message in worker.receive():
                    self._take(worker, message, results)
            elif time.monotonic() > worker.deadline:
                worker.failure = f"took longer than {self._timeout:g} s"
            if worker.failure:
                self._workers[i] = None
                worker.end()
                lost += 1
                self._bury(worker, results, pending)
        return lost

    def _take(
        self, worker: _Worker, message: tuple[Any, ...], results: dict[tuple[int, int], Any]
    ) -> None:
        if message[0] == "ready":
            worker.ready, worker.deadline = True, float("inf")
            return
        if message[0] == "failed":
            raise RewardError(f"the reward could not be loaded in its worker process. {message[1]}")
        kind, row, function, value = message
        if kind == "wrong":
            prompt = next(waiting[1] for waiting in worker.row if waiting[0] == row)
            raise NotARewardError(
                function, f"{value}. The prompt was {prompt[:80]!r}, in row {row}"
            )
        results[row, function] = Lost(value) if kind == "raised" else value
        worker.function += 1
        worker.deadline = time.monotonic() + self._timeout
        if worker.function == self._functions:
            worker.row.popleft()
            worker.function = 0
            if not worker.row:
                worker.deadline = float("inf")

    def _bury(
        self, worker: _Worker, results: dict[tuple[int, int], Any], pending: deque[Row]
    ) -> None:
        if not worker.ready:
            raise RewardError(
                "a reward worker "
                f"{worker.failure if worker.died else f'was not ready after {_STARTUP:g} s'}, "
                "before its first row. Look at what the reward's module does when it is imported."
            )
        if worker.row:
            results[worker.row[0][0], worker.function] = Lost(worker.failure)
            for function in range(worker.function + 1, self._functions):
                results[worker.row[0][0], function] = Lost(worker.failure)
            worker.row.popleft()
            pending.extendleft(reversed(worker.row))


class NotARewardError(Exception):
    """A function returned what is no reward: (function, why), for `Rewards` to name it."""


class _Worker:
    """One process, its pipes, and the rows it was given."""

    def __init__(self, load: bytes, path: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            # -P: no module is taken from the current folder because it happens to be there.
            [sys.executable, "-P", "-m", "logpi.worlds.lm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            start_new_session=True,  # Ctrl-C is the parent's; its children end with it
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.inward, self.outward = self.process.stdin, self.process.stdout
        os.set_blocking(self.inward.fileno(), False)
        self.outbox = memoryview(load)
        self.inbox = bytearray()
        self.row: deque[Row] = deque()  # what it was given and has not finished
        self.function = 0  # which one of the first of these rows it is at
        self.ready = False
        self.died = False
        self.failure = ""
        self.deadline = time.monotonic() + _STARTUP
        self.send()

    def give(self, rows: list[Row], timeout: float) -> None:
        self.row = deque(rows)
        self.function = 0
        self.outbox = memoryview(frame(("rows", rows)))
        self.deadline = time.monotonic() + timeout
        self.send()

    def send(self) -> None:
        try:
            while self.outbox:
                self.outbox = self.outbox[os.write(self.inward.fileno(), self.outbox) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._dead()

    def receive(self) -> list[tuple[Any, ...]]:
        data = os.read(self.outward.fileno(), _READ)
        if not data:
            self._dead()
        self.inbox += data
        messages: list[tuple[Any, ...]] = []
        while len(self.inbox) >= HEADER.size:
            (size,) = HEADER.unpack_from(self.inbox)
            if len(self.inbox) < HEADER.size + size:
                break
            # From our own child, through our own pipe: see worker.py.
            messages.append(pickle.loads(self.inbox[HEADER.size : HEADER.size + size]))
            del self.inbox[: HEADER.size + size]
        return messages

    def _dead(self) -> None:
        self.died = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        code = self.process.returncode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        self.failure = f"ended its process ({how})"

    def end(self) -> None:
        # The whole session: what a reward started hangs with it, and must go with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.inward.close()
        self.outward.close()


def _wait(workers: Sequence[_Worker]) -> list[_Worker]:
    """Return the workers that said something, once one has or a deadline passes."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.outward, selectors.EVENT_READ, worker)
            if worker.outbox:
                selector.register(worker.inward, selectors.EVENT_WRITE, worker)
        soonest = min(worker.deadline for worker in workers)
        patience = None if soonest == float("inf") else max(0.0, soonest - time.monotonic())
        events = selector.select(patience)
    for key, event in events:
        if event & selectors.EVENT_WRITE:
            key.data.send()
    return [key.data for key, event in events if event & selectors.EVENT_READ]


def _end(workers: list[_Worker | None]) -> None:
    for i, worker in enumerate(workers):
        workers[i] = None
        if worker is not None:
            worker.end()
