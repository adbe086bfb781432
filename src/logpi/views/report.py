"""One self-contained HTML file about a run: it opens offline and escapes what models wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from logpi.core.errors import RunError
from logpi.core.missing import missing
from logpi.views import curves
from logpi.views.colours import PALETTE, scale_of, strength
from logpi.views.distributions import fans, histograms
from logpi.views.filmed import filmed
from logpi.views.reading import Decision, Record, Row
from logpi.views.text import number, signed, spaced, visible

__all__ = ["data_block", "render", "write"]

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_DECISIONS = 60_000  # what a browser still opens at once: about 6 MB of figures
_MOST_ITERATIONS = 40
_MOST_SAMPLES = 8
_FIELDS = (
    "logp",
    "logp_old",
    "logp_ref",
    "logp_sampler",
    "value",
    "ratio",
    "reward",
    "credit",
    "coefficient",
    "weight",
    "push",
)


def write(record: Record, path: str | Path) -> Path:
    """The file that was written: all of it, or none.

    Raises RunError where it cannot be written.
    """
    target = Path(path)
    text = render(record).encode("utf-8", "replace")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunError(
            f"the report cannot be written to `{target}` ({error.strerror or error}). "
            "The run itself is untouched: give another place with --out FILE."
        ) from error
    return target


def render(record: Record) -> str:
    """The report as HTML.

    Raises RunError where the run recorded neither a metric nor a rollout.
    """
    if not record.metrics and not record.rows:
        raise RunError(
            f"`{record.directory}` holds no metrics and no rollouts yet, so there is nothing to "
            f"report: {' '.join(record.notes)} Let the run finish an iteration first."
        )
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **_facts(record),
            script=Markup(script),
            hash=base64.b64encode(digest).decode(),
            palette=PALETTE,
            box=curves,
            logpi=version("logpi"),
        )
    )


def _facts(record: Record) -> dict[str, Any]:
    """What the template says of this run."""
    drawn, kept = curves.charts(_distinct(record.metrics)), _kept(record)
    data = {"charts": _series(drawn), "iterations": [_iteration(record, i) for i in kept]}
    tables = [("Configuration", record.config), ("Environment", record.environment)]
    return {
        "record": record,
        "about": _about(record),
        "headline": _headline(record),
        "charts": [c for c in drawn if c.main],
        "others": [c for c in drawn if not c.main],
        "histograms": histograms(record),
        "fans": fans(record),
        "filmed": filmed(record.directory),
        "one": "token" if _kind(record) == "lm" else "decision",
        "samples": _samples(record),
        "scale": scale_of(d.coefficient for r in record.rows for d in r.decisions),
        "left_out": len(record.iterations) - len(kept),
        "tables": [(title, _flat(tree)) for title, tree in tables],
        "data": data_block(data),
    }


def data_block(value: Any) -> Markup:
    r"""JSON that can stand in a script element: nothing in it can end it or start a comment.

    >>> print(data_block({"a": "</script><!--\u2028"}))
    {"a":"\u003c/script\u003e\u003c!--\u2028"}
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ensure_ascii covers U+2028
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # all that could be markup is escaped above


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "signed": signed, "visible": visible, "spaced": spaced}
    made.globals["shade"] = _shade
    return made


def _shade(d: Decision, scale: float) -> tuple[str, str]:
    """The class and the opacity of a token."""
    if d.coefficient is None or not d.mask:
        return "t none", "0"
    if d.coefficient == 0 or math.isnan(d.coefficient):
        return "t zero", "0"
    share = 0.08 + 0.5 * strength(d.coefficient, scale)
    return f"t {'up' if d.coefficient > 0 else 'down'}", f"{share:.2f}"


def _about(record: Record) -> list[tuple[str, str]]:
    """What the run started from, in the words of the first sentence."""
    world = record.config.get("world")
    facts = {**world, **record.config} if isinstance(world, Mapping) else record.config
    said = ((" in", "env"), (" from", "model"), (" on", "data"), (", seed", "seed"))
    return [(word, visible(_said(facts[key]))) for word, key in said if facts.get(key) is not None]


