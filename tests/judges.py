"""Rewards for tests, in a module that a reward's worker imports quickly."""

from __future__ import annotations

from typing import Any


def sevens(prompt: str, completion: str, **columns: Any) -> float:
    """The share of sevens among four characters."""
    return min(completion.count("7"), 4) / 4


def steps_with_seven(prompt: str, completion: str, **columns: Any) -> list[float]:
    """1 for each step that has a seven; a step ends with '='."""
    pieces = completion.split("=")
    steps = [piece + "=" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
    return [float("7" in step) for step in (steps or [""])]


def sometimes(prompt, completion, **columns):
    if prompt.startswith("1"):
        raise ValueError("cannot judge this one")
    return float(len(completion))


def lists(prompt, completion, **columns):
    return [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def nothing(prompt: str, completion: str, **columns: Any) -> float:
    """0, whatever was written."""
    return 0.0
