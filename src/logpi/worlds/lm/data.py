"""Prompts, demonstrations and preference pairs: read, checked, and turned into tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from logpi.core.errors import DataError
from logpi.core.nearest import did_you_mean
from logpi.worlds.lm.chat import answer_of, completion_of, conversation, prompt_of
from logpi.worlds.lm.rows import Row, rows

__all__ = ["Example", "Kind", "encode", "encode_all", "kind_of", "read"]

Kind = Literal["prompts", "demonstrations", "pairs"]
"""What a recipe learns from."""

_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "prompts": ("prompt",),
    "demonstrations": ("prompt", "completion"),
    "pairs": ("prompt", "chosen", "rejected"),
}
_RECIPES: dict[Kind, str] = {
    "prompts": "grpo, rloo, ppo and the other recipes that sample their own completions",
    "demonstrations": "sft",
    "pairs": "dpo, dpo_mean, ipo, simpo",
}
# Mistral's own tokenizer has no such option, and reads special tokens in no text.
_SPLITTING = (PreTrainedTokenizer, PreTrainedTokenizerFast)
_AT_ONCE = 1024  # examples tokenised in one call: half the time of one by one
_TEXTS = ("prompt", "messages", "completion", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the data: texts as the model will see them, and where they came from."""

    prompt: str
    completion: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)  # what else the row holds: for the reward
    place: str = "the row"  # "train.jsonl:17"
    templated: bool = False  # by a chat template, which writes the special tokens itself


def read(
    spec: str | Path | Sequence[Mapping[str, Any]],
    *,
    kind: Kind,
    tokenizer: PreTrainedTokenizerBase | None = None,
    split: str = "train",
) -> list[Example]:
    """Return the examples of a file, a data set, or a list of rows, every one checked.

    A file is JSONL, a JSON list, CSV, TSV or Parquet; a folder is one that `datasets` saved, or one
    with the files of a data set, as the hub has them ("folder:configuration" where there are
    several); any other name is looked for on the Hugging Face hub ("name", "owner/name" or
    "owner/name:configuration").

    prompts:         `prompt`; all other columns (`answer`, ...) reach the reward
    demonstrations:  `prompt` and `completion`
    pairs:           `prompt`, `chosen` and `rejected`

    `messages`, or a `prompt` that is a list of messages, goes through the tokenizer's chat
    template. In demonstrations the last message of `messages` is the completion.

    Raises `DataError` with file, line and column for a row that cannot be used.

    >>> read([{"prompt": "1+1=", "answer": "2"}], kind="prompts")[0].columns
    {'answer': '2'}
    """
    found = rows(spec, split=split)
    _check_kind(found, kind)
    answered = kind == "prompts" and any("answer" in row for _, row in found)
    return [_example(place, row, kind, tokenizer, answered=answered) for place, row in found]


def kind_of(spec: str | Path | Sequence[Mapping[str, Any]], *, split: str = "train") -> Kind | None:
    """Return what a file, a data set or a list of rows holds by its columns, or None.

    >>> kind_of([{"prompt": "1+1=", "chosen": "2", "rejected": "3"}])
    'pairs'
    """
    return _kind_of(rows(spec, split=split)[0][1])


def _check_kind(found: list[Row], kind: Kind) -> None:
    place, first = found[0]
    has = first.keys() | ({"prompt"} if "messages" in first else set())
    holds = _kind_of(first)
    pairs_for_prompts = kind == "prompts" and holds == "pairs"
    absent = [c for c in _COLUMNS[kind] if c not in has]
    if kind == "demonstrations" and "messages" in first:
        absent = []
    if kind == "pairs" and absent == ["prompt"]:
        absent = []  # chosen and rejected may be whole conversations
    if not absent and not pairs_for_prompts:
        return
    listed = ", ".join(f"`{name}`" for name in first) or "none"
    if holds is None or holds == kind or (holds == "prompts" and kind != "prompts"):
        needed = ", ".join(f"`{c}`" for c in _COLUMNS[kind])
        near = did_you_mean(absent[0], first.keys() - set(_TEXTS)) if absent else ""
        raise DataError(
            f"{place}: column '{absent[0]}': missing. The columns are {listed}; {kind} need "
            f"{needed}.{near}"
        )
    raise DataError(
        f"{place}: the columns are {listed}: these are {holds}, the data of {_RECIPES[holds]}. "
        f"This recipe takes {kind}, with the columns "
        f"{', '.join(f'`{c}`' for c in _COLUMNS[kind])}. Give it such data, or take a recipe for "
        "this data."
    )


