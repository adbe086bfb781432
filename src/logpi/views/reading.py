"""What a run directory says: config.yaml, env.json, metrics.jsonl, decisions.jsonl; no more.

A run that was interrupted, or is still going, leaves a torn last line: skipped and noted, no error.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from logpi.core.errors import RunError

__all__ = ["Decision", "Record", "Row", "find", "read"]

_FILES = ("config.yaml", "env.json", "metrics.jsonl", "decisions.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One action of a row and what was known about it; None where nothing was assigned."""

    action: str
    mask: bool = True
    logp: float | None = None
    logp_old: float | None = None
    logp_ref: float | None = None
    logp_sampler: float | None = None
    value: float | None = None
    reward: float | None = None
    credit: float | None = None
    coefficient: float | None = None
    weight: float | None = None
    clipped: bool | None = None

    @property
    def ratio(self) -> float | None:
        """exp(logp − logp_old), or None where one of them is not known."""
        if self.logp is None or self.logp_old is None:
            return None
        try:
            return math.exp(self.logp - self.logp_old)
        except OverflowError:
            return math.inf

    @property
    def push(self) -> float | None:
        """weight · coefficient: what multiplies the gradient of this log-probability."""
        if self.coefficient is None or self.weight is None:
            return None
        return self.weight * self.coefficient


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recorded rollout."""

    iteration: int
    row: int
    group: int | None = None
    prompt: str = ""
    completion: str = ""
    reward: float | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()

    @property
    def effort(self) -> float:
        """The sum of |weight · coefficient| over its decisions."""
        pushes = (d.push if d.push is not None else d.coefficient for d in self.decisions)
        return sum(abs(p) for p in pushes if p is not None and math.isfinite(p))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything a view may know of a run."""

    directory: Path
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[dict[str, Any], ...] = ()
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the run is called: its folder's name."""
        return self.directory.resolve().name

    @property
    def recipe(self) -> str:
        """The recipe's name, or a dash."""
        recipe = self.config.get("recipe")
        name = recipe.get("name") if isinstance(recipe, Mapping) else recipe
        return str(name) if name else "–"

    @property
    def iterations(self) -> tuple[int, ...]:
        """The iterations that have recorded rows, in order."""
        return tuple(sorted({row.iteration for row in self.rows}))

    def of(self, iteration: int) -> tuple[Row, ...]:
        """The recorded rows of one iteration."""
        return tuple(row for row in self.rows if row.iteration == iteration)


def find(run: str | Path, root: str | Path = "runs") -> Path:
    """The directory of a run, given as a path or as a name below `root`.

    Raises RunError, naming the nearest run there is, where it does not exist or is no run.
    """
    given = Path(run)
    for path in (given, Path(root) / given):
        if path.is_dir() and any((path / name).is_file() for name in _FILES):
            return path
    if folder := next((p for p in (given, Path(root) / given) if p.is_dir()), None):
        raise RunError(
            f"`{folder}` is a folder but no run: it holds none of {', '.join(_FILES)}. "
            "Give the folder that `logpi train` wrote, for example runs/<name>."
        )
    known = (
        sorted(p.name for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
    )
    near = difflib.get_close_matches(given.name, known, n=1, cutoff=0.5)
    if near:
        hint = f"Did you mean `{near[0]}`?"
    elif known:
        hint = f"`{root}` holds {', '.join(known[:8])}{', …' if len(known) > 8 else ''}."
    else:
        hint = "`logpi train` makes one."
    raise RunError(f"there is no run at `{given}` and none called that in `{root}`. {hint}")


def read(directory: str | Path) -> Record:
    """All that the run directory says, with a note for each thing missing or unreadable.

    Raises RunError where the directory is not a run.
    """
    path, notes = find(directory), []
    metrics: dict[int, dict[str, Any]] = {}
    for entry in _lines(path / "metrics.jsonl", notes):
        if isinstance(entry.get("iteration"), int):
            metrics[entry["iteration"]] = _with_speed(
                entry
            )  # a resumed run may say an iteration twice: the last one holds
    rows = {
        (r.iteration, r.row): r
        for e in _lines(path / "decisions.jsonl", notes)
        if (r := _row(e, notes))
    }
    return Record(
        directory=path,
        config=_mapping(path / "config.yaml", notes),
        environment=_mapping(path / "env.json", notes),
        metrics=tuple(metrics[i] for i in sorted(metrics)),
        rows=tuple(rows[key] for key in sorted(rows)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _with_speed(entry: dict[str, Any]) -> dict[str, Any]:
    decisions, seconds = entry.get("decisions"), entry.get("seconds")
    if "tokens_per_second" in entry or not decisions or not seconds:
        return entry
    return {**entry, "tokens_per_second": decisions / seconds}


def _mapping(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        notes.append(f"{path.name} is missing.")
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        notes.append(f"{path.name} cannot be read ({str(error).splitlines()[0]}).")
        return {}
    if isinstance(value, dict):
        return value
    notes.append(f"{path.name} holds no keys.")
    return {}


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        notes.append(f"{path.name} is missing.")
        return []
    found, broken, last = [], [], 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for last, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                found.append(value)
            else:
                broken.append(last)
    if broken == [last]:
        notes.append(
            f"{path.name}: its last line is torn (the run was stopped while writing it, "
            "or still is) and was skipped."
        )
    elif broken:
        first = ", ".join(map(str, broken[:5])) + (", …" if len(broken) > 5 else "")
        notes.append(
            f"{path.name}: {len(broken)} line(s) are not JSON objects and were skipped: "
            f"line {first}."
        )
    if not found:
        notes.append(f"{path.name} is empty.")
    return found


_LISTS = {
    "logp": "logp",
    "logp_old": "logp_old",
    "logp_ref": "logp_ref",
    "logp_sampler": "logp_sampler",
    "value": "value",
    "rewards": "reward",
    "credit": "credit",
    "coefficient": "coefficient",
    "weight": "weight",
}


def _row(entry: dict[str, Any], notes: list[str]) -> Row | None:
    actions = entry.get("actions")
    if not isinstance(entry.get("iteration"), int) or not isinstance(actions, list):
        notes.append("decisions.jsonl: a line without `iteration` or `actions` was skipped.")
        return None
    lists = {name: entry.get(name) for name in (*_LISTS, "mask", "clipped")}
    if any(isinstance(x, list) and len(x) != len(actions) for x in lists.values()):
        notes.append(
            "decisions.jsonl: some lists are not as long as `actions`; "
            "what is missing is shown as –."
        )

    def at(name: str, place: int) -> Any:
        column = lists[name]
        return column[place] if isinstance(column, list) and place < len(column) else None

    decisions = tuple(
        Decision(
            action=str(action),
            mask=at("mask", i) is not False and at("mask", i) != 0,
            clipped=None if at("clipped", i) is None else bool(at("clipped", i)),
            **{field: _figure(at(name, i)) for name, field in _LISTS.items()},
        )
        for i, action in enumerate(actions)
    )
    group, columns = entry.get("group"), entry.get("columns")
    return Row(
        iteration=entry["iteration"],
        row=entry["row"] if isinstance(entry.get("row"), int) else 0,
        group=group if isinstance(group, int) else None,
        prompt=str(entry.get("prompt") or ""),
        completion=str(entry.get("completion") or ""),
        reward=_figure(entry.get("reward")),
        columns=columns if isinstance(columns, dict) else {},
        decisions=decisions,
    )


def _figure(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
