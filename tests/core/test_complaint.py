"""What pydantic finds, in one paragraph that names what the user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from logpi.core.complaint import complaint, suggest


class Told(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str | Path
    data: str | Path | list[dict[str, Any]] = "a"
    betas: tuple[float, float] = (0.9, 0.99)
    options: dict[str, float] = {}
    mode: Literal["sync", "async"] = "sync"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            {"modl": "m"},
            "unknown key `modl` in run.yaml. Did you mean `model`? "
            "`model` is missing in run.yaml: add `model=...`.",
        ),
        ({"model": 3}, "`model` in run.yaml is 3: input should be a valid string or a path."),
        (
            {"model": "m", "data": 5},
            "`data` in run.yaml is 5: input should be a valid string, a path or a valid list.",
        ),
        (
            {"model": "m", "data": [{}, 2]},
            "`data.1` in run.yaml is 2: input should be a valid dictionary.",
        ),
        (
            {"model": "m", "mode": "snyc"},
            "`mode` in run.yaml is 'snyc': input should be 'sync' or 'async'. Did you mean `sync`?",
        ),
        ({"model": "m", "betas": [0.9]}, "`betas` in run.yaml is [0.9]: there is no item 2."),
        (
            {"model": "m", "options": {"lr": "x"}},
            "`options.lr` in run.yaml is 'x': input should be a valid number, unable to parse "
            "string as a number.",
        ),
    ],
)
def test_a_sentence_for_each_key(told, said):
    assert paragraph(told) == said


def test_of_many_the_first_are_told():
    said = paragraph({"model": "m", "data": list(range(1000))})
    assert said.count("should be a valid dictionary") == 3
    assert said.endswith("And 997 more.")


def paragraph(told):
    with pytest.raises(ValidationError) as found:
        Told(**told)
    known = list(Told.model_fields)
    return complaint(found.value.errors(), told, known=known, where="run.yaml")


def test_of_a_section_only_its_own_words_are_near():
    assert suggest("optim.foo", ["optim", "optim.lr"]) == ""
    assert suggest("optim.rl", ["optim", "optim.lr"]) == " Did you mean `optim.lr`?"
