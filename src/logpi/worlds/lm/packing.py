"""`plan`: which rows run, merged, truncated and sorted into micro-batches. Counting, no tensors with gradients."""

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

    Rows with the same `unit`, and equal rows, are never separated. Where a prompt's positions are `shared` by its
    rows in a micro-batch they count once, else once per row.
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
    order = _PromptOrder(prompts, rows)
    bundles.sort(key=order)
    parts = list(_filled(bundles, _Cost([len(p) for p in prompts], shared), budget))
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
    for i, (prompt, length) in enumerate(zip(inputs.prompt_of.tolist(), last.tolist(), strict=True)):
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


class _PromptOrder:
    """Sorts bundles: prompts of like length and like longest row together, a prompt's rows by length."""

    def __init__(self, prompts: list[Ids], rows: list[Row]) -> None:
        longest = [0] * len(prompts)
        for row in rows:
            longest[row.prompt] = max(longest[row.prompt], len(row.tokens))
        self.key = [(len(p), most, i) for i, (p, most) in enumerate(zip(prompts, longest, strict=True))]

    def __call__(self, bundle: Group) -> tuple[tuple[int, int, int], int]:
        return self.key[bundle[0].prompt], max(len(row.tokens) for row in bundle)


@dataclass(slots=True)
class _Cost:
    """Positions that running a bundle adds to a micro-batch."""

    prompt_length: list[int]
    shared: bool

    def __call__(self, bundle: Group, have: set[int]) -> int:
        own = sum(len(row.tokens) - 1 for row in bundle)
        if self.shared:
            return own + sum(self.prompt_length[p] for p in {row.prompt for row in bundle} - have)
        return own + sum(self.prompt_length[row.prompt] for row in bundle)


def _filled(bundles: list[Group], cost: _Cost, budget: int) -> Iterator[Group]:
    """Micro-batches of about equal cost, none above the budget unless one bundle is; prompts whole if they fit."""
    by_prompt: list[list[Group]] = []
    for bundle in bundles:
        if not by_prompt or by_prompt[-1][0][0].prompt != bundle[0].prompt:
            by_prompt.append([])
        by_prompt[-1].append(bundle)
    whole = [[row for bundle in family for row in bundle] for family in by_prompt]
    costs = [cost(family, set()) for family in whole]
    target = sum(costs) / max(1, -(-sum(costs) // budget))
    part: Group = []
    have: set[int] = set()
    spent = 0
    for family, together, price in zip(by_prompt, whole, costs, strict=True):
        # Nearest to the target: start anew where stopping here is closer to it than going on.
        if part and (spent + price > budget or target - spent < spent + price - target):
            yield part
            part, have, spent = [], set(), 0
        for bundle in [together] if price <= budget else family:
            extra = cost(bundle, have)
            if part and spent + extra > budget:
                yield part
                part, have, spent = [], set(), 0
                extra = cost(bundle, have)
            part = part + bundle
            have |= {row.prompt for row in bundle}
            spent += extra
    if part:
        yield part
