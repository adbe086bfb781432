"""Batches that are drawn instead of enumerated, as training's sources draw them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from logpi.audit.critics import Values
from logpi.audit.problem import greedy_law
from logpi.audit.rows import Rows, rows_of
from logpi.audit.setup import Setup
from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.worlds.mdp.exact.units import Draws, Plan
from logpi.worlds.mdp.rollout import rollout, start_states

__all__ = ["draw_batches"]

_ROUNDS = 50  # of drawing again, where only units that differ are kept


def draw_batches(setup: Setup, values: Values, *, batches: int, seed: int) -> tuple[Rows, Draws]:
    """Batches of the recipe's law; every row is a trajectory of its own.

    Raises `ConfigError` where units that differ in return hardly ever occur.
    """
    plan, wanted = setup.plan, batches * setup.plan.units
    walker = _Walker(setup, values)
    rows, starts = _units(walker, setup.law.table, wanted, seed)
    index = torch.arange(wanted * plan.size).reshape(wanted, plan.size)
    labelled = plan.compare == "pairs" and plan.label == "bradley-terry"
    if labelled:
        index = _chosen_first(index, rows, seed)
    baseline = None
    if plan.compare == "greedy":
        best = walker.walk(greedy_law(setup.problem).table, starts, mix(seed, 2))
        baseline = best.total.reshape(batches, -1)
    return rows, Draws(
        rows=index.reshape(batches, -1),
        unit=torch.arange(plan.units).repeat_interleave(plan.size),
        probability=torch.full((batches,), 1 / batches, dtype=torch.float64),
        baseline=baseline,
        labelled=labelled,
    )


@dataclass(frozen=True, slots=True)
class _Walker:
    """Walks through the problem's model, as rows."""

    setup: Setup
    values: Values

    def walk(self, table: Tensor, starts: Int[ndarray, " n"], seed: int) -> Rows:
        """A row from each start state, under a table of log-probabilities."""
        problem = self.setup.problem
        found = rollout(
            problem.m,
            table.exp().numpy(),
            starts,
            limit=problem.horizon or problem.time_limit,
            seed=seed,
        )
        return rows_of(
            problem.m,
            found,
            horizon=problem.horizon,
            values=self.values,
            reference=problem.reference_table,
        )


def _units(walker: _Walker, table: Tensor, wanted: int, seed: int) -> tuple[Rows, ndarray]:
    """The rows of `wanted` units in order, and the units' start states."""
    plan, m = walker.setup.plan, walker.setup.problem.m
    parts: list[Rows] = []
    starts: list[ndarray] = []
    have = 0
    for attempt in range(_ROUNDS if _keeps_differing(plan) else 1):
        start = start_states(m, wanted, mix(seed, attempt))
        rows = walker.walk(table, np.repeat(start, plan.size), mix(seed, attempt, 1))
        kept = torch.arange(wanted)
        if _keeps_differing(plan):
            total = rows.total.reshape(wanted, plan.size)
            kept = (total.amax(1) > total.amin(1)).nonzero()[:, 0][: wanted - have]
        parts.append(rows.take((kept[:, None] * plan.size + torch.arange(plan.size)).flatten()))
        starts.append(start[kept.numpy()])
        have += len(kept)
        if have == wanted:
            return Rows.joined(parts), np.concatenate(starts)
    raise ConfigError(
        f"a batch is {plan.sentence}, but {_ROUNDS} rounds found only {have} of {wanted} such "
        "units. Take a model whose returns differ, or a recipe that keeps all groups."
    )


def _keeps_differing(plan: Plan) -> bool:
    return plan.compare == "mixed-groups" or (plan.compare == "pairs" and plan.label == "return")


def _chosen_first(index: Int[Tensor, "u 2"], rows: Rows, seed: int) -> Int[Tensor, "u 2"]:
    """The rows of each pair, the chosen one first: with probability σ(R − R')."""
    gap = rows.total[index[:, 0]] - rows.total[index[:, 1]]
    u = np.random.Generator(np.random.Philox(mix(seed, 3))).random(len(index))
    swap = torch.from_numpy(u) >= torch.sigmoid(gap)
    return torch.where(swap[:, None], index.flip(1), index)
