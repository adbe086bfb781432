"""`plan`: which rows run, merged, truncated and sorted into micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from logpi.worlds.lm.inputs import Completions

__all__ = ["Counts", "Group", "Plan", "Row", "plan"]

Ids = npt.NDArray[np.int64]


@dataclass(slots=True)
class Counts:
    """What a pass over a batch ran, and what it could skip."""

    rows_total: int = 0
    rows_run: int = 0  # what is left after dropping rows without a live decision and merging
    rows_merged: int = 0  # rows that another row with the same prompt and tokens stood in for
    decisions_total: int = 0
    decisions_live: int = 0
    tokens_run: int = 0  # positions that went through the trunk, prompts included
    parts: int = 0


@dataclass(slots=True)
class Row:
    """A distinct completion, and every row of the batch that it stands in for."""

    prompt: int  # index into `Plan.prompts`
    tokens: Ids  # truncated after the last live decision
    rows: list[int] = field(default_factory=list)


Group = list[Row]
"""Rows that run together, prompt by prompt."""


@dataclass(slots=True)
class Plan:
    """A batch, ready to run."""

    prompts: list[Ids]  # the distinct ones
    parts: list[Group]
    counts: Counts


def plan(
    inputs: Completions, live: Tensor, *, unit: Tensor | None, budget: int, shared: bool
) -> Plan:
    """The distinct rows with a live decision, in micro-batches of about `budget` positions.

    Rows with the same `unit`, and equal rows, are never separated. Where a prompt's positions are
    `shared` by its rows in a micro-batch they count once, else once per row.
    """
    prompts, canonical = _distinct(inputs.prompts)
    rows = _merged(inputs, live, canonical)
    counts = Counts(
        rows_total=len(live),
        rows_run=len(rows),
        rows_merged=sum(len(row.rows) - 1 for row in rows),
        decisions_total=int(inputs.length.sum()),
        decisions_live=int(live.sum()),
    )
    bundles = _bundles(rows, None if unit is None else unit.tolist())
    lengths = [len(prompt) for prompt in prompts]
    fill = _fill_shared if shared else _fill_rows
    parts = list(fill(bundles, lengths, budget))
    counts.parts = len(parts)
    return Plan(prompts, parts, counts)


def _distinct(prompts: tuple[Tensor, ...]) -> tuple[list[Ids], list[int]]:
    seen: dict[bytes, int] = {}
    kept: list[Ids] = []
    canonical = []
    for prompt in prompts:
        ids = prompt.cpu().numpy().astype(np.int64, copy=False)
        place = seen.setdefault(ids.tobytes(), len(kept))
        if place == len(kept):
            kept.append(ids)
        canonical.append(place)
    return kept, canonical


def _merged(inputs: Completions, live: Tensor, canonical: list[int]) -> list[Row]:
    on = live.cpu().numpy()
    tokens = inputs.tokens.cpu().numpy().astype(np.int64, copy=False)
    last = np.where(on.any(1), on.shape[1] - on[:, ::-1].argmax(1), 0)
    found: dict[tuple[int, bytes], Row] = {}
    for i, (prompt, length) in enumerate(
        zip(inputs.prompt_of.tolist(), last.tolist(), strict=True)
    ):
        if not length:
            continue
        ids = tokens[i, :length]
        key = (canonical[prompt], ids.tobytes())
        if key not in found:
            found[key] = Row(canonical[prompt], ids)
        found[key].rows.append(i)
    return list(found.values())


def _bundles(rows: list[Row], unit: list[int] | None) -> list[Group]:
    """Rows that must run together: connected through a unit."""
    if unit is None:
        return [[row] for row in rows]
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[int, int] = {}
    for i, row in enumerate(rows):
        for original in row.rows:
            parent[root(i)] = root(first.setdefault(unit[original], i))
    bundles: dict[int, Group] = {}
    for i, row in enumerate(rows):
        bundles.setdefault(root(i), []).append(row)
    return list(bundles.values())


def _fill_rows(bundles: list[Group], prompt_length: list[int], budget: int) -> Iterator[Group]:
    """Rows by length, so that padding them to the longest of their micro-batch costs little."""

    def longest(bundle: Group) -> int:
        return max(prompt_length[row.prompt] + len(row.tokens) - 1 for row in bundle)

    part: Group = []
    for bundle in sorted(bundles, key=longest):
        if part and (len(part) + len(bundle)) * longest(bundle) > budget:
            yield part
            part = []
        part = part + bundle
    if part:
        yield part


def _fill_shared(bundles: list[Group], prompt_length: list[int], budget: int) -> Iterator[Group]:
    """Micro-batches of about equal cost, none above the budget unless one bundle is.

    A prompt's rows stay together if they fit. Prompts of like length and like longest row come
    together.
    """
    families: dict[int, list[Group]] = {}
    for bundle in sorted(bundles, key=lambda b: max(len(row.tokens) for row in b)):
        families.setdefault(bundle[0].prompt, []).append(bundle)

    def likeness(prompt: int) -> tuple[int, int, int]:
        return prompt_length[prompt], max(len(r.tokens) for r in families[prompt][-1]), prompt

    def cost(bundle: Group, have: set[int]) -> int:
        new = {row.prompt for row in bundle} - have
        return sum(len(row.tokens) - 1 for row in bundle) + sum(prompt_length[p] for p in new)

    ordered = [families[prompt] for prompt in sorted(families, key=likeness)]
    costs = [cost([row for bundle in family for row in bundle], set()) for family in ordered]
    target = sum(costs) / max(1, -(-sum(costs) // budget))
    part: Group = []
    have: set[int] = set()
    spent = 0
    for family, price in zip(ordered, costs, strict=True):
        # Start anew where stopping here is nearer to the target than going on.
        fresh = spent + price > budget or target - spent < spent + price - target
        for bundle in family:
            extra = cost(bundle, have)
            if part and (fresh or spent + extra > budget):
                yield part
                part, have, spent = [], set(), 0
                extra = cost(bundle, have)
            fresh = False
            part = part + bundle
            have |= {row.prompt for row in bundle}
            spent += extra
    if part:
        yield part
