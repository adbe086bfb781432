"""The rows of a data file or data set, each with its place: `train.jsonl:17`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from logpi.core.errors import DataError
from logpi.core.nearest import nearest
from logpi.worlds.lm import hub

__all__ = ["Row", "rows"]

Row = tuple[str, dict[str, Any]]
"""Where a row stands, and its columns."""

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def rows(spec: str | Path | Sequence[Mapping[str, Any]], *, split: str = "train") -> list[Row]:
    """Return all rows of a file, a saved data set, a data set of the Hugging Face hub, or a list.

    Line numbers are those of the file, also in a CSV file whose fields hold line breaks.

    Raises `DataError`, with the place, for what cannot be read.

    >>> rows([{"prompt": "1+1="}])
    [('data[0]', {'prompt': '1+1='})]
    """
    found = list(_rows_of(spec, split))
    if not found:
        raise DataError(f"{_name(spec)} has no rows. Give at least one.")
    return found


def _rows_of(spec: Any, split: str) -> Iterator[Row]:
    if not isinstance(spec, str | Path):
        return _of_list(spec)
    file = Path(spec).expanduser()
    if file.is_dir():
        return _of_folder(file, split)
    folder, _, config = str(file).rpartition(":")
    if not file.exists() and folder and Path(folder).is_dir():
        return _of_folder(Path(folder), split, config=config)
    if not file.exists() and _is_hub_name(spec):
        return _of_hub(str(spec), split)
    _check_file(file)
    return _of_file(file, file.name)


def _of_file(file: Path, name: str) -> Iterator[Row]:
    if file.suffix == ".parquet":
        return _of_parquet(file, name)
    text = _text(file)
    if file.suffix == ".json":
        return _of_json(text, name)
    if file.suffix in (".csv", ".tsv"):
        return _of_csv(text, name, delimiter="," if file.suffix == ".csv" else "\t")
    return _of_jsonl(text, name)


def _name(spec: Any) -> str:
    return Path(spec).name if isinstance(spec, str | Path) else "the list of rows"


def _is_hub_name(spec: str | Path) -> bool:
    return (
        isinstance(spec, str)
        and Path(spec).suffix not in _SUFFIXES
        and not spec.startswith((".", "/", "~"))
        and spec.count("/") <= 1
    )


def _check_file(file: Path) -> None:
    if not file.exists():
        beside = sorted(p.name for p in file.parent.iterdir()) if file.parent.is_dir() else []
        near = nearest(file.name, beside)
        readable = [name for name in beside if name.endswith(_SUFFIXES)]
        hint = f"Did you mean {str(file.parent / near)!r}?" if near else ""
        if not hint and readable:
            hint = f"Beside it are {', '.join(readable[:5])}."
        if not file.parent.is_dir():
            hint = f"The folder {str(file.parent)!r} does not exist either."
        raise DataError(f"there is no file {str(file)!r}. {hint}".rstrip())
    if file.suffix not in _SUFFIXES:
        raise DataError(
            f"{file.name} ends in {file.suffix or 'nothing'}, which says nothing about its format. "
            f"Give a file that ends in {', '.join(_SUFFIXES)}."
        )


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read: {error.strerror}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise DataError(
            f"{file.name}:{line}: byte {column} of the line (0x{data[error.start]:02x}) is not "
            "UTF-8. Save the file as UTF-8."
        ) from error


def _of_jsonl(text: str, name: str) -> Iterator[Row]:
    # Not splitlines(): a JSON string may hold other line separators than the newline.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            row = _DECODER.decode(line)
        except json.JSONDecodeError as error:
            raise DataError(_not_json(place, error.msg, error.colno, line, error.pos)) from error
        except _BadValueError as error:
            raise DataError(f"{place}: {error}") from error
        yield place, _object(row, place)


def _of_json(text: str, name: str) -> Iterator[Row]:
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise DataError(
            f"{name}:1: the file holds {_kind(text[at : at + 1])}, not a list of rows. Write "
            "[{...}, {...}], or one object a line in a file that ends in .jsonl."
        )
    at = _skip(text, at + 1)
    while text[at : at + 1] not in ("]", ""):
        place = f"{name}:{text.count(chr(10), 0, at) + 1}"
        try:
            row, at = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            where = f"{name}:{error.lineno}"
            raise DataError(_not_json(where, error.msg, error.colno, text, error.pos)) from error
        except _BadValueError as error:
            raise DataError(f"{place}: {error}") from error
        yield place, _object(row, place)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            break
    if text[at : at + 1] != "]" or text[_skip(text, at + 1) :]:
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise DataError(_not_json(f"{name}:{line}", "the list does not end here", column, text, at))


def _not_json(place: str, why: str, column: int, text: str, at: int) -> str:
    shown = text[max(0, at - 15) : at + 15].replace("\n", " ")
    return f"{place}: character {column} is not JSON: {why}, at …{shown}…"


class _BadValueError(ValueError):
    """JSON that Python would read, but that is no data."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BadValueError(f"column '{twice}': stands there twice.")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f'{place}: a row is an object, {{"prompt": ...}}, and this is {type(row).__name__}.'
        )
    return row