_HEADLINE = (
    ("return", "Return", "{:.4g}"),
    ("eval/return", "Evaluated return", "{:.4g}"),
    ("episode_length", "Decisions an episode", "{:.4g}"),
    ("explained_variance", "Explained variance", "{:.2f}"),
    ("reward", "Reward", "{:.3g}"),
    ("eval/correct", "Held-out correct", "{:.1%}"),
    ("eval/reward", "Held-out reward", "{:.3g}"),
    ("nll", "Nats a token", "{:.3g}"),
    ("eval/preferred", "Held-out pairs preferred", "{:.0%}"),
    ("preferred", "Pairs preferred", "{:.0%}"),
    ("kl_reference", "KL to reference", "{:.3g}"),
    ("completion_tokens", "Tokens a completion", "{:.3g}"),
    ("skipped", "Decisions skipped", "{:.0%}"),
    ("tokens_per_second", "Decisions per second", "{:,.0f}"),
)
_CARDS = 7
_LEVELS = {"tokens_per_second", "skipped"}  # where the run started says nothing


def _kind(record: Record) -> str:
    world = record.config.get("world")
    return str(world.get("kind", "lm")) if isinstance(world, Mapping) else "lm"


def _headline(record: Record) -> list[dict[str, str]]:
    metrics = _distinct(record.metrics)
    done = metrics[-1]["iteration"] if metrics else 0
    made = [{"label": "Iterations", "value": f"{done:,}", "from": ""}]
    for name, label, form in _HEADLINE:
        values = [v for m in metrics if isinstance(v := m.get(name), int | float)]
        if values:
            moved = name not in _LEVELS and values[0] != values[-1]
            start = form.format(values[0]) if moved else ""
            made.append({"label": label, "value": form.format(values[-1]), "from": start})
    if lacking := missing(metrics):
        made[_CARDS - 1 :] = [{"label": "Rewards missing", "value": lacking, "from": ""}]
    return made[:_CARDS]


def _distinct(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The metrics without the held-out reward where it says the same as the share correct."""
    if any(m.get("eval/reward") != m.get("eval/correct") for m in metrics):
        return list(metrics)
    return [{k: v for k, v in m.items() if k != "eval/reward"} for m in metrics]


def _series(drawn: Sequence[curves.Chart]) -> dict[str, Any]:
    return {
        c.name: {
            "x": c.iterations,
            "y": [_short(v) for v in c.values],
            "at": c.places,
            "mean": c.mean_of,
        }
        for c in drawn
    }


def _kept(record: Record) -> list[int]:
    """The iterations whose rollouts fit into the file: evenly spaced, first and last included."""
    found = record.iterations
    decisions = sum(len(row.decisions) for row in record.rows)
    share = min(1.0, _MOST_DECISIONS / max(1, decisions))
    return _spread(found, max(2, min(_MOST_ITERATIONS, int(len(found) * share))))


def _spread(values: Sequence[int], most: int) -> list[int]:
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def _iteration(record: Record, iteration: int) -> dict[str, Any]:
    rows = record.of(iteration)
    key = _grouping(rows)
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {
        "iteration": iteration,
        "groups": [
            {"prompt": visible(group[0].prompt, breaks=True), "rows": [_line(r) for r in group]}
            for group in groups.values()
        ],
    }


def _grouping(rows: Sequence[Row]) -> Callable[[Row], Any]:
    """What puts rows side by side: their group, else their prompt, else nothing: all of them."""
    if len({row.group for row in rows}) < len(rows) and all(r.group is not None for r in rows):
        return lambda row: row.group
    if len({row.prompt for row in rows}) < len(rows):
        return lambda row: row.prompt
    return lambda row: None


def _line(row: Row) -> dict[str, Any]:
    columns = {name: [_short(getattr(d, name)) for d in row.decisions] for name in _FIELDS}
    return {
        "row": row.row,
        "prompt": visible(row.prompt, breaks=True),
        "total": _short(row.reward),
        "columns": {visible(str(k)): visible(str(v)) for k, v in row.columns.items()},
        "token": [visible(d.action, breaks=True) for d in row.decisions],
        "alone": [spaced(d.action) for d in row.decisions],
        "mask": [int(d.mask) for d in row.decisions],
        "clipped": [d.clipped for d in row.decisions],
        **{name: values for name, values in columns.items() if any(v is not None for v in values)},
    }


def _short(value: float | None) -> float | str | None:
    """Five digits are enough to read; JSON has no NaN, so it becomes a word."""
    if value is None:
        return None
    return float(f"{value:.5g}") if math.isfinite(value) else number(value)


def _samples(record: Record) -> list[Row]:
    """One row of each of some iterations, the first prompt's where there is a choice."""
    return [record.of(i)[0] for i in _spread(record.iterations, _MOST_SAMPLES)]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{name}.")
        else:
            lines.append((visible(name), visible(_said(value))))
    return lines


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return shlex.join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
