"""The process in which rewards run: `python -m logpi.worlds.lm.worker`, fed through its pipes.

A frame is eight bytes of length and a pickle of a tuple. Pickle is no file format here: parent and
child are one program, the bytes live in a pipe between them and nowhere else, and the child has to
run the parent's code anyway.

    parent -> worker   ("load", sys.path, modules to import, [(cloudpickle, columns or None), ...],
    seconds)   once
                       ("rows", [(row, prompt, completion, columns), ...])
    worker -> parent   ("ready",)  or  ("failed", why)
                       ("value", row, function, number | list of numbers | None)   for every row and
                       function ("raised", row, function, why)      the function raised: no verdict
                       ("wrong", row, function, why)       it returned what is no reward: a bug

Only the standard library is imported here: a worker starts in a tenth of a second.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import inspect
import os
import pickle
import queue
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["HEADER", "frame", "main", "number"]

HEADER = struct.Struct(">Q")
"""The length of the pickle that follows."""

_FAREWELL = 1.0  # seconds that a running function is given once the parent is gone
_LAST_RESORT = 2.0  # how many times its time a function may run before the process ends itself


def frame(message: tuple[Any, ...]) -> bytes:
    """Return a message as it goes through a pipe.

    >>> HEADER.unpack_from(frame(("ready",)))[0] == len(frame(("ready",))) - HEADER.size
    True
    """
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(body)) + body


def number(value: Any) -> float | list[float] | None:
    """Return a reward as plain numbers; raises TypeError for what is none.

    >>> number(True), number([1, 0.5]), number(None)
    (1.0, [1.0, 0.5], None)
    """
    if value is None:
        return None
    if isinstance(value, int | float):  # bool is an int
        try:
            return float(value)
        except OverflowError:  # a whole number beyond every float is none that can be used
            return float("inf") if value > 0 else float("-inf")
    if isinstance(value, list | tuple):
        return [_one(x) for x in value]
    if hasattr(value, "tolist"):  # a NumPy or torch scalar or vector
        return number(value.tolist())
    raise TypeError(_not_a_reward(value))


def _one(value: Any) -> float:
    if value is None:
        return float("nan")  # a step without a verdict: the row has none
    plain = number(value)
    if not isinstance(plain, float):
        raise TypeError(_not_a_reward(value))
    return plain


def _not_a_reward(value: Any) -> str:
    given = f"{type(value).__name__} {ascii(value)[:80]}"
    return f"returned {given}, not a number, a list of numbers, or None"


def main() -> None:
    """Serve the parent until it closes the pipe."""
    # The protocol keeps the real pipes; a print in a reward goes to stderr, and input() finds
    # nothing.
    inward, outward = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    frames: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inward, frames), daemon=True).start()

    def send(*message: Any) -> None:
        data = memoryview(frame(message))
        while data:
            data = data[os.write(outward, data) :]

    with contextlib.suppress(BrokenPipeError):  # the parent is gone: nobody is left to tell
        _serve(frames, send)


def _listen(inward: int, frames: queue.SimpleQueue[tuple[Any, ...] | None]) -> None:
    # In a thread of its own, so that the parent's end is seen even while a function runs. Functions
    # run in the main thread, where the alarms of math-verify work.
    with open(inward, "rb", buffering=1 << 16) as pipe:
        while len(head := pipe.read(HEADER.size)) == HEADER.size:
            (size,) = HEADER.unpack(head)
            if len(body := pipe.read(size)) < size:
                break
            frames.put(pickle.loads(body))
    frames.put(None)
    time.sleep(_FAREWELL)
    os._exit(0)


def _serve(frames: queue.SimpleQueue[tuple[Any, ...] | None], send: Callable[..., None]) -> None:
    first = frames.get()
    if first is None:
        return
    _, path, modules, pickled, limit = first
    try:
        functions = list(_load(path, modules, pickled))
    except BaseException as error:  # whatever a user's module does when it is imported
        send("failed", _told(error))
        return
    send("ready")
    with open(os.devnull, "w") as nowhere:
        while (message := frames.get()) is not None:
            rows = message[1]
            # The parent ends a worker that hangs. Should the parent die first, this ends it: a C
            # thread which needs no interpreter lock, and a runaway regular expression holds that
            # lock for ever.
            allowed = _LAST_RESORT * limit * len(functions) * len(rows) + _FAREWELL
            faulthandler.dump_traceback_later(allowed, file=nowhere, exit=True)
            _score(rows, functions, send)
            faulthandler.cancel_dump_traceback_later()


def _load(
    path: list[str], modules: list[str], pickled: list[tuple[bytes, frozenset[str] | None]]
) -> Iterator[Callable[..., Any]]:
    sys.path[:] = path
    for module in modules:
        importlib.import_module(module)
    for body, columns in pickled:
        yield _narrow(pickle.loads(body), columns)


def _narrow(function: Callable[..., Any], only: frozenset[str] | None) -> Callable[..., Any]:
    """Return the function of a prompt, a completion and all columns; it sees some of them."""
    named, anything = _keywords(function)
    needed = {name for name, optional in named.items() if not optional} & (only or named.keys())

    def call(prompt: str, completion: str, columns: dict[str, Any]) -> Any:
        if absent := needed - columns.keys():
            told = _list(columns) or "none"
            raise _WrongCallError(
                f"asks for {_list(absent)}, but the columns of the row are: {told}"
            )
        given = {
            name: value
            for name, value in columns.items()
            if (only is None or name in only) and (anything or name in named) and name not in _FIRST
        }
        return function(prompt, completion, **given)

    return call


_FIRST = ("prompt", "completion")


def _keywords(function: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Return the parameters after two as {name: optional}, and whether others are taken."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C tell nothing about themselves
        return {}, True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = [p for p in parameters if p.kind is p.KEYWORD_ONLY] + positional[2:]
    named = {p.name: p.default is not p.empty for p in rest}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


class _WrongCallError(TypeError):
    """The row does not hold what the function asks for: a mistake in the set-up."""


def _list(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _score(
    rows: list[tuple[Any, ...]], functions: list[Callable[..., Any]], send: Callable[..., None]
) -> None:
    for row, prompt, completion, columns in rows:
        for which, function in enumerate(functions):
            try:
                value = function(prompt, completion, columns)
            except _WrongCallError as error:
                send("wrong", row, which, str(error))
                continue
            except (
                BaseException
            ) as error:  # SystemExit, and math-verify's timeout, which is no Exception
                send("raised", row, which, _told(error))
                continue
            try:
                send("value", row, which, number(value))
            except TypeError as error:
                send("wrong", row, which, str(error))


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300].rstrip(": ")


if __name__ == "__main__":
    main()
