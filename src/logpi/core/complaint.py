"""What is wrong with some settings, in one paragraph: pydantic's findings in the user's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logpi.core.nearest import did_you_mean, nearest

__all__ = ["complaint", "suggest"]

_MOST = 3  # a list of a thousand wrong rows is told by the first of them
_SHOULD = "input should be "


def complaint(
    findings: Sequence[Mapping[str, Any]],
    data: Mapping[str, Any],
    *,
    known: Sequence[str],
    where: str,
    prefix: str = "",
) -> str:
    """The findings of pydantic about `data`, a sentence for each key, unknown ones first.

    `known` are the keys there are, `prefix` stands before each key, and `where` says what was read.

    >>> found = {"type": "int_type", "loc": ("steps",), "msg": "Input should be even", "input": 3}
    >>> complaint([found], {"steps": 3}, known=["steps"], where="run.yaml")
    '`steps` in run.yaml is 3: input should be even.'
    """
    findings = sorted(findings, key=lambda one: one["type"] != "extra_forbidden")
    told: dict[str, list[Mapping[str, Any]]] = {}
    for one in findings:
        told.setdefault(prefix + ".".join(_place(one, data)), []).append(one)
    # Of a union, the member that found fault deeper within is what was meant.
    keys = [key for key in told if not any(other.startswith(f"{key}.") for other in told)]
    text = [_sentence(key, told[key], known, where) for key in keys[:_MOST]]
    return " ".join(text) + (f" And {len(keys) - _MOST} more." if len(keys) > _MOST else "")


def suggest(key: str, known: Sequence[str]) -> str:
    """' Did you mean `x`?' for a dotted key, by its last word when that is what was misplaced.

    >>> suggest("learning_rat", ["optim.lr", "iterations"])
    ''
    >>> suggest("lr", ["optim.lr", "seed"])
    ' Did you mean `optim.lr`?'
    """
    head, _, word = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == head]
    last = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = {name.rpartition(".")[2]: name for name in siblings}
    found = last.get(word) or near.get(nearest(word, near) or "")
    if not found and not (head and siblings):  # of a section that there is, only its own words
        found = nearest(key, known)
    return f" Did you mean `{found}`?" if found else ""


def _place(finding: Mapping[str, Any], data: Any) -> list[str]:
    """Where it is in the data: without the names of the union's members that pydantic tried."""
    place: list[str] = []
    for part in finding["loc"]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if finding["type"] != "missing" or not isinstance(part, str):
                continue
        place.append(str(part))
    return place


def _sentence(key: str, findings: list[Mapping[str, Any]], known: Sequence[str], where: str) -> str:
    first = findings[0]
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}` in {where}.{suggest(key, known)}"
    if first["type"] == "missing" and isinstance(first["loc"][-1], str):
        return f"`{key}` is missing in {where}: add `{key}=...`."
    given = first["input"]
    near = did_you_mean(given, _choices(findings)) if isinstance(given, str) else ""
    return f"`{key}` in {where} is {_short(given)}: {_expected(findings)}.{near}"


def _choices(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts that were possible."""
    told = (one["ctx"]["expected"] for one in findings if one["type"] == "literal_error")
    return [word for text in told for word in text.split("'")[1::2]]


def _expected(findings: list[Mapping[str, Any]]) -> str:
    """What each of them expected; the members of a union in one list."""
    texts = list(dict.fromkeys(_message(one) for one in findings))
    if len(texts) > 1 and all(text.startswith(_SHOULD) for text in texts):
        *others, last = (text.removeprefix(_SHOULD) for text in texts)
        return f"{_SHOULD}{', '.join(others)} or {last}"
    return "; ".join(texts)


def _message(finding: Mapping[str, Any]) -> str:
    if finding["type"] == "path_type":
        return f"{_SHOULD}a path"
    if finding["type"] == "missing":
        return f"there is no item {finding['loc'][-1] + 1}"
    text = finding["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
