"""Operations research: a forest, an inventory, and a machine that wears out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.tables import check_at_least, check_probability, from_outcomes

__all__ = ["forest", "inventory", "machine_replacement"]


def forest(
    states: int = 3, *, r1: float = 4.0, r2: float = 2.0, p: float = 0.1, discount: float = 0.9
) -> FiniteMDP:
    """Return pymdptoolbox's forest (`mdptoolbox.example.forest`): wait (0) or cut (1) each year.

    States are ages 0 to `states` − 1. Waiting, the forest grows older, or burns down to age 0 with
    probability p; in the oldest state waiting pays r1. Cutting pays 0 at age 0, 1 at a middle age,
    r2 in the oldest state, and leads to age 0.

    >>> forest().reward
    array([[0., 0.],
           [0., 1.],
           [4., 2.]])
    """
    check_at_least(states=(states, 2))
    check_probability(p=p)
    age, oldest = np.arange(states), states - 1
    young = np.zeros_like(age)
    successor = np.stack(
        [np.stack([young, np.minimum(age + 1, oldest)], 1), np.stack([young, young], 1)], 1
    )
    reward = np.zeros((states, 2))
    reward[1:, 1] = 1.0
    reward[oldest] = r1, r2
    return from_outcomes(
        successor,
        [[p, 1 - p], [1.0, 0.0]],
        reward,
        discount,
        layout=Layout(actions=("wait", "cut")),
        name="forest",
    )


def inventory(
    capacity: int = 3,
    *,
    demand: Sequence[float] = (0.25, 0.5, 0.25),
    price: float = 8.0,
    order_cost: float = 4.0,
    unit_cost: float = 2.0,
    holding_cost: float | Callable[[np.ndarray], np.ndarray] = 1.0,
    lost_sale: float = 0.0,
    discount: float = 0.9,
) -> FiniteMDP:
    """Return the stochastic inventory of Puterman (1994), section 3.2: how many units to order.

    State s: units in stock, 0 to `capacity`; action a ≤ capacity − s orders a units, which arrive
    at once. Demand D is d with probability `demand[d]`; what is not in stock is not sold.

        r(s, a) = price·E[min(D, s+a)] − order_cost·[a > 0] − unit_cost·a − holding_cost·(s + a)

    less `lost_sale` for each unit of unmet demand; `holding_cost` may be a function of s + a.

    >>> inventory().reward[0]
    array([ 0., -1., -2., -5.])
    """
    check_at_least(capacity=(capacity, 1))
    chance = np.asarray(demand, float)
    stock, order = np.arange(capacity + 1)[:, None], np.arange(capacity + 1)
    on_hand = np.minimum(stock + order, capacity)
    sold = np.minimum(np.arange(len(chance)), on_hand[..., None])
    missed = np.arange(len(chance)) - sold
    held = holding_cost(on_hand) if callable(holding_cost) else holding_cost * on_hand
    bought = order_cost * (order > 0) + unit_cost * order
    return from_outcomes(
        on_hand[..., None] - sold,
        chance,
        (price * sold - lost_sale * missed) @ chance - bought - held,
        discount,
        allowed=stock + order <= capacity,
        layout=Layout(actions=tuple(f"order {a}" for a in range(capacity + 1))),
        name="inventory",
    )


def machine_replacement(
    states: int = 100,
    *,
    wear: Sequence[float] = (0.2, 0.5, 0.3),
    worst: float = 10.0,
    replacement: float = 25.0,
    income: float = 0.0,
    discount: float = 0.99,
    dtype: Any = np.float64,
) -> FiniteMDP:
    """Return the equipment replacement of Puterman (1994), section 4.7.5: operate (0) or replace.

    State s: how worn the machine is. Each period it wears by d more levels with probability
    `wear[d]`, up to states − 1. Operating in state s pays income − h(s), h(s) = worst·s/(states−1);
    replacing pays income − replacement − h(0), and the new machine wears from level 0. The best
    policy replaces from some level on (Puterman, Theorem 4.7.5).

    >>> m = machine_replacement(4, wear=(0.5, 0.5))
    >>> m.row(2, 0), m.row(2, 1)[0]
    ((array([2, 3], dtype=int32), array([0.5, 0.5])), array([0, 1], dtype=int32))

    Raises `ConfigError` where `wear` is not a distribution.
    """
    check_at_least(states=(states, 2))
    chance = np.asarray(wear, float)
    if (chance < 0).any() or abs(chance.sum() - 1) > 1e-9:
        raise ConfigError(f"`wear` is {list(wear)} but must be a distribution, summing to 1.")
    level = np.arange(states)[:, None]
    worn = np.minimum(level * [1, 0] + np.arange(len(chance))[:, None, None], states - 1)
    cost = worst * level / (states - 1) * [1, 0] + [0.0, replacement]
    return from_outcomes(
        worn.transpose(1, 2, 0),
        chance,
        income - cost,
        discount,
        dtype=dtype,
        start=0,
        layout=Layout(actions=("operate", "replace")),
        name="machine_replacement",
    )
