"""The lines of the speed table: one model each, and what the table asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["LINES", "Line", "small"]

SIDES = {"1e4": 100, "1e5": 316, "1e6": 1000}  # of a square grid


@dataclass(frozen=True, slots=True)
class Line:
    """A model, how many times faster than quantecon it should be, and the most CPU seconds."""

    make: Callable[[], FiniteMDP]
    ratio: float | None = None
    seconds: float | None = None
    peers: bool = True  # whether the other side can be expected to finish


def _grid(size: str, discount: float, **options: object) -> Callable[[], FiniteMDP]:
    side = SIDES[size]
    return lambda: zoo.slip_grid(side, side, discount=discount, **options)  # pyright: ignore[reportArgumentType] # options of many types


def _lasting(size: str, discount: float) -> Callable[[], FiniteMDP]:
    """A slip grid without an end, whose central cell pays 1 whenever one is there."""

    def make() -> FiniteMDP:
        side = SIDES[size]
        m = zoo.slip_grid(side, side, goal=None, discount=discount)
        reward = np.zeros_like(m.reward)
        reward[side // 2 * side + side // 2] = 1
        return m.having(reward=reward)

    return make


def _lines() -> dict[str, Line]:
    lines = {
        "garnet 1e5 .99": Line(lambda: zoo.garnet(100_000, discount=0.99), ratio=2),
        "garnet 1e6 .99": Line(lambda: zoo.garnet(1_000_000, discount=0.99), ratio=2),
    }
    required = {"1e4": (5, 40, 200), "1e5": (4, 25, 200)}
    discounts = {".99": 0.99, ".999": 0.999, ".9999": 0.9999}
    for size, ratios in required.items():
        for (name, discount), ratio in zip(discounts.items(), ratios, strict=True):
            lines[f"grid {size} {name}"] = Line(_grid(size, discount), ratio=ratio)
    for size, ratios in required.items():
        for (name, discount), ratio in zip(discounts.items(), ratios, strict=True):
            lines[f"lasting {size} {name}"] = Line(_lasting(size, discount), ratio=ratio)
    for name, discount in discounts.items():
        lines[f"grid 1e6 {name}"] = Line(_grid("1e6", discount), seconds=8, peers=name == ".99")
    variants = {
        "random": {"rewards": "random"},
        "slip .6": {"slip": 0.6},
        "no goal": {"rewards": "random", "goal": None},
    }
    for name, options in variants.items():
        lines[f"{name} 1e5 .999"] = Line(_grid("1e5", 0.999, **options), ratio=5)
    for name, options in variants.items():
        lines[f"{name} 1e6 .999"] = Line(_grid("1e6", 0.999, **options), seconds=40, peers=False)
    lines["machine 1e6 .999"] = Line(
        lambda: zoo.machine_replacement(1_000_000, discount=0.999), peers=False
    )
    return lines


LINES = _lines()
"""Name to line, in the order of the table."""


def small(name: str) -> FiniteMDP:
    """A small model of the same kind, for the compilers of either side to warm up on."""
    if name.startswith("garnet"):
        return zoo.garnet(500, discount=0.9)
    if name.startswith("machine"):
        return zoo.machine_replacement(500, discount=0.999)
    goal = None if name.startswith("no goal") else (-1, -1)
    return zoo.slip_grid(25, 25, goal=goal, rewards="random", discount=0.999)
