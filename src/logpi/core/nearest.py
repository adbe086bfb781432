"""The near miss that an error message suggests."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, or None if none does.

    >>> nearest("grop", ["grpo", "dpo"])
    'grpo'
    """
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean `x`?' for an error message, or nothing.

    >>> did_you_mean("grop", ["grpo", "dpo"])
    ' Did you mean `grpo`?'
    """
    found = nearest(word, known)
    return f" Did you mean `{found}`?" if found else ""
