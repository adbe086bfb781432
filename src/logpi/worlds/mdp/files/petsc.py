"""Models in PETSc's binary format, as madupite reads them (Gargiani et al. 2024).

A PETSc matrix is big-endian: its class number 1211216, rows, columns and non-zeros as integers,
then the length of each row, the columns, and the values as doubles; a vector is 1211214, its
length, and the values (petsc.org, `MatLoad` and `VecLoad`). Integers are of 32 bits, or of 64 where
PETSc was built so. madupite keeps a model in two files: transitions [S·A, S], whose row is s·A + a,
and stage costs [S, A], as a sparse matrix each.

Tried with PETSc 3.18: what is written here it loads, and it writes the same bytes again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Unpack

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.csr import Facts, from_csr, shape_of, wrap
from logpi.worlds.mdp.files.absorbing import absorbing, closed
from logpi.worlds.mdp.files.disk import reading, writing
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["load_petsc", "read_matrix", "save_petsc", "write_matrix"]

MATRIX, VECTOR = 1211216, 1211214
DENSE = -1  # in the place of the number of non-zeros


def save_petsc(
    m: FiniteMDP,
    path: str | Path,
    *,
    stage: str | Path | None = None,
    cost: bool = True,
    bits: int = 32,
    overwrite: bool = False,
) -> None:
    """Nothing: transitions are in `path` and stage costs in `stage`, "P.bin" and "P_g.bin", say.

    With `cost`, stage costs are −reward, for madupite's `-mode MINCOST`; without, they are the
    rewards, for `-mode MAXREWARD`. `bits` is 64 for a PETSc built with 64-bit indices. The format
    knows no terminal states and no disallowed actions: see `files.absorbing.closed` for what is
    written instead. The discount, the start and r(s, a, s') are not written.

    Raises `ModelError` where a file exists, unless `overwrite` is given, or cannot be written.

    >>> import tempfile
    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense([[[0.2, 0.8]], [[1.0, 0.0]]], [1.0, 0.0], 0.9)
    >>> path = Path(tempfile.mkdtemp()) / "two.bin"
    >>> save_petsc(m, path)
    >>> load_petsc(path, discount=0.9).reward.tolist()
    [[1.0], [0.0]]
    """
    if bits not in (32, 64):
        raise ConfigError(f"bits is {bits}, but PETSc's integers have 32 or 64.")
    # What is read back is held to float64's tolerance, which rows rounded to float32 miss.
    t, reward = closed(m if m.dtype == np.float64 else m.astype(np.float64))
    if bits == 32 and max(len(t.data), len(t.indptr)) >= 2**31:
        raise ModelError(
            f"{m.name} has {len(t.data)} transitions, more than 32-bit PETSc counts: pass bits=64."
        )
    S, A = reward.shape
    columns = np.tile(np.arange(A), S)
    costs = wrap((-reward if cost else reward).ravel(), columns, np.arange(S + 1) * A, (S, A))
    with writing(Path(path), _beside(path, stage), overwrite=overwrite) as (first, second):
        write_matrix(first, t, bits)
        write_matrix(second, costs, bits)


def load_petsc(
    path: str | Path,
    *,
    discount: float,
    stage: str | Path | None = None,
    cost: bool = True,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model of madupite's two files, transitions [S·A, S] and stage costs [S, A].

    `stage` may also hold a dense matrix, or a vector [S·A]; by default it is "P_g.bin" beside
    "P.bin". With `cost`, its numbers are costs, and the rewards are their negatives. A state that
    every action keeps at cost 0 is read as terminal, unless `terminal` says otherwise. The other
    arguments are those of `from_csr`.

    Raises `ModelError`, which names the file and what is wrong with it.
    """
    with reading(Path(path)) as file:
        t = _sparse(read_matrix(file))
        rows, S = shape_of(t)
        if not S or rows % S:
            raise ModelError(f"the matrix is [{rows}, {S}], but must be [states·actions, states].")
    with reading(_beside(path, stage)) as file:
        x = read_matrix(file)
        shape = x.shape if isinstance(x, ndarray) else shape_of(x)
        if shape not in {(S, rows // S), (rows,)}:
            raise ModelError(
                f"the stage costs are {list(shape)}, but the transitions in {path} are "
                f"[{rows}, {S}]: expected [{S}, {rows // S}], or [{rows}]."
            )
    x = x if isinstance(x, ndarray) else x.toarray()
    reward = (-x if cost else x).ravel()
    reward += 0.0  # -0.0 of a cost of 0
    if "terminal" not in facts:
        state = np.arange(rows) // (rows // S)
        facts["terminal"] = absorbing(t, reward, state, S)
    facts.setdefault("name", Path(path).name)  # and so every message names the file
    return from_csr(t, reward, discount, **facts)


def _beside(path: str | Path, stage: str | Path | None) -> Path:
    path = Path(path)
    return Path(stage) if stage is not None else path.with_name(f"{path.stem}_g{path.suffix}")


def _sparse(x: csr_array | ndarray) -> csr_array:
    if isinstance(x, ndarray) and x.ndim != 2:
        raise ModelError("this is a PETSc vector, but transitions are a matrix.")
    return csr_array(x)


# -- one matrix ------------------------------------------------------------------------------------


def write_matrix(file: BinaryIO, t: csr_array, bits: int = 32) -> None:
    """Nothing: the matrix is in the file, as `MatView` writes it.

    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> write_matrix(file, csr_array([[0.0, 1.0]]))
    >>> file.getvalue().hex(" ", 4)
    '00127b50 00000001 00000002 00000001 00000001 00000001 3ff00000 00000000'
    """
    integer = np.dtype(">i4" if bits == 32 else ">i8")
    header = np.array([MATRIX, *shape_of(t), len(t.data)], dtype=integer)
    for part, dtype in (
        (header, integer),
        (np.diff(t.indptr), integer),
        (t.indices, integer),
        (t.data, np.dtype(">f8")),
    ):
        for low in range(0, len(part), 1 << 20):  # in pieces: the swapped bytes are a copy
            file.write(part[low : low + (1 << 20)].astype(dtype).tobytes())


def read_matrix(file: BinaryIO) -> csr_array | ndarray:
    """The file's one matrix, sparse or dense [m, n], or its vector [n], as float64.

    Raises `ModelError` where the file is truncated, of another format, or goes on.

    >>> from io import BytesIO
    >>> read_matrix(BytesIO(bytes.fromhex("00127b4e 00000001 3ff0000000000000"))).tolist()
    [1.0]
    """
    size = file.seek(0, os.SEEK_END)
    integer = _integer(file, size)
    width = integer.itemsize
    words = 2 if _kind(file, integer) == VECTOR else 4
    if size < words * width:
        raise ModelError(f"the file is truncated: it ends after {size} bytes, in its header.")
    header = _take(file, integer, words).tolist()  # Python's integers: their products do not wrap
    if words == 2:
        _check_size(size, 2 * width, 8 * header[1])
        return _take(file, np.dtype(">f8"), header[1])
    _, rows, columns, count = header
    if rows < 0 or columns < 0 or count < DENSE:
        raise ModelError(
            f"the header says [{rows}, {columns}] with {count} non-zeros: the file is damaged."
        )
    if count == DENSE:
        _check_size(size, 4 * width, 8 * rows * columns)
        return _take(file, np.dtype(">f8"), rows * columns).reshape(rows, columns)
    _check_size(size, 4 * width, width * (rows + count) + 8 * count)
    return _rows(file, integer, (rows, columns), count)


def _rows(file: BinaryIO, integer: np.dtype[Any], shape: tuple[int, int], count: int) -> csr_array:
    """The sparse matrix that follows its header."""
    rows, columns = shape
    lengths = _take(file, integer, rows)
    if (lengths < 0).any() or lengths.sum(dtype=np.int64) != count:
        raise ModelError(
            f"the rows hold {lengths.sum(dtype=np.int64)} non-zeros, but the header says {count}: "
            "the file is damaged."
        )
    pointers = np.zeros(rows + 1, dtype=lengths.dtype)
    np.cumsum(lengths, out=pointers[1:])
    indices = _take(file, integer, count)
    if count and not (indices.min() >= 0 and indices.max() < columns):
        raise ModelError(
            f"it holds columns {indices.min()} to {indices.max()}, but its header says {columns} "
            "columns: the file is damaged."
        )
    return wrap(_take(file, np.dtype(">f8"), count), indices, pointers, shape)


def _integer(file: BinaryIO, size: int) -> np.dtype[Any]:
    """The integers of this file: 32 or 64 bits, as its class number is written."""
    for dtype in (np.dtype(">i4"), np.dtype(">i8")):
        if size >= dtype.itemsize and _kind(file, dtype) in (MATRIX, VECTOR):
            return dtype
    if size >= 4 and _kind(file, np.dtype("<i4")) in (MATRIX, VECTOR):
        raise ModelError("this PETSc file is little-endian; PETSc writes big-endian.")
    raise ModelError(
        f"this is no PETSc binary file, or its beginning is damaged: it does not begin with the "
        f"class number {MATRIX} of a matrix or {VECTOR} of a vector."
    )


def _kind(file: BinaryIO, dtype: np.dtype[Any]) -> int:
    file.seek(0)
    kind = int(np.frombuffer(file.read(dtype.itemsize), dtype=dtype)[0])
    file.seek(0)
    return kind


def _take(file: BinaryIO, dtype: np.dtype[Any], count: int) -> ndarray:
    """The next numbers, in this machine's byte order."""
    raw = file.read(count * dtype.itemsize)
    if len(raw) < count * dtype.itemsize:
        raise ModelError(f"the file is truncated: it ends after {file.tell()} bytes.")
    return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))


def _check_size(size: int, header: int, rest: int) -> None:
    if size != header + rest:
        what = "truncated" if size < header + rest else "longer"
        raise ModelError(
            f"the file is {what}: {size} bytes, where the header says {header + rest}. "
            "Expected one matrix or vector of real doubles."
        )
