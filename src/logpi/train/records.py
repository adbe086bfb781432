"""Files of one JSON object a line: appended whole, read with a torn end, cut back."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from logpi.train.files import TEMPORARY, disk_full, sync

__all__ = ["append_lines", "as_lines", "cut_after", "read_lines"]


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Nothing; the rows are at the end of the file, all of them or none.

    NaN and infinities become null, which JSON has. Raises `RunError` where the disk is full.
    """
    text = as_lines(rows)
    if not text:
        return
    survives = "What was written before survives, and so do the checkpoints."
    with disk_full(path, survives):
        before = path.stat().st_size if path.exists() else None
        try:
            with path.open("ab") as file:
                file.write(text.encode("utf-8"))
        except OSError:
            with contextlib.suppress(OSError):  # half a line helps nobody, and this needs no space
                path.unlink() if before is None else os.truncate(path, before)
            raise


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    r"""The rows as text, one JSON object a line; NaN and infinities become null.

    >>> as_lines([{"reward": math.nan}])
    '{"reward": null}\n'
    """
    text = "".join(_line(row) for row in rows)
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is no text


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the file, in order; lines that are torn or damaged are passed over.

    A run that was killed, or is still writing, leaves a torn last line.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            row = _parsed(line)
            if row is not None:
                yield row


def cut_after(path: Path, iteration: int | None) -> int:
    """How many lines were dropped: those after `iteration` (all, if None), and torn ones.

    The file is rewritten beside itself and renamed, so that a crash leaves the old one or the new
    one.
    """
    if not path.exists():
        return 0
    dropped = 0
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with open(handle, "wb") as kept, path.open("rb") as lines:
            for line in lines:
                if iteration is not None and _belongs(line, iteration):
                    kept.write(line)
                else:
                    dropped += 1
            kept.flush()
            os.fsync(kept.fileno())
        if not dropped:
            return 0
        os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    sync(path.parent)
    return dropped


def _belongs(line: bytes, iteration: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    row = _parsed(line.decode("utf-8", "replace"))
    number = row.get("iteration") if row is not None else None
    return isinstance(number, int) and number <= iteration


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _line(row: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):  # tensors, or what is not finite: looked for one by one
        text = json.dumps(_finite(row), ensure_ascii=False)
    return text + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if hasattr(value, "tolist"):  # tensors and NumPy scalars
        return _finite(value.tolist())
    return value
