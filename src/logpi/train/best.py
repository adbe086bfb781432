"""The best policy that an evaluation has found: exported, with its score beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from logpi.train.files import disk_full, folder_in_one_go

__all__ = ["GOALS", "Best", "best_score", "score_of"]

_SCORE = "score.json"
GOALS = ("reward", "return", "preferred")
"""What an evaluation is judged by: the first of these that it has, the more the better."""


def score_of(figures: Mapping[str, Any]) -> float | None:
    """What an evaluation is compared by: reward, else return, share of pairs, log-likelihood.

    >>> score_of({"return": 3.0, "return_std": 1.0}), score_of({"nll": 0.5}), score_of({})
    (3.0, -0.5, None)
    """
    for name, sign in (*((goal, 1) for goal in GOALS), ("nll", -1)):
        if isinstance(value := figures.get(name), int | float) and math.isfinite(value):
            return sign * float(value)
    return None


class Best:
    """A folder that holds the best policy so far, exported, and `score.json`."""

    def __init__(self, folder: Path) -> None:
        """Of a run that goes on, the best of what is there."""
        self._folder = folder
        told = best_score(folder)
        self.score = -math.inf if told is None else float(told["score"])

    def consider(
        self, iteration: int, figures: Mapping[str, float], export: Callable[[Path], Any]
    ) -> bool:
        """Whether this policy is better than all before it; then it was written.

        The first of equals stays, so that a resumed run keeps what an unbroken one would.
        """
        score = score_of(figures)
        if score is None or score <= self.score:
            return False
        told = {"iteration": iteration, "score": score, **figures}
        survives = "The best policy before this one survives."
        with disk_full(self._folder, survives), folder_in_one_go(self._folder) as folder:
            export(folder)
            text = json.dumps(told, indent=1) + "\n"
            (folder / _SCORE).write_text(text, encoding="utf-8")
        self.score = score
        return True


def best_score(folder: Path) -> dict[str, Any] | None:
    """What is known of the best policy in the folder: iteration, score and figures, if any.

    >>> best_score(Path("nowhere")) is None
    True
    """
    try:
        told = json.loads((folder / _SCORE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("score"), int | float) else None
