"""Sums over rows that share a group id; used by credits of groups and by coefficients of pairs."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from logpi.core.errors import GroupError

__all__ = ["group_index", "group_mean", "group_sizes", "group_spread", "group_sum"]


def group_index(group: Int[Tensor, " n"]) -> tuple[Int[Tensor, " n"], int]:
    """The position of each row's group among the distinct ids, and how many groups there are.

    >>> group_index(torch.tensor([7, 3, 7]))
    (tensor([1, 0, 1]), 2)
    """
    ids, index = _distinct(group)
    return index, len(ids)


def group_sum(x: Float[Tensor, " n"], group: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The sum of x over each row's group.

    >>> group_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 0])).tolist()
    [4.0, 2.0, 4.0]
    """
    index, count = group_index(group)
    return x.new_zeros(count).index_add(0, index, x)[index]


def group_sizes(group: Int[Tensor, " n"], *, at_least: int = 1) -> Float[Tensor, " n"]:
    """The number of rows in each row's group; raises `GroupError` where it is below `at_least`.

    >>> group_sizes(torch.tensor([0, 1, 0])).tolist()
    [2.0, 1.0, 2.0]
    """
    index, count = group_index(group)
    sizes = torch.bincount(index, minlength=count)
    small = (sizes < at_least).nonzero()
    if len(small):
        which = int(_distinct(group)[0][int(small[0])])
        raise GroupError(
            f"group {which} has {int(sizes[int(small[0])])} row, but comparing rows needs at least "
            f"{at_least} in every group. Draw more completions per prompt (group_size), or drop "
            "the group whole."
        )
    return sizes[index].to(torch.get_default_dtype())


def group_mean(x: Float[Tensor, " n"], group: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The mean of x over each row's group; exactly x where the whole group is equal.

    Rounding must not turn a group without a difference into one with a small difference: its credit
    has to be exactly 0.

    >>> x = torch.full((3,), 0.1)
    >>> bool((group_mean(x, torch.zeros(3, dtype=torch.long)) == x).all())
    True
    """
    index, count = group_index(group)
    high = x.new_full((count,), -torch.inf).scatter_reduce(0, index, x, "amax")[index]
    low = x.new_full((count,), torch.inf).scatter_reduce(0, index, x, "amin")[index]
    size = group_sizes(group).to(x.dtype)
    return torch.where(high == low, x, group_sum(x, group) / size)


def group_spread(x: Float[Tensor, " n"], group: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The standard deviation of x over each row's group, with one degree of freedom removed.

    >>> group_spread(torch.tensor([1.0, 3.0]), torch.tensor([0, 0])).tolist()
    [1.4142135381698608, 1.4142135381698608]
    """
    size = group_sizes(group, at_least=2).to(x.dtype)
    return (group_sum((x - group_mean(x, group)) ** 2, group) / (size - 1)).sqrt()


def _distinct(group: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.unique(group, return_inverse=True)  # pyright: ignore  # torch leaves it untyped
    return cast("tuple[Tensor, Tensor]", found)
