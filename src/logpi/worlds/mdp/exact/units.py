"""Every batch that a recipe can see, each with its probability: groups, pairs, rows.

A *unit* is what is drawn from one start state: a row, a group of rows, a pair, a row and a greedy
one. A batch is one unit or several. Rows are drawn independently, so a batch is a multiset, and its
probability is multinomial: 40 rows make 820 groups of two, not 1600.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.types import Data

__all__ = ["Draws", "Label", "Plan", "Rows", "count_batches", "every_batch", "multisets", "plan_of"]

Label = Literal["return", "bradley-terry"]
"""Who of a pair is chosen: the better return, ties dropped; or with probability σ(R − R')."""

Compare = Literal["none", "groups", "mixed-groups", "greedy", "pairs"]
_COMPARE: dict[Data, Compare] = {
    "groups": "groups",
    "mixed-groups": "mixed-groups",
    "on-policy+greedy": "greedy",
    "pairs": "pairs",
}


class Rows(Protocol):
    """What is read of rows: the state each starts in, and what it returns."""

    @property
    def start(self) -> Int[Tensor, " n"]:
        """The first state; −1 where nothing was ever decided."""
        ...

    @property
    def total(self) -> Float[Tensor, " n"]:
        """R(τ), discounted from the start."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How a batch is put together: `units` units of `size` rows that share a start state."""

    compare: Compare
    size: int
    units: int
    label: Label = "return"

    @property
    def sentence(self) -> str:
        """The batch in words."""
        many = "" if self.units == 1 else f"{self.units} × "
        return {
            "none": "one row" if self.units == 1 else f"{self.units} rows",
            "groups": f"{many}a group of {self.size} rows from one start state",
            "mixed-groups": f"{many}a group of {self.size} rows that differ in return",
            "greedy": f"{many}a row, and a greedy one from its start state as its baseline",
            "pairs": f"{many}two rows from one start state, "
            + (
                "the better return chosen, ties dropped"
                if self.label == "return"
                else "chosen by Bradley–Terry from their returns"
            ),
        }[self.compare]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """b batches of k rows, by the rows' numbers."""

    rows: Int[Tensor, "b k"]
    unit: Int[Tensor, " k"]  # which unit of its batch a row belongs to
    probability: Float[Tensor, " b"]  # sums to 1
    baseline: Float[Tensor, "b k"] | None = None  # the return of the unit's greedy row
    labelled: bool = False  # of a pair, the first row is chosen whatever it earned

    @property
    def count(self) -> int:
        """How many batches."""
        return len(self.rows)

    def part(self, low: int, high: int) -> Draws:
        """Some of the batches, in order."""
        return replace(
            self,
            rows=self.rows[low:high],
            probability=self.probability[low:high],
            baseline=None if self.baseline is None else self.baseline[low:high],
        )


def plan_of(
    data: Data, *, group_size: int = 2, rows: int = 1, groups: int = 1, label: Label = "return"
) -> Plan:
    """How batches of this kind of data are put together.

    Raises `ConfigError` for sizes below 1, and for a group of one row.

    >>> plan_of("groups", group_size=4).sentence
    'a group of 4 rows from one start state'
    """
    for name, value in (("group_size", group_size), ("rows", rows), ("groups", groups)):
        if value < 1:
            raise ConfigError(f"{name} is {value} but must be at least 1.")
    compare = _COMPARE.get(data, "none")
    if compare in ("groups", "mixed-groups"):
        if group_size < 2:
            raise ConfigError(
                f"group_size is {group_size}, but a recipe that compares rows needs at least 2."
            )
        return Plan(compare, group_size, groups)
    if compare == "pairs":
        return Plan(compare, 2, groups, label)
    return Plan(compare, 1, rows)


def multisets(p: Float[ndarray, " n"], size: int) -> tuple[ndarray, ndarray]:
    """All multisets of `size` draws as sorted indices [b, size], and their probabilities [b].

    size! / Π mᵢ! · Π pᵢ^mᵢ, with mᵢ how often i was drawn

    >>> index, probability = multisets(np.array([0.5, 0.5]), 2)
    >>> index.tolist(), probability.tolist()
    ([[0, 0], [0, 1], [1, 1]], [0.25, 0.5, 0.25])
    """
    every = itertools.combinations_with_replacement(range(len(p)), size)
    flat = np.fromiter(itertools.chain.from_iterable(every), dtype=np.int64)
    index = flat.reshape(-1, size)
    run, ways = np.ones(len(index)), np.full(len(index), float(math.factorial(size)))
    for column in range(1, size):
        run = np.where(index[:, column] == index[:, column - 1], run + 1, 1.0)
        ways /= run  # the product of 1, 2, ..., m over a run is m!
    return index, ways * p[index].prod(1)


def count_batches(starts: Int[ndarray, " s"], plan: Plan) -> int:
    """How many batches there are, where `starts` says how many rows begin in each start state.

    >>> count_batches(np.array([40]), plan_of("groups", group_size=2))
    820
    """
    units = sum(_units(int(n), plan) for n in starts)
    return math.comb(units + plan.units - 1, plan.units)


def _units(n: int, plan: Plan) -> int:
    if plan.compare == "greedy":
        return n  # at least; as many more as the greedy policy's own rows
    if plan.compare == "pairs" and plan.label == "bradley-terry":
        return n * n
    return math.comb(n + plan.size - 1, plan.size)


def every_batch(
    rows: Rows,
    probability: Float[Tensor, " n"],
    plan: Plan,
    *,
    greedy: Float[Tensor, " n"] | None = None,
    limit: int,
) -> Draws:
    """All batches of rows drawn by `probability`; `greedy` is the law of the greedy rows.

    Where only units that differ are kept, these are the batches given that they do: more are drawn
    until there is one. Raises `ConfigError`, with the count, where there are more than `limit`, and
    where no unit differs.
    """
    p = probability.numpy()
    possible = np.flatnonzero(p > 0)
    of_start = [possible[rows.start.numpy()[possible] == s] for s in np.unique(rows.start.numpy())]
    of_start = [here for here in of_start if len(here)]
    _check(
        count_batches(np.array([len(here) for here in of_start]), plan), len(possible), plan, limit
    )
    units = [_units_from(here, rows, p, plan, greedy) for here in of_start]
    index = np.concatenate([u[0] for u in units])
    weight = np.concatenate([u[1] for u in units])
    baseline = np.concatenate([u[2] for u in units])
    if not weight.sum() > 0:
        raise ConfigError(
            f"a batch is {plan.sentence}, but all rows from one start state have the same return. "
            "Take another model or reward, or a recipe that keeps such groups."
        )
    weight = weight / weight.sum()
    chosen, probability_of = multisets(weight, plan.units)
    _check(len(chosen), len(possible), plan, limit)
    return Draws(
        rows=torch.from_numpy(index[chosen].reshape(len(chosen), -1)),
        unit=torch.arange(plan.units).repeat_interleave(plan.size),
        probability=torch.from_numpy(probability_of),
        baseline=torch.from_numpy(baseline[chosen]) if plan.compare == "greedy" else None,
        labelled=plan.compare == "pairs" and plan.label == "bradley-terry",
    )


def _units_from(
    here: Int[ndarray, " n"], rows: Rows, p: ndarray, plan: Plan, greedy: Tensor | None
) -> tuple[ndarray, ndarray, ndarray]:
    """Units from one start state: row numbers [u, size], probabilities [u], greedy returns [u]."""
    mass = p[here].sum()
    within, total = p[here] / mass, rows.total.numpy()
    if plan.compare == "greedy":
        assert greedy is not None
        best = np.flatnonzero(
            (greedy.numpy() > 0) & (rows.start.numpy() == rows.start[here[0]].item())
        )
        share = greedy.numpy()[best] / greedy.numpy()[best].sum()
        row, other = (x.ravel() for x in np.meshgrid(here, best, indexing="ij"))
        weight = mass * np.multiply.outer(within, share).ravel()
        return row[:, None], weight, total[other]
    if plan.compare == "pairs" and plan.label == "bradley-terry":
        first, second = (x.ravel() for x in np.meshgrid(here, here, indexing="ij"))
        preferred = 1 / (1 + np.exp(total[second] - total[first]))
        weight = mass * 2 * np.multiply.outer(within, within).ravel() * preferred
        return np.stack([first, second], 1), weight, np.zeros(len(first))
    index, weight = multisets(within, plan.size)
    index, weight = here[index], mass * weight
    if plan.compare in ("pairs", "mixed-groups"):
        differs = total[index].max(1) > total[index].min(1)
        index, weight = index[differs], weight[differs]
    return index, weight, np.zeros(len(index))


def _check(count: int, rows: int, plan: Plan, limit: int) -> None:
    if count > limit:
        many = f"{count:,}" if count < 10**15 else f"about 1e{len(str(count)) - 1}"
        raise ConfigError(
            f"{rows:,} trajectories make {many} batches ({plan.sentence}), more than the limit of "
            f"{limit:,}. Lower the horizon, group_size, rows or groups, take a smaller model, or "
            "draw a sample: audit.sampled(recipe, world=..., batches=10_000), or --sampled 10000, "
            "gives an audit's figures with confidence intervals, and source=sampled trains."
        )
