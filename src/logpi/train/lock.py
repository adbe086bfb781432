"""`Lock`: one process writes a run directory; its lock ends when it does, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import weakref
from pathlib import Path

from logpi.core.errors import RunError

try:
    import fcntl
except ImportError:  # Windows: there the file only tells who writes, and holds nobody back
    fcntl = None

__all__ = ["Lock"]


class Lock:
    """The right to write a folder, until `release` or the end of the process.

    The file `.lock` stays behind and says who wrote last; only the system's lock on it counts, so a
    killed process leaves nothing stale. What this process forks does not have the lock, and so does
    not keep it where it lives longer. Raises `RunError` where another process has it.

    >>> import tempfile
    >>> lock = Lock(Path(tempfile.mkdtemp()))
    >>> lock.release()
    """

    def __init__(self, folder: Path) -> None:
        path = folder / ".lock"
        try:
            self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror or error}.") from error
        try:
            if fcntl is not None:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(path)
            self.release()
            raise RunError(
                f"{folder} is being written by another process{holder}. Wait for it or stop it; "
                "reading the run is always possible."
            ) from None
        except OSError:
            pass  # a filesystem without locks: go on as if there were nobody else
        _HELD.add(self)
        with contextlib.suppress(OSError):  # a full disk must not keep a run from being resumed
            os.ftruncate(self._handle, 0)
            os.write(
                self._handle, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()
            )

    def release(self) -> None:
        """Nothing; another process may have the lock now."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


_HELD: weakref.WeakSet[Lock] = weakref.WeakSet()


def _release_all() -> None:
    for lock in list(_HELD):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {told['pid']} on {told['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
