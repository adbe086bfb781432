"""What an iteration learns from: the batch's rows, or its decisions where rows may be split."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from logpi.core.errors import NonFiniteError
from logpi.core.recipe import Recipe
from logpi.core.traits import traits_of
from logpi.core.types import Policy, Signals, StepwisePolicy
from logpi.train.update import Pushed, partition

__all__ = ["Update", "Work", "naming_rows", "parts_of", "rolled_up", "splits_rows", "work_of"]


@dataclass(frozen=True, slots=True)
class Work:
    """Rows on their way through the optimizer: fixed for the whole iteration."""

    inputs: Any
    signals: Signals
    weight: Tensor  # [n, t], as the recipe averages
    live: Tensor  # [n, t], where the coefficient is not known to be 0
    target: Tensor | None  # [n, t], what the critic is fitted to


class Update(Protocol):
    """What moves policy and critic: by autograd, or in closed form."""

    def learn(
        self, work: Work, recipe: Recipe, *, iteration: int
    ) -> tuple[Pushed, dict[str, float]]:
        """What was pushed of every decision, and figures, after an iteration's steps.

        Raises `NonFiniteError` before anything moves along what is NaN or infinite.
        """
        ...


def splits_rows(recipe: Recipe, policy: Policy) -> bool:
    """Whether mini-batches are drawn among decisions, as PPO draws them.

    arXiv 1707.06347, algorithm 1. A row is a unit where the coefficient reads the whole of it
    (GSPO), or it is half of a pair; and where the policy's decisions depend on each other, as a
    language model's do.
    """
    together = recipe.data == "pairs" or traits_of(recipe.coefficient).whole_row
    return not together and _stepwise(type(policy))


@cache  # a protocol asks for every method anew
def _stepwise(policy: type) -> bool:
    return issubclass(policy, StepwisePolicy)


def work_of(work: Work, recipe: Recipe, policy: Policy) -> Work:
    """The same work, each decision a row of its own where nothing holds a row together."""
    if not splits_rows(recipe, policy):
        return work
    signals, mask = work.signals.unrolled(), work.signals.mask
    whole = len(signals.mask) == mask.numel()

    def decisions(x: Tensor) -> Tensor:
        return (x.reshape(-1) if whole else x[mask])[:, None]

    return Work(
        cast("StepwisePolicy", policy).unroll(work.inputs, mask),
        signals,
        decisions(work.weight),
        decisions(work.live),
        None if work.target is None else decisions(work.target),
    )


def parts_of(work: Work, policy: Policy, count: int, *, seed: int) -> list[tuple[Tensor, Work]]:
    """The work of each step of an epoch, with the numbers of the rows that it is of.

    Where the policy can split rows, a part holds its own rows alone, in an order of their own;
    elsewhere it holds all, and those of other parts have no weight.
    """
    rows = partition(work.signals, count, seed=seed)
    if len(rows) <= 1:
        return [(chosen, work) for chosen in rows]
    if not isinstance(policy, StepwisePolicy):
        return [(chosen, _only(work, chosen)) for chosen in rows]
    order, sizes = torch.cat(rows), [len(chosen) for chosen in rows]
    target = [None] * len(rows) if work.target is None else work.target[order].split(sizes)
    columns = (
        policy.split(work.inputs, order, sizes),
        work.signals.split(order, sizes),
        work.weight[order].split(sizes),
        work.live[order].split(sizes),
        target,
    )
    return [(chosen, Work(*x)) for chosen, x in zip(rows, zip(*columns, strict=True), strict=True)]


@contextlib.contextmanager
def naming_rows(rows: Tensor, part: Work) -> Iterator[None]:
    """A context whose `NonFiniteError` names rows by their numbers in the whole work.

    `part` is the work of these rows. Where none of them is to blame, it is all that push or fit.
    """
    try:
        yield
    except NonFiniteError as error:
        own = len(part.live) == len(rows)  # else all rows are in it, by their own numbers
        if error.rows is None:
            live = part.live.any(1)
            here = live if own else live[rows]
            error.rows = rows[here | (part.target is not None)].tolist()
        elif own:
            error.rows = rows[list(error.rows)].tolist()
        raise


def _only(work: Work, rows: Tensor) -> Work:
    here = torch.zeros_like(work.live[:, :1])
    here[rows] = True
    return replace(work, weight=work.weight * here, live=work.live & here)


def rolled_up(x: Tensor, mask: Tensor, *, empty: float) -> Tensor:
    """[n, t] of what was found for rows, or for the decisions of the mask as rows of their own.

    >>> import torch
    >>> mask = torch.tensor([[True, False], [True, True]])
    >>> rolled_up(torch.tensor([[1.0], [2.0], [3.0]]), mask, empty=0.0).tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """
    if x.shape == mask.shape:
        return x
    if len(x) == mask.numel():
        return x.reshape(mask.shape)
    out = x.new_full(mask.shape, empty)
    out[mask] = x[:, 0]
    return out
