"""Rewards that come with the package: functions of a prompt, a completion and the columns.

Imports next to nothing but the standard library, because every reward worker loads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from logpi.worlds.lm.cutting import step_texts

__all__ = [
    "BUILTINS",
    "COLUMNS",
    "NEEDS",
    "exact_match",
    "math",
    "numeric_match",
    "overlong",
    "regex",
    "step_match",
]

_NUMBER = re.compile(
    r"(?<![\w.])(?:(?<![)\]])[-+])?"  # in 5-3 the minus is an operation, in x=-3 a sign
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d*|\.\d+)?(?<=[\d.])"
    r"(?:[eE][-+]?\d{1,3}(?![\d]))?"
    r"(?:\s?/\s?\d+(?![.\d]))?"
)


def exact_match(
    prompt: str,
    completion: str,
    *,
    answer: Any,
    right: float = 1.0,
    wrong: float = 0.0,
    **columns: Any,
) -> float:
    """Return `right` where the completion is the answer, white space at both ends aside.

    >>> exact_match("37+45=", " 82", answer="82"), exact_match("37+45=", "82!", answer=82)
    (1.0, 0.0)
    """
    return right if completion.strip() == str(answer).strip() else wrong


def numeric_match(
    prompt: str,
    completion: str,
    *,
    answer: Any,
    tolerance: float = 1e-6,
    right: float = 1.0,
    wrong: float = 0.0,
    **columns: Any,
) -> float:
    """Return `right` where the completion's last number is the answer's.

    |x - y| <= tolerance · max(1, |y|), x the completion's and y the answer's.

    Reads 1,234.5 and -3/4 and 2e-3, exactly; digits within a word, as in x2, are no number. An
    answer without a number raises ValueError: that is a bad row, not a wrong completion.

    >>> numeric_match("", "so she pays $1,234.50.", answer=1234.5)
    1.0
    >>> numeric_match("", "3/4 of it", answer="0.75"), numeric_match("", "none", answer="0")
    (1.0, 0.0)
    """
    goal = last_number(str(answer))
    if goal is None:
        raise ValueError(f"the answer {str(answer)[:60]!r} holds no number")
    found = last_number(completion)
    if found is None:
        return wrong
    return right if abs(found - goal) <= Fraction(tolerance) * max(1, abs(goal)) else wrong


def last_number(text: str) -> Fraction | None:
    """Return the last number that the text holds, or None.

    >>> last_number("5-3 = 2, or 1,024/2"), last_number("no number")
    (Fraction(512, 1), None)
    """
    for match in reversed(list(_NUMBER.finditer(text.replace("−", "-")))):
        written = match.group().replace(",", "").replace(" ", "")
        whole, _, below = written.partition("/")
        try:
            return Fraction(whole) / (Fraction(below) if below else 1)
        except (ValueError, ZeroDivisionError):  # a lone dot, 4,301 digits, 1/0
            continue
    return None


def regex(
    prompt: str,
    completion: str,
    *,
    pattern: str,
    full: bool = False,
    group: int | str | None = None,
    answer: Any = None,
    right: float = 1.0,
    wrong: float = 0.0,
    **columns: Any,
) -> float:
    r"""Return `right` where the pattern is found; with `full`, where it is the whole completion.

    With `group`, what that group caught must also be the answer, white space aside.

    >>> regex("", "<answer>82</answer>", pattern=r"<answer>.*</answer>")
    1.0
    >>> regex("", "<answer>82</answer>", pattern=r"<answer>(.*)</answer>", group=1, answer=83)
    0.0
    """
    found = re.fullmatch(pattern, completion) if full else re.search(pattern, completion)
    if found is None:
        return wrong
    if group is None:
        return right
    if answer is None:
        raise ValueError("`group` compares with the answer, but the row has no column `answer`")
    return right if (found.group(group) or "").strip() == str(answer).strip() else wrong


def math(
    prompt: str,
    completion: str,
    *,
    answer: Any,
    right: float = 1.0,
    wrong: float = 0.0,
    **columns: Any,
) -> float:
    r"""Return `right` where the completion's last expression equals the answer, as mathematics.

    The package math-verify reads both, LaTeX or plain, and compares them through SymPy. What it
    cannot read in the completion is wrong; an answer that it cannot read raises ValueError, and a
    comparison that takes too long raises its TimeoutException: those rows have no verdict.

    >>> math("", r"so it is $\frac{1}{2}$", answer="0.5")
    1.0
    """
    # Heavy and optional: SymPy takes a second to import. A worker does so before its first row: see
    # NEEDS.
    from math_verify import parse, verify  # noqa: PLC0415

    # Its limits are alarms, so this must run in a main thread. Together they stay below the row's
    # own five seconds; raise_on_error keeps a timeout from being taken for a wrong completion.
    goal = parse(_as_mathematics(str(answer)), parsing_timeout=1)
    if not goal:
        raise ValueError(f"the answer {str(answer)[:60]!r} cannot be read as mathematics")
    try:
        found = parse(completion, parsing_timeout=1, raise_on_error=True)
        same = verify(goal, found, timeout_seconds=1, raise_on_error=True)
    except Exception:  # not a timeout, which is no Exception there
        return wrong
    return right if same else wrong


def _as_mathematics(answer: str) -> str:
    # Bare LaTeX is not recognised as such: it is looked for between dollar signs or in \boxed{}.
    return answer if "$" in answer or r"\boxed" in answer else f"${answer}$"


def overlong(
    prompt: str,
    completion: str,
    *,
    completion_tokens: int,
    max_tokens: int,
    cache_tokens: int,
    **columns: Any,
) -> float:
    """Return 0 for a short completion, -1 for one longer than `max_tokens`, a line in between.

    R = 0 where |y| <= L - C;  ((L - C) - |y|) / C where L - C < |y| <= L;  -1 beyond.

    L is `max_tokens`, C `cache_tokens`. DAPO's soft overlong punishment, arXiv 2503.14476, eq. 13;
    add it to another reward. The world supplies the column `completion_tokens`.

    >>> [
    ...     overlong("", "", completion_tokens=n, max_tokens=20, cache_tokens=5)
    ...     for n in (15, 18, 20, 21)
    ... ]
    [0.0, -0.6, -1.0, -1.0]
    """
    free = max_tokens - cache_tokens
    if completion_tokens <= free:
        return 0.0
    return max(-1.0, (free - completion_tokens) / cache_tokens)


def step_match(
    prompt: str, completion: str, *, answer: Any, separator: str, **columns: Any
) -> list[float]:
    r"""Return one number for each step: 1/n where it is right, n the answer's steps; else 0.

    Right is a step that is the answer's at its place, the last one only where the answer ends too.
    So the numbers of the whole answer add up to 1. `separator` is the world's `step_separator`.

    >>> step_match("37+45=", "28", answer="28", separator="")
    [0.5, 0.5]
    >>> step_match("37+45=", "27", answer="28", separator="")
    [0.5, 0.0]
    >>> step_match("37+45=", "2", answer="28", separator="")
    [0.0]
    """
    goal, steps = step_texts(str(answer), separator), step_texts(completion, separator)
    right = [a == b for a, b in zip(steps, goal, strict=False)]
    if len(steps) < len(goal):
        right[-1] = False
    right += [False] * (len(steps) - len(right))
    return [float(r) / len(goal) for r in right]


BUILTINS: dict[str, Callable[..., float | list[float]]] = {
    "exact_match": exact_match,
    "numeric_match": numeric_match,
    "regex": regex,
    "math": math,
    "overlong": overlong,
    "step_match": step_match,
}
"""The rewards that have a name."""

COLUMNS = frozenset({"answer", "completion_tokens"})
"""The columns that these read: one called `right` or `pattern` is data, and no option."""

NEEDS = {"math": ("math_verify", "math-verify")}
"""What a reward imports, as (module, package): loaded before the first row's time starts."""
