"""`save` and `load`, which choose the format by the file's ending."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.files.drn import load_drn, save_drn
from logpi.worlds.mdp.files.npz import load_npz, save_npz
from logpi.worlds.mdp.files.petsc import load_petsc, save_petsc
from logpi.worlds.mdp.model import FiniteMDP, check_model

__all__ = ["lacks_discount", "load", "save"]

# Each ending's writer and reader
FORMATS: dict[str, tuple[Callable[..., None], Callable[..., FiniteMDP]]] = {
    ".npz": (save_npz, load_npz),
    ".bin": (save_petsc, load_petsc),
    ".petsc": (save_petsc, load_petsc),
    ".drn": (save_drn, load_drn),
}


def save(m: FiniteMDP, path: str | Path, *, overwrite: bool = False, **options: Any) -> None:
    """Nothing: the model is in `path`, whole, or nothing is.

    `.npz` holds all of it; `.bin` or `.petsc` (PETSc's, for madupite) and `.drn` (Storm's) hold
    what their format can: see `save_petsc` and `save_drn`, whose options these are.

    Raises `ConfigError` for another ending or option, `ModelError` where the file exists and
    `overwrite` is False, or cannot be written.

    >>> import tempfile
    >>> from logpi.worlds.mdp.build import from_dense
    >>> path = Path(tempfile.mkdtemp()) / "one.npz"
    >>> save(from_dense([[[1.0]]], [1.0], 0.5, name="one"), path)
    >>> load(path)
    FiniteMDP('one', states=1, actions=1, transitions=1, discount=0.5)
    """
    check_model(m, "save")
    writer, _ = _format(path)
    _check_options(path, writer, options)
    writer(m, path, overwrite=overwrite, **options)


def load(path: str | Path, **options: Any) -> FiniteMDP:
    """The model in a file: `load("m.npz")`, `load("m.drn", discount=0.99)`.

    Only `.npz` holds a discount; the others take it here, and the options of `load_petsc` and
    `load_drn`.

    Raises `ConfigError` for another ending or option, `ModelError` where the file cannot be read,
    is truncated, or is of another format.
    """
    _, reader = _format(path)
    if lacks_discount(path) and "discount" not in options:
        raise ConfigError(
            f"{path}: this format holds no discount: pass it, `load(path, discount=0.99)`."
        )
    _check_options(path, reader, options)
    return reader(path, **options)


def lacks_discount(path: str | Path) -> bool:
    """Whether a file of that ending holds a model without its discount, which `load` then takes.

    >>> lacks_discount("m.drn"), lacks_discount("m.npz")
    (True, False)
    """
    known = FORMATS.get(Path(path).suffix.lower())
    return known is not None and known[1] is not load_npz


def _format(path: str | Path) -> tuple[Callable[..., None], Callable[..., FiniteMDP]]:
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(
            f"{path}: the ending says the format, and is one of {', '.join(FORMATS)}."
            f"{did_you_mean(ending, FORMATS)}"
        )
    return FORMATS[ending]


def _check_options(path: str | Path, function: Callable[..., Any], options: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known |= {"allowed", "terminal", "start", "policy", "layout", "name"}
    for name in options:
        if name not in known:
            raise ConfigError(
                f"{path}: {function.__name__} takes no `{name}`.{did_you_mean(name, known)}"
            )
