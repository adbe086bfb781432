"""Checkpoints: named tensors and plain state in a folder that is whole or absent, and says so.

    checkpoints/<iteration>/   policy.safetensors optimizer.safetensors ... state.json MANIFEST.json

The folder is written under a temporary name; `MANIFEST.json`, written last, holds the size and
SHA-256 of every file and of itself; everything is fsynced and then renamed. Nothing here can run
code: tensors are safetensors, the rest is JSON.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from logpi.core.errors import RunError
from logpi.train.files import TEMPORARY, digest, disk_full, folder_in_one_go, sweep, sync

__all__ = ["Checkpoint", "checkpoints", "load", "newest", "problem", "prune", "save"]

_MANIFEST = "MANIFEST.json"
_STATE = "state.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was stored after an iteration. The run goes on with iteration + 1."""

    iteration: int
    tensors: dict[
        str, dict[str, Tensor]
    ]  # policy, critic, optimizer, ... -> name -> tensor, on the CPU
    state: dict[str, Any]
    skipped: tuple[
        str, ...
    ] = ()  # newer checkpoints that do not verify, and why, ready to be shown


def save(
    root: Path,
    iteration: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
) -> Path:
    """The folder of the new checkpoint, in `root`.

    Tensors that are one and the same (tied weights) are stored once and come back as one; views
    that merely share memory are stored apart. Raises `RunError` where the state is not plain JSON,
    and where the disk is full: nothing half is left behind, and what was there before is still
    there.
    """
    text = _json(state)
    final = root / str(iteration)
    older = checkpoints(root)
    survives = (
        f"The checkpoint of iteration {older[-1][0]} survives."
        if older
        else "No checkpoint had been written before."
    )
    with disk_full(final, survives):
        root.mkdir(parents=True, exist_ok=True)
    with disk_full(final, survives), folder_in_one_go(final) as folder:
        for name, group in tensors.items():
            with disk_full(final / f"{name}.safetensors", survives):
                _write_tensors(folder / f"{name}.safetensors", group)
        (folder / _STATE).write_text(text, encoding="utf-8")
        for file in folder.iterdir():
            sync(file)  # the manifest must not reach the disk before what it vouches for
        (folder / _MANIFEST).write_text(_manifest(folder, iteration), encoding="utf-8")
    return final


def checkpoints(root: Path) -> list[tuple[int, Path]]:
    """The checkpoints in `root`, whole or not, oldest first."""
    if not root.is_dir():
        return []
    return sorted((int(entry.name), entry) for entry in root.iterdir() if entry.name.isdecimal())


def problem(folder: Path) -> str | None:
    """Why the checkpoint does not verify, or None if it does."""
    try:
        files = _read_manifest(folder)
    except (OSError, ValueError) as error:
        return (
            str(error)
            if isinstance(error, ValueError)
            else f"{_MANIFEST} cannot be read ({error.strerror})"
        )
    for name, told in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != told["bytes"]:
                what = "truncated" if size < told["bytes"] else "too long"
                return f"{name} is {what}: {size} of {told['bytes']} bytes"
            if digest(path) != told["sha256"]:
                return f"{name} is not what was written (its SHA-256 differs)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def load(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises `RunError` where it does not verify."""
    if why := problem(folder):
        raise RunError(f"the checkpoint {folder} cannot be used: {why}.")
    files = _read_manifest(folder)
    tensors = {
        name.removesuffix(".safetensors"): _read_tensors(folder / name)
        for name in files
        if name.endswith(".safetensors")
    }
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    return Checkpoint(int(folder.name), tensors, state)


def newest(root: Path, latest: Checkpoint | None = None) -> Checkpoint | None:
    """The newest checkpoint that verifies, and what is wrong with newer ones; None without any.

    `latest` is one from elsewhere, taken where it is newer than those that verify. Raises
    `RunError` where there are some and none verifies.
    """
    skipped: list[str] = []
    for iteration, folder in reversed(checkpoints(root)):
        if latest is not None and latest.iteration > iteration:
            break
        why = problem(folder)
        if why is None:
            return replace(load(folder), skipped=tuple(skipped))
        skipped.append(f"checkpoint {iteration} was skipped: {why}")
    if latest is not None:
        return replace(latest, skipped=(*skipped, *latest.skipped))
    if skipped:
        raise RunError(
            f"none of the {len(skipped)} checkpoints in {root} can be used ({'; '.join(skipped)}). "
            "Restore the folder from a copy, or start a new run."
        )
    return None


def prune(root: Path, keep: int) -> None:
    """Nothing; only the `keep` newest checkpoints that verify are left, nothing unfinished."""
    whole = 0
    for _, folder in reversed(checkpoints(root)):
        if whole < keep:
            whole += problem(folder) is None
            continue
        # Renamed first: a folder that is half deleted must not look like a checkpoint.
        doomed = folder.with_name(f"{TEMPORARY}gone-{folder.name}")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    sweep(root)


def _write_tensors(path: Path, group: Mapping[str, Tensor]) -> None:
    unique: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    storages: set[int] = set()
    for name, tensor in group.items():
        if tensor.layout is not torch.strided or tensor.is_meta:
            raise RunError(
                f"`{name}` cannot be stored: it is a {tensor.layout} tensor on {tensor.device}."
            )
        tensor = tensor.detach()
        identity = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and identity in first:
            aliases[name] = first[identity]
            continue
        first[identity] = name
        storage = tensor.untyped_storage().data_ptr()
        shares = tensor.numel() > 0 and storage in storages
        storages.add(storage)
        partial = tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()
        whole = tensor.cpu().contiguous()
        unique[name] = whole.clone() if shares or partial else whole
    save_file(unique, path, metadata={"aliases": json.dumps(aliases)})


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # Cloned, because the file is mapped and may be pruned while the run goes on.
            names = list(file.keys())
            tensors = {name: file.get_tensor(name).clone() for name in names}
            aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    except SafetensorError as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    return {**tensors, **{name: tensors[one] for name, one in aliases.items()}}


def _json(state: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(state, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"the state of a checkpoint must be plain JSON, but {error}.") from None
    if json.loads(text) != state:
        raise RunError(
            "the state of a checkpoint would come back changed: use text as keys, lists instead of "
            "tuples, and only numbers, text, booleans and null."
        )
    return text


def _manifest(folder: Path, iteration: int) -> str:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(folder.iterdir())
    }
    return _sealed({"format": _FORMAT, "iteration": iteration, "files": files})


def _sealed(told: dict[str, Any]) -> str:
    seal = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return json.dumps({**told, "seal": seal}, indent=1) + "\n"


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    raw = (folder / _MANIFEST).read_bytes()
    try:
        told = json.loads(raw)
        seal = {key: value for key, value in told.items() if key != "seal"}
        whole = _sealed(seal).encode() == raw and isinstance(told["files"], dict)
    except (ValueError, AttributeError, KeyError, TypeError):
        whole, told = False, {}
    if not whole:
        raise ValueError(f"{_MANIFEST} is damaged")
    if told.get("format") != _FORMAT:
        raise ValueError(
            f"{_MANIFEST} has format {told.get('format')}; this version reads {_FORMAT}"
        )
    if told.get("iteration") != int(folder.name):
        raise ValueError(f"{_MANIFEST} is that of iteration {told.get('iteration')}")
    return told["files"]
