"""How a completion is cut into steps.

Imports nothing: every reward worker loads it.
"""

from __future__ import annotations

__all__ = ["step_texts"]


def step_texts(text: str, separator: str) -> list[str]:
    r"""The steps of a text, each up to and including its separator; "" makes every character one.

    >>> step_texts("3+4=7\n7*2=14\n", "\n")
    ['3+4=7\n', '7*2=14\n']
    >>> step_texts("3+4=7\n7*2", "\n")
    ['3+4=7\n', '7*2']
    >>> step_texts("28", ""), step_texts("", "")
    (['2', '8'], [''])
    """
    if not separator:
        return list(text) or [""]
    pieces = text.split(separator)
    steps = [piece + separator for piece in pieces[:-1]]
    return [*steps, pieces[-1]] if pieces[-1] or not steps else steps