def _kind(first: str) -> str:
    return {"{": "one object", "": "nothing", '"': "a text"}.get(first, f"something with {first!r}")


def _of_csv(text: str, name: str, *, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{name}:{line}: not CSV: {error}.") from error
        if fields is None:
            return
        place, line = f"{name}:{line}", reader.line_num + 1
        if not fields:
            continue
        if not header:
            header = _header(fields, place)
        elif len(fields) != len(header):
            raise DataError(
                f"{place}: {len(fields)} fields, but the header has {len(header)} columns "
                f"({', '.join(header)}). Put a field that holds the delimiter between quotes."
            )
        else:
            yield place, dict(zip(header, fields, strict=True))


def _header(fields: list[str], place: str) -> list[str]:
    names = [field.strip() for field in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{place}: column '{twice}': stands there twice.")
    if "" in names:
        raise DataError(f"{place}: column {names.index('') + 1} of the header has no name.")
    return names


def _of_list(given: Any) -> Iterator[Row]:
    if isinstance(given, Mapping) or not isinstance(given, Sequence):
        raise DataError(
            f"the data is {type(given).__name__}. Give a file, a folder, a name, or a list of rows "
            "such as [{'prompt': '1+1=', 'answer': '2'}]."
        )
    for number, row in enumerate(given):
        if not isinstance(row, Mapping):
            raise DataError(f"data[{number}]: a row is a dict, and this is {type(row).__name__}.")
        yield f"data[{number}]", dict(row)


def _of_parquet(file: Path, name: str) -> Iterator[Row]:
    # Heavy, and needed for this format alone; it comes with `datasets`.
    import pyarrow.parquet  # noqa: PLC0415

    try:
        table = pyarrow.parquet.read_table(file)
    except Exception as error:  # pyarrow has errors of its own for every kind of damage
        raise DataError(f"{name} is not a Parquet file that can be read: {error}") from error
    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{name}: column '{twice}': stands there twice.")
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"{name}, row {number}", row


def _of_folder(folder: Path, split: str, *, config: str = "") -> Iterator[Row]:
    saved = ("dataset_dict.json", "state.json")  # what `save_to_disk` writes, and no repository has
    if not any((folder / name).is_file() for name in saved):
        return _of_repository(folder, split, config)
    # Heavy: `datasets` takes a second to import.
    import datasets  # noqa: PLC0415

    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever a damaged data set makes it raise
        raise DataError(f"the data set in {str(folder)!r} cannot be read: {error}") from error
    if isinstance(found, datasets.DatasetDict):
        found = _split_of(found, split, folder)
    return _numbered(found, folder.name)


def _split_of(found: Mapping[Any, Any], split: str, folder: Path) -> Any:
    known = {str(name): part for name, part in found.items()}
    if split not in known:
        raise DataError(
            f"the data set in {str(folder)!r} has no split {split!r}. It has {', '.join(known)}: "
            "set `split` (of held-out data `eval_split`)."
        )
    return known[split]


def _of_repository(folder: Path, split: str, config: str) -> Iterator[Row]:
    """The rows of a folder that is laid out as a data set of the hub is."""
    # Heavy: `datasets` takes a second to import.
    import datasets  # noqa: PLC0415

    try:
        builder = datasets.load_dataset_builder(str(folder), config or None)
        files = _split_of(builder.config.data_files or {}, split, folder)
        paths = [Path(file) for file in files]
        if all(map(_is_ours, paths)) and _plain(builder.config):
            return _of_files(folder, paths)
        found = datasets.load_dataset(str(folder), config or None, split=split)
    except DataError:
        raise
    except Exception as error:  # nothing that looks like data, no such configuration, damage
        inside = sorted(p.name for p in folder.iterdir())
        reason = str(error.__cause__ or error).partition("Example of usage")[0]
        reason = " ".join(reason.split()).rstrip(".")
        raise DataError(
            f"the folder {str(folder)!r} is no data set that can be read: {reason}. It holds "
            f"{', '.join(inside[:5]) or 'nothing'}. Name a file in it, or one of its "
            f"configurations as {folder.name}:NAME."
        ) from error
    return _numbered(found, folder.name)


def _of_files(folder: Path, files: Sequence[Path]) -> Iterator[Row]:
    for file in files:
        place = Path(os.path.relpath(file, folder.resolve())).as_posix()
        yield from _of_file(file, f"{folder.name}/{place}")


def _plain(config: Any) -> bool:
    """Whether a configuration only says which files there are."""
    told = {key: getattr(config, key) for key in ("name", "version", "data_dir", "data_files")}
    return replace(type(config)(), **told, description=config.description) == config


def _is_ours(file: Path) -> bool:
    """Whether the file is read here, where its lines have numbers."""
    if file.suffix != ".json":
        return file.suffix in _SUFFIXES
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        return text.read(1000).lstrip().startswith("[")  # else JSON lines, or one object


def _of_hub(name: str, split: str) -> Iterator[Row]:
    path, _, config = name.partition(":")
    try:
        hub.ask("data set", path)
    except hub.UnknownNameError as error:
        raise DataError(_absent(name, str(error))) from error
    except hub.UnreachableError as error:
        return _numbered(_stored(name, split, reason=str(error)), name)
    # Heavy: `datasets` takes a second to import.
    import datasets  # noqa: PLC0415

    try:
        found = datasets.load_dataset(path, config or None, split=split)
    except Exception as error:  # no such split, a connection that breaks, a damaged cache
        raise DataError(
            f"the data set {name!r} of the Hugging Face hub could not be loaded "
            f"(split {split!r}): {error}"
        ) from error
    return _numbered(found, name)


def _stored(name: str, split: str, *, reason: str) -> Any:
    """The data set as an earlier run prepared it; `reason` is why the hub cannot be asked."""
    from datasets.packaged_modules.cache.cache import Cache  # noqa: PLC0415

    path, _, config = name.partition(":")
    which = {"config_name": config or None, "version": "auto", "hash": "auto"}
    try:
        kept = Cache(dataset_name=path.rpartition("/")[2], repo_id=path, **which)
        return kept.as_dataset(split=split)
    except (ValueError, OSError) as error:  # never prepared, or not this split or configuration
        told = " ".join(str(error).split()).rstrip(".")
        raise DataError(_absent(name, f"{reason}; nor is it stored here: {told}")) from error


def _absent(name: str, reason: str) -> str:
    return (
        f"there is no file or folder {name!r} here, and {reason}. Give a file that ends in "
        f"{', '.join(_SUFFIXES)}, a folder with a data set, or a data set's hub name."
    )


def _numbered(found: Any, name: str) -> Iterator[Row]:
    for number, row in enumerate(found, 1):
        yield f"{name}, row {number}", dict(row)
