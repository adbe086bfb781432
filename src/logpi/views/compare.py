"""Several runs side by side: grouped by their settings, one curve a group with its interval."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.train.rundir import read_config, read_metrics
from logpi.views.intervals import Interval, improvement, intervals

__all__ = ["AXES", "METRICS", "Comparison", "Curve", "Group", "Panel", "better", "compare"]

METRICS = (
    *("eval/return", "eval/reward", "eval/correct", "eval/preferred"),
    *("return", "reward", "preferred", "eval/nll", "nll"),
)
"""What is compared where nobody says: the first of these that every run has at two points."""

AXES = ("steps", "iterations", "seconds")
"""What a curve is drawn over: decisions taken, iterations, or the time that they took."""

_POINTS = 100
_LESS = ("nll", "loss", "regret", "missing", "kl_reference", "kl_old")
_OF_TASK = {  # what of a world is the task; everything else is the method's
    "gym": ("kind", "env", "options"),
    "mdp": ("kind", "model", "options", "discount", "horizon"),
    "lm": ("kind", "model", "data", "eval_data", "reward"),
}
_ASIDE = ("seed", "directory", "log", "checkpoint", "evaluate", "world.evaluate_episodes")


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's metric: places on the axis, and values there."""

    run: Path
    seed: int
    x: ndarray
    y: ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs of the same settings: their curves at common places, and what they say together."""

    label: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[int, ...]  # which task each run is of
    scores: ndarray  # [runs, points]
    middle: ndarray  # [points], interquartile mean
    low: ndarray
    high: ndarray

    @property
    def final(self) -> tuple[float, float, float]:
        """The interquartile mean at the end, and its interval."""
        return float(self.middle[-1]), float(self.low[-1]), float(self.high[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One task, or all of them together: places on the axis, and the groups there."""

    title: str
    x: ndarray
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `compare` found."""

    metric: str
    axis: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        panels = [
            {
                "title": panel.title,
                "x": panel.x.tolist(),
                "groups": [
                    {
                        "label": g.label,
                        "runs": list(g.runs),
                        "seeds": list(g.seeds),
                        "iqm": g.middle.tolist(),
                        "low": g.low.tolist(),
                        "high": g.high.tolist(),
                        "final": list(g.final),
                        "final_scores": g.scores[:, -1].tolist(),
                    }
                    for g in panel.groups
                ],
                "improvement": better(panel, self.metric),
            }
            for panel in self.panels
        ]
        return {
            "metric": self.metric,
            "axis": self.axis,
            "panels": panels,
            "notes": list(self.notes),
        }


def better(panel: Panel, metric: str) -> list[dict[str, Any]]:
    """For every two groups how likely a run of the first ends better than one of the second.

    Better is more, and less of losses, divergences and negative log-likelihoods.
    """
    sign = -1.0 if metric.endswith(_LESS) else 1.0

    def last(group: Group) -> list[ndarray]:
        return [sign * group.scores[at, -1] for at in _strata(group)]

    return [
        {"of": a.label, "over": b.label, "probability": improvement(last(a), last(b))}
        for i, a in enumerate(panel.groups)
        for b in panel.groups[i + 1 :]
    ]


def compare(
    runs: Sequence[str | Path],
    *,
    metric: str | None = None,
    axis: str | None = None,
    by: str = "config",
) -> Comparison:
    """The runs' curves of one metric, a panel a task, a group for the runs that differ by seed.

    `by="recipe"` puts all runs of a recipe into a group, whatever else they were told. Where all
    groups have the same several tasks, a last panel joins them, every task's scores brought to
    between 0 and 1 by the least and the most that any run reached there.

    Raises `ConfigError` where the runs have no such metric, and `RunError` where one is no run.
    """
    if by not in ("config", "recipe"):
        raise ConfigError(f"`by` is {by!r}, but must be config or recipe.")
    folders = [Path(run) for run in dict.fromkeys(map(str, runs))]
    configs = {folder: read_config(folder).plain() for folder in folders}
    lines = {folder: read_metrics(folder) for folder in folders}
    name = _metric(metric, lines)
    over = axis or ("steps" if all(_has(m, "decisions") for m in lines.values()) else "iterations")
    if over not in AXES:
        raise ConfigError(f"`axis` is {over!r}.{did_you_mean(over, AXES)} It is one of {AXES}.")
    curves = [_curve(f, configs[f], lines[f], name=name, axis=over) for f in folders]
    panels = _panels(curves, [configs[f] for f in folders], by)
    single = dict.fromkeys(g.label for p in panels for g in p.groups if len(g.runs) == 1)
    notes = []
    if single:
        notes.append(f"one run alone has no interval: {', '.join(single)}. Train more seeds.")
    return Comparison(metric=name, axis=over, panels=panels, notes=tuple(notes))


def _panels(
    curves: Sequence[Curve], configs: Sequence[Mapping[str, Any]], by: str
) -> tuple[Panel, ...]:
    labels, tasks = _labels(configs, by), [_task(c) for c in configs]
    titles, panels = _titles(tasks), []
    for task in dict.fromkeys(tasks):
        chosen = [i for i, t in enumerate(tasks) if t == task]
        mine = [curves[i] for i in chosen], [labels[i] for i in chosen]
        panels.append(_panel(titles[task], *mine))
    return (*panels, *(_joined(panels) if len(panels) > 1 else []))


def _metric(wanted: str | None, lines: Mapping[Path, Sequence[Mapping[str, Any]]]) -> str:
    counts = {f: {n for n in _names(m) if len(_points(m, n)) > 1} for f, m in lines.items()}
    common = set.intersection(*counts.values()) if counts else set()
    if wanted is not None:
        lack = [str(f) for f, names in counts.items() if wanted not in names]
        if lack:
            raise ConfigError(
                f"{lack[0]} has no curve of `{wanted}`.{did_you_mean(wanted, common)} All of these "
                f"runs have {', '.join(sorted(common)) or 'none'}."
            )
        return wanted
    found = next((n for n in METRICS if n in common), None)
    if found is None:
        raise ConfigError(
            "these runs have no curve in common that is usually compared. Name one with "
            f"--metric: {', '.join(sorted(common)) or 'there is none at all'}."
        )
    return found


def _names(lines: Sequence[Mapping[str, Any]]) -> set[str]:
    return {name for line in lines for name in line} - {"iteration"}


def _has(lines: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(name in line for line in lines)


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [
        (i, float(v))
        for i, line in enumerate(lines)
        if isinstance(v := line.get(name), int | float) and math.isfinite(v)
    ]


def _curve(
    folder: Path,
    config: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    *,
    name: str,
    axis: str,
) -> Curve:
    keys = {"steps": "decisions", "seconds": "seconds"}
    if axis == "iterations":
        places = np.array([line["iteration"] for line in lines], dtype=float)
    else:
        places = np.cumsum([float(line.get(keys[axis]) or 0.0) for line in lines])
    points = _points(lines, name)
    x, y = places[[i for i, _ in points]], np.array([v for _, v in points])
    return Curve(folder, int(config["seed"]), x, y)


def _task(config: Mapping[str, Any]) -> str:
    world = config["world"]
    known = {k: world[k] for k in _OF_TASK.get(world["kind"], ("kind",)) if k in world}
    return json.dumps(known, sort_keys=True, default=str)


def _titles(tasks: Sequence[str]) -> dict[str, str]:
    """What each task is called: its environment or model, and what tells it from its namesakes."""
    told = {task: json.loads(task) for task in dict.fromkeys(tasks)}
    names = {t: str(w.get("env") or w.get("model") or w.get("kind")) for t, w in told.items()}
    twice = {n for n in names.values() if list(names.values()).count(n) > 1}
    different = _different([_flat(w) for w in told.values()])
    made = {}
    for task, world in told.items():
        more = ", ".join(f"{k}={_flat(world).get(k)}" for k in different)
        made[task] = f"{names[task]} ({more})" if names[task] in twice else names[task]
    return made


def _labels(configs: Sequence[Mapping[str, Any]], by: str) -> list[str]:
    """What each run's group is called: its recipe, and what tells it from others of that recipe."""
    names = [str(c["recipe"]["name"]) for c in configs]
    if by == "recipe":
        return names
    flat = [_settings(c) for c in configs]
    different = {
        name: _different([f for f, other in zip(flat, names, strict=True) if other == name])
        for name in names
    }
    return [
        " ".join([name, *(f"{k}={f[k]}" for k in different[name] if f.get(k) is not None)])
        for f, name in zip(flat, names, strict=True)
    ]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    of_task = _OF_TASK.get(config["world"]["kind"], ("kind",))
    world = {k: v for k, v in config["world"].items() if k not in of_task}
    flat = _flat({**config, "world": world})
    return {
        k: v for k, v in flat.items() if not any(k == a or k.startswith(f"{a}.") for a in _ASIDE)
    }


