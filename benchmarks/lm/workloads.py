"""The workloads: a model folder, a file of data and a reward each, made once for both sides."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lm import models
from logpi.worlds.lm import arithmetic

__all__ = ["GRPO", "WORKLOADS", "Workload", "prepare"]


@dataclass(frozen=True)
class Workload:
    """What both sides are given."""

    name: str
    title: str
    model: str  # folder below the work directory
    data: str  # file below the work directory
    reward: str  # name in lm.rewards
    max_new_tokens: int
    required: dict[str, float]  # smallest speed ratio, largest memory ratio
    prompts: int = 32
    group: int = 8
    lr: float = 1e-5
    heldout: str | None = None  # file of problems to reach the target accuracy on
    target: float | None = None
    method: str = "grpo"


def _operands(draw: random.Random) -> str:
    return f"{draw.randrange(10, 100)}+{draw.randrange(10, 100)}="


def _short(draw: random.Random) -> dict[str, Any]:
    return {"prompt": _operands(draw)}


def _long(draw: random.Random) -> dict[str, Any]:
    filler = "".join(draw.choice("0123456789+-* ") for _ in range(186))
    return {"prompt": filler + _operands(draw)}


def _ladder(draw: random.Random) -> tuple[str, str]:
    """A multiplication as repeated addition: 37*4= 37,74,111,148."""
    number, times = draw.randrange(11, 100), draw.randrange(2, 14)
    return f"{number}*{times}=", ",".join(str(number * i) for i in range(1, times + 1))


def _ladders(draw: random.Random) -> dict[str, Any]:
    return {"prompt": _ladder(draw)[0]}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _rows(make: Callable[[random.Random], dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Distinct prompts, every second one marked as flat."""
    draw, found = random.Random(1), {}
    while len(found) < count:
        row = make(draw)
        found.setdefault(row["prompt"], {**row, "flat": len(found) % 2 == 0})
    return list(found.values())


def _without_flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "flat"} for row in rows]


def _random_model(size: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model, tokenizer = models.build(size)
        models.mute(model, tokenizer.eos_token_id, tokenizer.pad_token_id)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return make


def _ladder_model(folder: Path) -> None:
    model, tokenizer = models.build("1.3M")
    draw = random.Random(2)
    models.teach(model, tokenizer, [_ladder(draw) for _ in range(20_000)], steps=80, rows=64)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _noisy_model(folder: Path) -> None:
    """Taught additions of which half are wrong, mostly by a forgotten carry: greedy errs too."""
    model, tokenizer = models.build("1.3M")
    pairs = [(row["prompt"], row["completion"]) for row in arithmetic.noisy()]
    models.teach(model, tokenizer, pairs, steps=400)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "random-1.3M": _random_model("1.3M"),
    "random-26M": _random_model("26M"),
    "ladder": _ladder_model,
    "noisy": _noisy_model,
}


def _demonstration(draw: random.Random) -> dict[str, Any]:
    prompt, text = _ladder(draw)
    return {"prompt": prompt, "completion": text}


def _pair(draw: random.Random) -> dict[str, Any]:
    """A ladder beside one that goes wrong at a random rung."""
    prompt, text = _ladder(draw)
    rungs = text.split(",")
    wrong = draw.randrange(len(rungs))
    rungs[wrong] = str(int(rungs[wrong]) + draw.randrange(1, 100))
    return {"prompt": prompt, "chosen": text, "rejected": ",".join(rungs)}


DATA: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "short.jsonl": lambda: _rows(_short, 1024),
    "long.jsonl": lambda: _rows(_long, 1024),
    "ladders.jsonl": lambda: _rows(_ladders, 1024),
    "demonstrations.jsonl": lambda: _without_flat(_rows(_demonstration, 768)),
    "pairs.jsonl": lambda: _without_flat(_rows(_pair, 768)),
    "additions.jsonl": arithmetic.train,
    "heldout.jsonl": arithmetic.heldout,
}

WORKLOADS = {
    w.name: w
    for w in (
        Workload(
            "fixed",
            "exactly 32 new tokens, rewards distinct",
            "random-1.3M",
            "short.jsonl",
            "distinct",
            32,
            {"speed": 1.25, "memory": 0.5},
        ),
        Workload(
            "natural",
            "natural stops, 64 tokens at most",
            "ladder",
            "ladders.jsonl",
            "distinct",
            64,
            {"speed": 2.2},
        ),
        Workload(
            "flat",
            "the same, half of the groups without variance",
            "ladder",
            "ladders.jsonl",
            "half_flat",
            64,
            {"speed": 2.8},
        ),
        Workload(
            "prompt",
            "192-token prompt + 32",
            "random-1.3M",
            "long.jsonl",
            "distinct",
            32,
            {"speed": 3.0},
        ),
        Workload(
            "large",
            "26 M parameters, 32 tokens",
            "random-26M",
            "short.jsonl",
            "distinct",
            32,
            {"speed": 1.15, "memory": 0.5},
        ),
        Workload(
            "sft",
            "SFT, 64 demonstrations a step",
            "ladder",
            "demonstrations.jsonl",
            "",
            64,
            {},
            prompts=64,
            group=1,
            method="sft",
        ),
        Workload(
            "dpo",
            "DPO, 64 pairs a step",
            "ladder",
            "pairs.jsonl",
            "",
            64,
            {},
            prompts=64,
            group=1,
            method="dpo",
        ),
        Workload(
            "learn",
            "noisy checkpoint to 95 % held out",
            "noisy",
            "additions.jsonl",
            "answer",
            8,
            {"speed": 3.0},
            heldout="heldout.jsonl",
            target=0.95,
        ),
    )
}

GRPO = {name: w for name, w in WORKLOADS.items() if w.method == "grpo"}


def prepare(workload: Workload, work: Path) -> dict[str, Any]:
    """What a side is told about a workload, after its model and data were made in `work` (once)."""
    work.mkdir(parents=True, exist_ok=True)
    folder = work / workload.model
    if not (folder / "config.json").exists():
        MODELS[workload.model](folder)
    for name in filter(None, (workload.data, workload.heldout)):
        if not (work / name).exists():
            _write(work / name, DATA[name]())
    spec = asdict(workload)
    spec.update(model=str(folder), data=str(work / workload.data))
    spec["heldout"] = str(work / workload.heldout) if workload.heldout else None
    return spec
