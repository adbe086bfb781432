"""What decisions.jsonl says of a row: every decision's facts, null where never assigned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from logpi.core.recipe import Recipe
from logpi.core.types import Batch, Signals
from logpi.train.update import Pushed, clipped

__all__ = ["decision_records", "numbers"]


def decision_records(
    batch: Batch,
    signals: Signals,
    weight: Tensor,
    *,
    pushed: Pushed,
    recipe: Recipe,
    rows: list[int],
    describe: Callable[[Batch, int], dict[str, Any]],
) -> list[dict[str, Any]]:
    """One record per row of `rows`, as `logpi show` and the report read them.

    `coefficient` is 0 where a decision was left out of the forward pass because it was known to be
    0 (then `logp` is the one recorded when sampling, or null), and null where there was no
    decision.
    """
    rewarded = recipe.data != "demonstrations"  # given text was never judged: that is not a 0
    columns = _columns(signals, weight, pushed)
    if not rewarded:
        columns["rewards"] = None
    credit, mask = signals.credit, signals.mask
    credit = pushed.coefficient if credit is None else credit
    live = recipe.live(mask, credit, weight)
    columns["clipped"] = clipped(recipe, pushed.coefficient, credit, live)
    known = {name: x if x is None else numbers(x[rows], mask[rows]) for name, x in columns.items()}
    records: list[dict[str, Any]] = []
    for i, row in enumerate(rows):
        length = int(mask[row].nonzero().max()) + 1 if mask[row].any() else 0
        record = {"row": row, **describe(batch, row), "mask": mask[row, :length].tolist()}
        record["group"] = None if signals.group is None else int(signals.group[row])
        record["reward"] = float(signals.reward[row].sum()) if rewarded else None
        record |= {name: x if x is None else x[i][:length] for name, x in known.items()}
        records.append(record)
    return records


def _columns(signals: Signals, weight: Tensor, pushed: Pushed) -> dict[str, Tensor | None]:
    return {
        "logp": pushed.logp.where(~pushed.logp.isnan(), _or_nan(signals.logp_old, pushed.logp)),
        "logp_old": signals.logp_old,
        "logp_sampler": signals.logp_sampler,
        "logp_ref": signals.logp_ref,
        "value": signals.value,
        "rewards": signals.reward,
        "credit": signals.credit,
        "coefficient": pushed.coefficient,
        "weight": weight,
    }


def numbers(x: Tensor, mask: Tensor) -> list[list[float | bool | None]]:
    """The values of rows as JSON has them: null where nothing was decided or the value is NaN.

    Single precision is told in the nine digits that it has.

    >>> import torch
    >>> x = torch.tensor([[1.1, 0.0, float("nan")]])
    >>> numbers(x, torch.ones(1, 3, dtype=torch.bool))
    [[1.10000002, 0.0, None]]
    """
    values = (_nine_digits(x) if x.dtype == torch.float32 else x).tolist()
    told = mask & x.isfinite()
    if told.all():
        return values
    rows = zip(values, told.tolist(), strict=True)
    return [[v if here else None for v, here in zip(*row, strict=True)] for row in rows]


def _nine_digits(x: Tensor) -> ndarray:
    """The same numbers in double precision, as JSON writes them shortest: no digit is noise."""
    y = x.numpy(force=True).astype(np.float64)
    size = np.abs(y)
    told = (size > 0) & (size < 1e9)
    scale = 10.0 ** (8 - np.floor(np.log10(size, where=told, out=np.zeros_like(y))))
    return np.where(told, np.rint(y * scale) / scale, y)


def _or_nan(x: Tensor | None, like: Tensor) -> Tensor:
    return like.new_full((), math.nan).expand(like.shape) if x is None else x
