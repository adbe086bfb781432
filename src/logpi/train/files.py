"""Writes that survive a crash: temporary, fsynced, renamed; and a full disk put into words."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from logpi.core.errors import ConfigError, RunError

__all__ = [
    "TEMPORARY",
    "check_directory",
    "digest",
    "disk_full",
    "folder_in_one_go",
    "sweep",
    "sync",
    "write_text",
]

TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin; nothing else in a run directory does."""

_ASIDE = f"{TEMPORARY}old-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_directory(name: str) -> str:
    """`name`, if it may name a run directory: relative, inside the working directory, printable.

    >>> check_directory("runs/first")
    'runs/first'
    """
    parts = Path(name).parts
    if not name.strip() or not name.isprintable() or "\\" in name:
        raise ConfigError(
            f"{name!r} cannot name a run. Use letters, digits, `-`, `_` and `.`, such as `first`."
        )
    if Path(name).is_absolute() or ".." in parts or name.startswith("~") or not parts:
        raise ConfigError(
            f"`{name}` cannot name a run: it leaves the working directory. Give a relative name "
            "without `..`, such as `runs/first`; from Python, `directory=` may be any path."
        )
    return name


def sync(path: Path) -> None:
    """Nothing; the file or folder is on the disk, as far as the system can tell."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # some systems do not open folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # a filesystem without fsync of folders
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Nothing; the file holds the text, or, after a crash, what it held before."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def folder_in_one_go(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends, in place of what was there.

    Every file in it is fsynced first. When the block raises, the folder goes away and `path` is as
    before. Without `replace` a `path` that exists and is not empty raises `FileExistsError`.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for inner in sorted(temporary.rglob("*")):
            sync(inner)
        sync(temporary)
        _move(temporary, path, replace)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(path.parent)


def sweep(folder: Path) -> list[str]:
    """The names of the unfinished files and folders that were removed from `folder`.

    What was moved aside for a successor that never came is put back first.
    """
    found = sorted(folder.glob(f"{TEMPORARY}*")) if folder.is_dir() else []
    for path in found:
        if path.name.startswith(_ASIDE):
            _put_back(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in found]


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_full(
    what: str | Path, survives: str, then: str = "resume the run with --resume"
) -> Iterator[None]:
    """A context that turns a full disk into a `RunError`: what survives, and what to do then.

    Its cause is the system's error. Other errors pass unchanged.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        full = _full(error)
        if full is None:
            raise
        raise RunError(
            f"there is no space left to write {what} ({full.strerror}). {survives} Free some "
            f"space, or raise the quota, and {then}."
        ) from full


def _move(temporary: Path, path: Path, replace: bool) -> None:
    if not replace or not path.exists():
        try:
            os.rename(temporary, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            raise
        return
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=path.parent))
    os.rename(path, aside / path.name)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.rename(aside / path.name, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(aside: Path) -> None:
    for old in aside.iterdir():
        if not (aside.parent / old.name).exists():
            os.rename(old, aside.parent / old.name)


def _full(error: Exception) -> OSError | None:
    """The system's error that there is no space, if it is one; safetensors tells it as text."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return error
    code = next((code for code in _FULL if f"(os error {code})" in str(error)), None)
    return None if code is None else OSError(code, os.strerror(code))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
