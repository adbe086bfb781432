"""The place after every iteration, written so cheaply that it can be: what a killed process leaves.

    checkpoints/latest-0  checkpoints/latest-1    SHA-256 of the rest, then safetensors

The two are overwritten by turns, so one of them is always whole. Nothing is fsynced: a process that
is killed loses nothing of what it wrote. A machine that loses power may, and then there are the
checkpoints, which are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from logpi.train.checkpoint import Checkpoint

__all__ = ["Latest"]

_NAMES = ("latest-0", "latest-1")
_LARGEST = 64 * 2**20  # bytes of tensors: what is larger is left to the checkpoints
_SHARE, _CHEAP = 0.1, 0.005  # of the time may go into writing, or so many seconds of CPU
_DIGEST = hashlib.sha256().digest_size


class Latest:
    """The two files of a run, in the folder of its checkpoints.

    >>> import tempfile
    >>> latest = Latest(Path(tempfile.mkdtemp()))
    >>> latest.write(3, {"policy": {"w": torch.ones(2)}}, {"done": 3})
    >>> found = latest.read()
    >>> found.iteration, found.tensors["policy"]["w"].tolist(), found.state
    (3, [1.0, 1.0], {'done': 3})
    """

    def __init__(self, root: Path) -> None:
        """Of the checkpoints in `root`."""
        self._paths = [root / name for name in _NAMES]
        found = [x.iteration if (x := _read(path)) else -1 for path in self._paths]
        self._turn, self._too_large = found.index(min(found)), False
        self._took: deque[float] = deque(maxlen=3)  # seconds of CPU, the last times
        self._written = time.perf_counter()

    def due(self) -> bool:
        """Whether the place is worth writing: what takes long is not, every time."""
        if self._too_large:
            return False
        passed = time.perf_counter() - self._written
        return min(self._took, default=0.0) <= max(_CHEAP, _SHARE * passed)

    def write(
        self, iteration: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> None:
        """Nothing; the older of the two files holds the place after this iteration.

        Where the tensors are too large, or the disk is full, it is left to the checkpoints.
        """
        every = (x for group in tensors.values() for x in group.values())
        if sum(x.numel() * x.element_size() for x in every) > _LARGEST:
            self._too_large = True
            return
        began = time.thread_time()
        whole = _packed(iteration, tensors, state)
        path = self._paths[self._turn]
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
                file.write(hashlib.sha256(whole).digest() + whole)
                file.truncate()
            self._turn = 1 - self._turn
        self._written = time.perf_counter()
        self._took.append(time.thread_time() - began)

    def read(self) -> Checkpoint | None:
        """The newer of the two that are whole, and whether the other is; None where none is."""
        found = {path: x for path in self._paths if (x := _read(path)) is not None}
        torn = [path.name for path in self._paths if path not in found and path.exists()]
        last = max(found.values(), key=lambda x: x.iteration, default=None)
        skipped = tuple(f"{name} was skipped: it is not whole" for name in torn)
        return None if last is None else replace(last, skipped=skipped)

    def remove(self) -> None:
        """Nothing; a checkpoint holds more than these files, which are gone."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _packed(
    iteration: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> bytes:
    """The bytes of all tensors of a dtype one after the other, which takes a tenth of the time."""
    flat: dict[str, list[Tensor]] = {}
    places: list[tuple[str, str, str, list[int]]] = []
    for part, group in tensors.items():
        for name, x in group.items():
            kind = str(x.dtype)
            flat.setdefault(kind, []).append(x.detach().reshape(-1).cpu())
            places.append((part, name, kind, list(x.shape)))
    told = {"iteration": iteration, "parts": list(tensors), "places": places, "state": dict(state)}
    metadata = {"told": json.dumps(told, allow_nan=False)}
    whole = {kind: torch.cat(xs).view(torch.uint8).numpy() for kind, xs in flat.items()}
    return save(whole, metadata=metadata)


def _read(path: Path) -> Checkpoint | None:
    """What the file holds, or None where it is not whole."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    whole = raw[_DIGEST:]
    if hashlib.sha256(whole).digest() != raw[:_DIGEST]:
        return None
    with contextlib.suppress(SafetensorError, ValueError, KeyError, AttributeError):
        size = int.from_bytes(whole[:8], "little")
        told = json.loads(json.loads(whole[8 : 8 + size])["__metadata__"]["told"])
        flat = {kind: _of_bytes(x, kind) for kind, x in load(whole).items()}
        at: dict[str, int] = {}
        tensors: dict[str, dict[str, Tensor]] = {part: {} for part in told["parts"]}
        for part, name, kind, shape in told["places"]:
            first = at.get(kind, 0)
            at[kind] = first + torch.Size(shape).numel()
            tensors[part][name] = flat[kind][first : at[kind]].reshape(shape).clone()
        return Checkpoint(int(told["iteration"]), tensors, told["state"])
    return None


def _of_bytes(x: ndarray, kind: str) -> Tensor:
    dtype = getattr(torch, kind.removeprefix("torch."))
    return torch.from_numpy(x.copy()).view(dtype) if x.size else torch.empty(0, dtype=dtype)
