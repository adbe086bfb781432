"""How many threads torch and NumPy's BLAS take: one, where products are small.

Threads that wait for each other at every product of a small net lose more than they gain, the more
so where several runs share the machine's cores.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["blas_threads", "threads"]

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "")


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """A context in which torch and NumPy's BLAS take that many threads; 0 leaves them as they are.

    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    if not count:
        yield
        return
    before, known = torch.get_num_threads(), _blas()
    numbers = [get() for get, _ in known]
    torch.set_num_threads(count)
    for _, put in known:
        put(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        for (_, put), number in zip(known, numbers, strict=True):
            put(number)


def blas_threads() -> int | None:
    """How many threads NumPy's BLAS takes; None where it is not the OpenBLAS that comes with it.

    >>> with threads(1):
    ...     blas_threads() in (1, None)
    True
    """
    known = _blas()
    return known[0][0]() if known else None


@cache
def _blas() -> list[tuple[Any, Any]]:
    """What reads and what sets the number, of each OpenBLAS that came with NumPy."""
    folder = Path(np.__file__).parent
    places = [folder.parent / "numpy.libs", folder / ".dylibs"]
    files = [f for place in places if place.is_dir() for f in place.glob("*openblas*")]
    found: list[tuple[Any, Any]] = []
    for file in files:
        with contextlib.suppress(OSError):  # a library of another kind: then nothing is set
            library = ctypes.CDLL(str(file))
            names = ((a, b) for a in _PREFIXES for b in _SUFFIXES)
            pairs = ((f"{a}_get_num_threads{b}", f"{a}_set_num_threads{b}") for a, b in names)
            both = next((p for p in pairs if all(hasattr(library, n) for n in p)), None)
            if both is not None:
                found.append((getattr(library, both[0]), getattr(library, both[1])))
    return found
