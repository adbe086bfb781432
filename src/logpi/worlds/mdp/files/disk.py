"""Files written whole or not at all, and read with a word on what is wrong with them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from logpi.core.errors import ModelError

__all__ = ["reading", "writing"]


@contextmanager
def writing(*paths: Path, overwrite: bool) -> Iterator[tuple[BinaryIO, ...]]:
    """Open files that become `paths` once the block has ended without an error.

    Each is written beside its place, synced, and renamed; when the block raises, nothing is left
    and what was there before stays.

    Raises `ModelError` where a file exists and `overwrite` is False, or cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x"
    >>> with writing(path, overwrite=False) as (file,):
    ...     _ = file.write(b"whole")
    >>> path.read_bytes()
    b'whole'
    """
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise ModelError(
                f"{path} exists{' and is a folder' if path.is_dir() else ''}: "
                "choose another name, or pass `overwrite=True`."
            )
    beside = [path.with_name(f".{path.name}.{secrets.token_hex(4)}") for path in paths]
    try:
        with ExitStack() as stack:
            files = tuple(stack.enter_context(open(name, "xb")) for name in beside)
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for name, path in zip(beside, paths, strict=True):
            os.replace(name, path)
        for folder in {path.parent for path in paths}:
            _sync_folder(folder)
    except OSError as error:
        raise ModelError(f"{paths[0]} cannot be written: {error.strerror or error}.") from error
    finally:
        for name in beside:
            with suppress(OSError):  # renamed already, or never made
                os.unlink(name)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every filesystem syncs folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The open file.

    Raises `ModelError`, which names it, where it cannot be read; and puts its name before any
    `ModelError` that the block raises.

    >>> with reading(Path("nowhere.npz")):
    ...     pass
    Traceback (most recent call last):
        ...
    logpi.core.errors.ModelError: nowhere.npz cannot be read: No such file or directory.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
