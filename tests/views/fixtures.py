"""Run directories made by hand: views are tested against the format, not the loop."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

HOSTILE = (
    "</script><script>alert(1)</script>",
    "[bold red]not markup[/]",
    "\x1b[31mred\x1b[0m",
    "\"quoted\" & 'single'",
    "line\u2028separator\u2029",
    "👩‍🚀 emoji",
    "שלום \u202eevil",
    "<!--<script>",
    "{{ 7 * 7 }} {% raw %}",
    "\ud800",
)
"""Texts a model may write that must reach a reader as text."""


def row(place: int, actions: list[str], **given: Any) -> dict[str, Any]:
    """One line of decisions.jsonl, with the unassigned left null."""
    blank = [None] * len(actions)
    line = {
        "iteration": 0,
        "row": place,
        "group": 0,
        "prompt": "2+2=",
        "completion": "".join(actions),
        "reward": 1.0,
        "actions": actions,
        "mask": [True] * len(actions),
        "logp": blank,
        "logp_old": blank,
        "logp_ref": blank,
        "rewards": blank,
        "credit": blank,
        "coefficient": blank,
        "weight": blank,
        "clipped": blank,
    }
    return {**line, **given}


def write(
    directory: Path,
    *,
    config: dict | None = None,
    env: dict | None = None,
    metrics: list | None = None,
    rows: list | None = None,
) -> Path:
    """A run directory that holds these."""
    directory.mkdir(parents=True, exist_ok=True)
    plain = {
        "recipe": {"name": "grpo", "beta": 0.04},
        "world": {"kind": "lm", "model": "m"},
        "iterations": 3,
    }
    (directory / "config.yaml").write_text(
        json.dumps(plain if config is None else config)
    )  # JSON is YAML
    (directory / "env.json").write_text(
        json.dumps({"python": "3.11", "logpi": "0.1.0"} if env is None else env)
    )
    for name, lines in (("metrics", metrics), ("decisions", rows)):
        if lines is not None:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (directory / f"{name}.jsonl").write_text(text)
    return directory


def small(directory: Path) -> Path:
    """A run of two iterations and two rows whose every figure can be checked by hand."""
    rows = [
        row(
            0,
            ["4", "<eos>"],
            reward=1.0,
            logp=[-0.5, -0.25],
            logp_old=[-0.5, -0.25],
            logp_ref=[-1.0, -0.25],
            rewards=[None, 1.0],
            credit=[0.7071, 0.7071],
            coefficient=[0.7071, 0.0],
            weight=[0.25, 0.25],
            clipped=[False, True],
        ),
        row(
            1,
            ["5", " ", "\n", "<eos>"],
            reward=0.0,
            logp=[-2.0, -1.0, None, -0.1],
            logp_old=[-2.6931471805599454, -1.0, -3.0, -0.1],
            credit=[-0.7071, -0.7071, None, -0.7071],
            coefficient=[-1.4142, -0.7071, None, 0],
            weight=[0.125] * 4,
            clipped=[False] * 4,
        ),
    ]
    metrics = [
        {"iteration": 0, "reward": 0.25, "kl_reference": 0.0},
        {"iteration": 1, "reward": 0.5, "kl_reference": 0.01},
    ]
    return write(directory, metrics=metrics, rows=rows)


def hostile(directory: Path) -> Path:
    """A run whose every text wants to be something else."""
    rows = [
        row(
            i,
            [text, "[/]"],
            prompt=text,
            completion=text,
            logp=[-1.0, -2.0],
            logp_old=[-1.0, -2.5],
            credit=[1.0, -1.0],
            coefficient=[1.0, -1.0],
            weight=[0.1, 0.1],
            group=0,
            columns={"answer": text},
        )
        for i, text in enumerate(HOSTILE)
    ]
    config = {
        "recipe": {"name": HOSTILE[0]},
        "world": {"model": HOSTILE[1], HOSTILE[2]: HOSTILE[7]},
    }
    return write(
        directory,
        config=config,
        env={"python": HOSTILE[0]},
        metrics=[{"iteration": 0, "reward": 1}],
        rows=rows,
    )


def long(directory: Path, *, iterations: int = 60, every: int = 5, size: int = 8) -> Path:
    """A run such as GRPO on arithmetic leaves: rewards rise, groups lose their variance."""
    dice = random.Random(0)
    metrics, rows = [], []
    for k in range(iterations):
        skill = 0.45 + 0.52 / (1 + math.exp(-(k - iterations * 0.4) / (iterations * 0.1)))
        metrics.append(_metric(dice, k, skill, iterations))
        if k % every == 0 or k == iterations - 1:
            for group in range(3):
                rows += _group(dice, k, group, size, skill)
    config = {
        "recipe": {"name": "grpo", "beta": 0.04, "low": 0.2, "high": 0.2},
        "world": {
            "kind": "lm",
            "model": "runs/demo-sft/model",
            "data": "demo:arithmetic/train",
            "group_size": size,
            "prompts_per_batch": 32,
            "max_new_tokens": 8,
            "temperature": 1.0,
            "reward": "exact_match",
        },
        "iterations": iterations,
        "seed": 0,
        "minibatches": 1,
        "optim": {
            "lr": 3e-4,
            "warmup": 5,
            "decay": "cosine",
            "clip": 1.0,
            "betas": [0.9, 0.999],
            "weight_decay": 0.0,
        },
    }
    env = {
        "logpi": "0.1.0",
        "python": "3.11.9",
        "torch": "2.13.0+cpu",
        "transformers": "5.23.0",
        "platform": "Linux x86_64",
        "processors": 2,
        "device": "cpu",
    }
    return write(directory, config=config, env=env, metrics=metrics, rows=rows)


def _metric(dice: random.Random, k: int, skill: float, iterations: int) -> dict[str, Any]:
    metric = {
        "iteration": k,
        "reward": min(1.0, max(0.0, dice.gauss(skill, 0.04))),
        "kl_reference": 0.002 * k * dice.uniform(0.7, 1.3),
        "completion_tokens": 3.2 - 0.2 * skill + dice.gauss(0, 0.03),
        "learning_rate": 3e-4
        * min(1, (k + 1) / 5)
        * (0.5 + 0.5 * math.cos(math.pi * k / iterations)),
        "gradient_norm": abs(dice.gauss(0.8 - 0.5 * skill, 0.1)),
        "skipped": min(0.9, max(0.0, skill - 0.3 + dice.gauss(0, 0.05))),
        "decisions": 12600.0,
        "clipped": abs(dice.gauss(0.004, 0.003)),
        "missing": 0,
        "entropy": 0.9 - 0.7 * skill + dice.gauss(0, 0.02),
        "seconds": dice.gauss(0.6, 0.02),
    }
    if k % 10 == 9:
        metric |= {"eval/reward": skill, "eval/correct": skill}
    return metric


def _group(
    dice: random.Random, iteration: int, group: int, size: int, skill: float
) -> list[dict[str, Any]]:
    a, b = dice.randint(10, 99), dice.randint(10, 99)
    answers = [
        str(a + b) if dice.random() < skill else str(a + b + dice.choice([-10, -1, 1, 10]))
        for _ in range(size)
    ]
    rewards = [float(x == str(a + b)) for x in answers]
    mean = sum(rewards) / size
    deviation = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (size - 1))
    lines = []
    for i, (answer, reward) in enumerate(zip(answers, rewards, strict=True)):
        actions = [*answer, "<eos>"]
        n, old = len(actions), [-abs(dice.gauss(0.3, 0.3)) for _ in actions]
        credit = (reward - mean) / (deviation + 1e-4)
        ref = [x - dice.gauss(0, 0.05) for x in old]
        tug = [0.04 * (math.exp(r - x) - 1) for r, x in zip(ref, old, strict=True)]
        lines.append(
            row(
                group * size + i,
                actions,
                iteration=iteration,
                group=group,
                prompt=f"{a}+{b}=",
                completion=answer,
                reward=reward,
                logp=old,
                logp_old=old,
                logp_ref=ref,
                rewards=[None] * (n - 1) + [reward],
                credit=[credit] * n,
                coefficient=[credit + t for t in tug] if deviation else [0.0] * n,
                weight=[1 / (32 * size * n)] * n,
                clipped=[False] * n,
                columns={"answer": str(a + b)},
            )
        )
    return lines


def capital(directory: Path, *, size: int = 12) -> Path:
    """The notes' example: prefix tokens of true advantage 0, pushed by luck."""
    dice = random.Random(4)
    lines = []
    for i in range(size):
        city = (
            dice.choices(["Paris", "Lyon", "Marseille"], [0.9, 0.08, 0.02])[0]
            if i > 1
            else ["Lyon", "Marseille"][i]
        )
        actions = ["The", " capital", " of", " France", " is", f" {city}", "."]
        reward = 10.0 if city == "Paris" else -10.0
        chance = {"Paris": 0.9, "Lyon": 0.08, "Marseille": 0.02}[city]
        logp = [0.0] * 5 + [math.log(chance), 0.0]
        lines.append(
            row(
                i,
                actions,
                prompt="",
                reward=reward,
                logp=logp,
                logp_old=logp,
                rewards=[0.0] * 6 + [reward],
                credit=[reward] * 7,
                coefficient=[reward] * 7,
                weight=[1 / size] * 7,
                clipped=[False] * 7,
            )
        )
    config = {
        "recipe": {"name": "reinforce"},
        "world": {"kind": "lm", "model": "demo:capital"},
        "iterations": 1,
    }
    return write(directory, config=config, metrics=[{"iteration": 0, "reward": 8.0}], rows=lines)