def _kind_of(row: Mapping[str, Any]) -> Kind | None:
    if "chosen" in row and "rejected" in row:
        return "pairs"
    if "completion" in row and "prompt" in row:
        return "demonstrations"
    return "prompts" if "prompt" in row or "messages" in row else None


def _example(
    place: str,
    row: dict[str, Any],
    kind: Kind,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    answered: bool,
) -> Example:
    for name, value in row.items():
        if (bad := _not_finite(value)) is not None:
            raise DataError(f"{place}: column '{name}': holds {bad}. Leave the row out.")
    if answered and row.get("answer") in (None, ""):
        what = "is empty" if "answer" in row else "missing, though other rows have it"
        raise DataError(f"{place}: column 'answer': {what}. Leave the row out, or answer it.")
    texts, templated = _texts(place, row, kind, tokenizer)
    if kind == "prompts" and "completion" in row:
        raise DataError(
            f"{place}: column 'completion': stands beside the prompt, but the model writes the "
            "completion here. Rename the column (to `answer`, if the reward compares with it)."
        )
    if kind == "pairs" and texts["chosen"] == texts["rejected"]:
        raise DataError(
            f"{place}: column 'rejected': is the same as `chosen`, so nothing is preferred. "
            "Leave the row out."
        )
    columns = {name: value for name, value in row.items() if name not in _TEXTS}
    return Example(**texts, columns=columns, place=place, templated=templated)