def _different(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(k for f in flat for k in f)
    return [k for k in keys if len({json.dumps(f.get(k), default=str) for f in flat}) > 1]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _strata(group: Group) -> list[ndarray]:
    return [np.flatnonzero(np.array(group.tasks) == t) for t in sorted(set(group.tasks))]


def _panel(title: str, curves: Sequence[Curve], labels: Sequence[str]) -> Panel:
    """The curves at common places: as far as the shortest run goes."""
    begin, end = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    most = min(_POINTS, max(len(c.x) for c in curves))
    x = np.linspace(min(begin, end), end, most) if end > begin else np.array([end])
    groups = []
    for label in dict.fromkeys(labels):
        mine = [c for c, name in zip(curves, labels, strict=True) if name == label]
        scores = np.array([_at(c, x) for c in mine])
        groups.append(_group(label, [(c, 0) for c in mine], scores, intervals([scores])))
    return Panel(title=title, x=x, groups=tuple(groups))


def _group(
    label: str, curves: Sequence[tuple[Curve, int]], scores: ndarray, found: Interval
) -> Group:
    """The group of these curves, each with the number of its task."""
    middle, low, high = found
    return Group(
        label=label,
        runs=tuple(str(c.run) for c, _ in curves),
        seeds=tuple(c.seed for c, _ in curves),
        tasks=tuple(t for _, t in curves),
        scores=scores,
        middle=middle,
        low=low,
        high=high,
    )


def _at(curve: Curve, x: ndarray) -> ndarray:
    """The curve at these places: the mean of what lies around each, else a line between points.

    >>> c = Curve(Path("a"), 0, np.arange(5.0), np.array([0.0, 1, 2, 3, 4]))
    >>> _at(c, np.array([0.0, 2.0, 4.0]))
    array([0.5, 2. , 3.5])
    """
    if len(x) == 1:
        return np.array([np.interp(x[0], curve.x, curve.y)])
    half = (x[1] - x[0]) / 2
    inside = np.abs(curve.x[None] - x[:, None]) <= half * (1 + 1e-9)
    count = inside.sum(1)
    mean = (inside * curve.y).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.interp(x, curve.x, curve.y))


def _joined(panels: Sequence[Panel]) -> list[Panel]:
    """All tasks in one panel, where every group has each of them; else none."""
    labels = [g.label for g in panels[0].groups]
    if any({g.label for g in p.groups} != set(labels) for p in panels):
        return []
    share = np.linspace(0, 1, min(len(p.x) for p in panels))
    groups = []
    for label in labels:
        scores, curves = [], []
        for task, p in enumerate(panels):
            values = np.concatenate([g.scores.ravel() for g in p.groups])
            least, spread = values.min(), np.ptp(values) or 1.0
            mine = next(g for g in p.groups if g.label == label)
            places = np.linspace(0, 1, len(p.x))
            scores.append(
                np.array([np.interp(share, places, (s - least) / spread) for s in mine.scores])
            )
            curves += [
                (Curve(Path(r), s, p.x, p.x), task)
                for r, s in zip(mine.runs, mine.seeds, strict=True)
            ]
        groups.append(_group(label, curves, np.concatenate(scores), intervals(scores)))
    title = f"all {len(panels)} tasks, between least and most"
    return [Panel(title=title, x=share, groups=tuple(groups))]
