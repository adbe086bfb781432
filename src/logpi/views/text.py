"""Text of a model made safe to look at; numbers that keep null apart from zero."""

from __future__ import annotations

import math
import unicodedata

__all__ = ["counted", "number", "signed", "spaced", "visible"]

_NAMED = {"\n": "↵", "\t": "⇥", "\x7f": "␡"}
_JOINERS = {"\u200c", "\u200d"}  # part of how Persian, Hindi and emoji are written


def visible(text: str, *, breaks: bool = False) -> str:
    r"""Text in which every control, format or line-separating character is a printable sign.

    An escape sequence, a right-to-left override or a hidden tag can then neither drive a terminal
    nor make a line read as something else. With `breaks` a newline stays one, after its sign.

    >>> visible("\x1b[31mred\n\u202e")
    '␛[31mred↵⟨U+202E⟩'
    >>> visible("")
    ''
    """
    return "".join(_sign(c, breaks) for c in text)


def _sign(c: str, breaks: bool) -> str:
    if c == "\n" and breaks:
        return "↵\n"
    if c in _NAMED:
        return _NAMED[c]
    if c < " ":
        return chr(0x2400 + ord(c))
    if c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs":
        return c
    return f"⟨U+{ord(c):04X}⟩"


def spaced(token: str) -> str:
    r"""A token standing alone: visible, with its spaces at either end as signs, and never empty.

    >>> spaced(" the"), spaced(""), spaced("\n")
    ('␣the', '∅', '↵')
    """
    shown = visible(token)
    core = shown.strip(" ")
    if not core:
        return "␣" * len(shown) or "∅"
    start = shown.index(core[0])
    return "␣" * start + core + "␣" * (len(shown) - start - len(core))


def number(value: float | None, digits: int = 3) -> str:
    """A short figure; `–` where nothing was assigned, which is not the same as 0.

    >>> number(None), number(0.0), number(-1.23456), number(float("nan")), number(12345.6)
    ('–', '0', '-1.23', 'NaN', '12,346')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if 10**digits <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def signed(value: float | None, digits: int = 3) -> str:
    """A short figure with its sign.

    >>> signed(0.5), signed(-2.0), signed(0.0), signed(None)
    ('+0.5', '-2', '0', '–')
    """
    shown = number(value, digits)
    return shown if value is None or not value > 0 else f"+{shown}"


def counted(count: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "sweep"), counted(12000, "step")
    ('1 sweep', '12,000 steps')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