def _not_finite(value: Any) -> float | None:
    """Return a NaN or infinity that the value holds: Python's JSON reads them."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((bad for x in inside if (bad := _not_finite(x)) is not None), None)


def _texts(
    place: str, row: dict[str, Any], kind: Kind, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[dict[str, str], bool]:
    """Return the texts of a row, and whether a chat template wrote the prompt."""
    row = conversation(place, row, kind)
    texts: dict[str, str] = {}
    prompt = row.get("prompt")
    for name in _COLUMNS[kind]:
        if name not in row:
            raise DataError(f"{place}: column '{name}': missing.")
        value = row[name]
        if isinstance(prompt, list):
            value = value if isinstance(value, list) else _text(place, name, value)
            texts[name] = (
                prompt_of(place, prompt, tokenizer)
                if name == "prompt"
                else answer_of(place, name, value, prompt=prompt, tokenizer=tokenizer)
            )
            continue
        if isinstance(value, list) and name != "prompt":
            value = completion_of(place, name, value)
        texts[name] = _text(place, name, value)
    return texts, isinstance(prompt, list)


def _text(place: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        what = "is null" if value is None else f"is {type(value).__name__} {str(value)[:40]!r}"
        raise DataError(f"{place}: column '{name}': {what}, not a text.")
    if not value.strip():
        raise DataError(f"{place}: column '{name}': is empty. Leave the row out.")
    return value


def encode(
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    *,
    kind: Kind,
    context: int | None = None,
    eos: Sequence[int] = (),
) -> tuple[Tensor, ...]:
    """Return the ids of one example; see `encode_all`.

    >>> from logpi.worlds.lm.tiny import character_tokenizer
    >>> encode(character_tokenizer("12+="), Example("1+1="), kind="prompts")
    (tensor([2, 4, 2, 5]),)
    """
    return encode_all(tokenizer, [example], kind=kind, context=context, eos=eos)[0]


def encode_all(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    kind: Kind,
    context: int | None = None,
    vocabulary: int | None = None,
    eos: Sequence[int] = (),
) -> list[tuple[Tensor, ...]]:
    """Return the ids of each example's prompt, and of its completions, which one of `eos` ends.

    (prompt,) for prompts, (prompt, completion) for demonstrations, (prompt, chosen, rejected) for
    pairs.

    Prompt and completion are tokenised apart. Only then are the prompt's ids the state from which
    the completion is decided: tokenised together, a token may straddle the border, and the model
    would be trained on a state that it never decodes from. Special tokens stand before the prompt
    alone, and not where a chat template wrote them already. What a template writes after the token
    that ends the turn is left out; a completion without such a token gets the first of `eos`, which
    by default is the tokenizer's own. Elsewhere "<eos>" in a text is five characters, and no token.

    Raises `DataError`, with the place, for a text that has no tokens, too many for the model's
    `context`, or one outside its `vocabulary`, or that goes on after the token that ends it.

    >>> from logpi.worlds.lm.tiny import character_tokenizer
    >>> pair = Example("1+1=", chosen="2", rejected="1")
    >>> encode_all(character_tokenizer("12+="), [pair], kind="pairs")
    [(tensor([2, 4, 2, 5]), tensor([3, 1]), tensor([2, 1]))]
    """
    ends = _ends(tokenizer, eos)
    found: list[tuple[Tensor, ...]] = []
    for start in range(0, len(examples), _AT_ONCE):
        chunk = examples[start : start + _AT_ONCE]
        prompts = _prompts(tokenizer, chunk)
        answers = [_completions(tokenizer, chunk, name, ends) for name in _COLUMNS[kind][1:]]
        for example, *ids in zip(chunk, prompts, *answers, strict=True):
            _check_length(example, ids, context)
            _check_known(tokenizer, example, zip(_COLUMNS[kind], ids, strict=True), vocabulary)
            found.append(tuple(torch.tensor(x, dtype=torch.long) for x in ids))
    return found


def _check_length(example: Example, ids: list[list[int]], context: int | None) -> None:
    prompt, *completions = ids
    longest = max((len(x) for x in completions), default=1)
    if context is not None and len(prompt) + longest > context:
        what = (
            f"and the completion {longest}" if completions else "which leaves no room for a token"
        )
        raise DataError(
            f"{example.place}: column 'prompt': the prompt has {len(prompt)} tokens, {what}, but "
            f"the model's context holds {context}. Shorten the row, leave it out, or take a model "
            "with a longer context."
        )


def _check_known(
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    columns: Iterable[tuple[str, list[int]]],
    vocabulary: int | None,
) -> None:
    for name, ids in columns:
        if vocabulary is not None and (largest := max(ids)) >= vocabulary:
            token = tokenizer.convert_ids_to_tokens(largest)
            raise DataError(
                f"{example.place}: column '{name}': holds the token {token!r}, whose id is "
                f"{largest}, but the model knows {vocabulary} tokens. Take the model's own "
                "tokenizer, leave the row out, or resize the model's embedding and train it."
            )


def _ends(tokenizer: PreTrainedTokenizerBase, eos: Sequence[int]) -> tuple[int, ...]:
    own = tokenizer.eos_token_id
    if not eos and not isinstance(own, int):
        raise DataError("the tokenizer names no end-of-sequence token. Give `eos=lm.eos`.")
    return tuple(eos) or (own,)  # type: ignore[return-value]  # an int, as was just seen


def _prompts(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[list[int]]:
    found: list[list[int]] = []
    for templated, some in groupby(examples, key=lambda e: e.templated):
        for ids in _ids(tokenizer, list(some), "prompt", special=not templated):
            # Some tokenizers end every text: here it goes on.
            ends = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not templated
            found.append(ids[:-1] if ends else ids)
    return found


def _completions(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    name: str,
    ends: Sequence[int],
) -> list[list[int]]:
    found: list[list[int]] = []
    for _, some in groupby(examples, key=lambda e: e.templated):
        alike = list(some)
        for example, ids in zip(alike, _ids(tokenizer, alike, name, special=False), strict=True):
            found.append(_ended(tokenizer, example, name, ids, ends=ends))
    return found


def _ended(
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    name: str,
    ids: list[int],
    *,
    ends: Sequence[int],
) -> list[int]:
    last = next((i for i, token in enumerate(ids) if token in ends), None)
    if last is None or not example.templated:
        return ids if ids[-1] in ends else [*ids, ends[0]]
    rest = str(tokenizer.decode(ids[last + 1 :], skip_special_tokens=True))
    if rest.strip():  # templates write a line break there, and nothing that is said
        raise DataError(
            f"{example.place}: column '{name}': the text goes on after "
            f"{tokenizer.decode(ids[last])!r}, which ends the completion: …{rest[:40]!r}. Take "
            "that mark out of the message."
        )
    return ids[: last + 1]


def _ids(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], name: str, *, special: bool
) -> list[list[int]]:
    """The ids of one text of each example; all of them went through a chat template, or none."""
    texts: list[str] = [getattr(example, name) for example in examples]
    options = {"add_special_tokens": special}
    if not examples[0].templated and isinstance(tokenizer, _SPLITTING):
        options["split_special_tokens"] = True  # who wrote the data need not know such marks
    try:
        found: list[list[int]] = tokenizer(texts, **options)["input_ids"]  # type: ignore[assignment]
    except Exception as error:  # a tokenizer without an unknown token says so in its own way
        if len(examples) > 1:  # which one was it?
            return [_ids(tokenizer, [one], name, special=special)[0] for one in examples]
        raise DataError(
            f"{examples[0].place}: column '{name}': the tokenizer cannot write {texts[0][:60]!r}: "
            f"{error}"
        ) from error
    for example, text, ids in zip(examples, texts, found, strict=True):
        if not ids:
            raise DataError(f"{example.place}: column '{name}': {text[:60]!r} has no tokens.")
    return found
