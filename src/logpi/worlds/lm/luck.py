"""How much of a credit is luck, in the sentence of `capital`: exact, by enumeration.

Every completion is seven decisions: the five words before the city, the city, the end. Until the
city is chosen nothing changes what will come of it, so a decision before it has the true advantage
0, and whatever a credit gives it is luck.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from logpi.core.types import Credit, Signals
from logpi.worlds.lm.capital import CITIES, REWARD, SENTENCE

__all__ = ["TRUE_ADVANTAGE", "city_credit", "completions", "prefix_moments"]

_CITY = len(SENTENCE)  # which decision the city is
_REWARD = {city: REWARD["right"] if city == "Paris" else REWARD["wrong"] for city in CITIES}
_VALUE = math.fsum(p * _REWARD[city] for city, p in CITIES.items())  # 8, until the city is chosen

TRUE_ADVANTAGE = {city: reward - _VALUE for city, reward in _REWARD.items()}
"""What choosing each city is worth: 2, -18 and -18."""


def completions(cities: Sequence[str]) -> Signals:
    """Return the facts of one group of completions, with the values of an exact critic.

    >>> s = completions(["Paris", "Lyon"])
    >>> s.reward[:, -1].tolist(), [round(v, 6) for v in s.value[1].tolist()]
    ([10.0, -10.0], [8.0, 8.0, 8.0, 8.0, 8.0, 8.0, -10.0])
    """
    earned = torch.tensor([_REWARD[city] for city in cities], dtype=torch.float64)
    rows, decisions = len(cities), _CITY + 2
    last = torch.zeros(rows, decisions, dtype=torch.bool)
    last[:, -1] = True
    value = torch.full((rows, decisions), _VALUE, dtype=torch.float64)
    value[:, -1] = earned  # the city is known, and with it the reward
    following = torch.cat([value[:, 1:], torch.zeros(rows, 1, dtype=torch.float64)], 1)
    return Signals(
        mask=torch.ones_like(last),
        reward=torch.where(last, earned[:, None], 0.0),
        discount=(~last).to(torch.float64),
        end=last,
        weight=torch.full((rows,), 1 / rows, dtype=torch.float64),
        group=torch.zeros(rows, dtype=torch.long),
        value=value,
        next_value=following,
    )


def prefix_moments(credit: Credit, rows: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of the credit of each of the five words before the city.

    Over all batches of this many rows: each way to draw so many of each city, times its multinomial
    probability. No sampling.

    >>> from logpi.core.credit import reward_to_go
    >>> mean, variance = prefix_moments(reward_to_go(), rows=1)
    >>> mean.round(decimals=6).tolist()
    [8.0, 8.0, 8.0, 8.0, 8.0]
    >>> variance.round(decimals=6).tolist()
    [36.0, 36.0, 36.0, 36.0, 36.0]
    """
    first = torch.zeros(_CITY, dtype=torch.float64)
    second = torch.zeros(_CITY, dtype=torch.float64)
    for probability, cities in _batches(rows):
        given = credit(completions(cities))[:, :_CITY]
        first += probability * given.mean(0)
        second += probability * (given**2).mean(0)
    return first, second - first**2


def city_credit(credit: Credit, rows: int) -> dict[str, float]:
    """Return what the credit gives each city on average, over the batches in which it occurs.

    >>> from logpi.core.credit import td_error
    >>> {city: round(mean, 6) for city, mean in city_credit(td_error, rows=1).items()}
    {'Paris': 2.0, 'Lyon': -18.0, 'Marseille': -18.0}
    """
    mass = dict.fromkeys(CITIES, 0.0)
    total = dict.fromkeys(CITIES, 0.0)
    for probability, cities in _batches(rows):
        given = credit(completions(cities))[:, _CITY].tolist()
        for city, one in zip(cities, given, strict=True):
            mass[city] += probability
            total[city] += probability * one
    return {city: total[city] / mass[city] for city in CITIES}


def _batches(rows: int) -> list[tuple[float, list[str]]]:
    """Return every batch, up to the order of its rows, with its probability."""
    found: list[tuple[float, list[str]]] = []
    for drawn in itertools.combinations_with_replacement(CITIES, rows):
        counts = [drawn.count(city) for city in CITIES]
        ways = math.factorial(rows) // math.prod(math.factorial(count) for count in counts)
        chance = math.prod(p**count for p, count in zip(CITIES.values(), counts, strict=True))
        found.append((ways * chance, list(drawn)))
    return found
