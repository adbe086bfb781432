"""Models in one `.npz` file, with everything that `FiniteMDP` holds; NumPy alone can read it.

The arrays are those of `FiniteMDP`, with `data`, `indices` and `indptr` for the transitions, and
`header`, JSON text as bytes: format, version, name, discount, layout, and each array's dtype and
shape. Nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from logpi.core.errors import ModelError
from logpi.worlds.mdp.csr import wrap
from logpi.worlds.mdp.files.disk import reading, writing
from logpi.worlds.mdp.model import FiniteMDP, Layout

__all__ = ["load_npz", "save_npz"]

FORMAT = "logpi finite MDP"
VERSION = 1


def save_npz(m: FiniteMDP, path: str | Path, *, overwrite: bool = False) -> None:
    """Nothing: the model is in `path`, to the bit.

    Raises `ModelError` where the file exists, unless `overwrite` is given, or cannot be written.

    >>> import tempfile
    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense([[[0.2, 0.8]], [[1.0, 0.0]]], [1.0, 0.0], 0.9, name="two")
    >>> path = Path(tempfile.mkdtemp()) / "two.npz"
    >>> save_npz(m, path)
    >>> load_npz(path)
    FiniteMDP('two', states=2, actions=1, transitions=3, discount=0.9)
    """
    t = m.transitions
    arrays = {
        "data": t.data,
        "indices": t.indices,
        "indptr": t.indptr,
        "reward": m.reward,
        "start": m.start,
        "allowed": m.allowed,
        "outcome_reward": m.outcome_reward,
        "policy": m.policy,
    }
    arrays = {name: x for name, x in arrays.items() if x is not None}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": m.name,
        "discount": m.discount,
        "layout": asdict(m.layout),
        "arrays": {name: [str(x.dtype), list(x.shape)] for name, x in arrays.items()},
    }
    text = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    with writing(Path(path), overwrite=overwrite) as (file,):
        np.savez(file, header=text, **arrays)


def load_npz(path: str | Path) -> FiniteMDP:
    """The model that `save_npz` wrote.

    Raises `ModelError`, which names the file and what is wrong with it, where it is truncated,
    damaged, of another format, or of a later version.
    """
    with reading(Path(path)) as file:
        arrays = _arrays(file)
        header = _header(arrays.pop("header", None))
        for name, (dtype, shape) in header["arrays"].items():
            x = arrays.get(name)
            if x is None or str(x.dtype) != dtype or list(x.shape) != shape:
                found = "missing" if x is None else f"{x.dtype} {list(x.shape)}"
                raise ModelError(
                    f"the array `{name}` is {found}, but the header says {dtype} {shape}: "
                    "the file is damaged."
                )
        return _model(arrays, header)


def _arrays(file: BinaryIO) -> dict[str, ndarray]:
    if file.read(4) != b"PK\x03\x04":
        raise ModelError("this is no .npz file, or its beginning is damaged.")
    file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    # zipfile, zlib and NumPy's parser each raise what they like on damaged bytes
    except Exception as error:
        raise ModelError(
            f"the file is truncated or damaged ({type(error).__name__}: {error})."
        ) from error


def _header(text: ndarray | None) -> dict[str, Any]:
    """The header, with every key that `_model` reads."""
    if text is None or text.dtype != np.uint8:
        raise ModelError("this .npz file has no `header`: `save_npz` did not write it.")
    try:
        header = json.loads(text.tobytes())
        found = header["format"], header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the header is damaged ({error}).") from error
    if found[0] != FORMAT:
        raise ModelError(f"this is a file of format {found[0]!r}, not of {FORMAT!r}.")
    if found[1] != VERSION:
        raise ModelError(
            f"this file is of version {found[1]}, and this logpi reads version {VERSION}. "
            "Upgrade logpi, or save the model again."
        )
    return header


def _model(arrays: dict[str, ndarray], header: dict[str, Any]) -> FiniteMDP:
    try:
        S, A = arrays["reward"].shape
        t = wrap(arrays["data"], arrays["indices"], arrays["indptr"], (S * A, S))
        facts = {name: arrays.get(name) for name in ("outcome_reward", "policy")}
        return FiniteMDP(
            transitions=t,
            reward=arrays["reward"],
            start=arrays["start"],
            allowed=arrays["allowed"],
            discount=header["discount"],
            layout=_layout(header["layout"]),
            name=header["name"],
            **facts,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"a part of the model is missing or damaged ({error!r}).") from error


def _layout(given: dict[str, Any]) -> Layout:
    return Layout(
        states=tuple(given["states"]),
        actions=tuple(given["actions"]),
        rows=given["rows"],
        columns=given["columns"],
        moves=tuple((row, column) for row, column in given["moves"]),
        marks={name: tuple(states) for name, states in given["marks"].items()},
    )
