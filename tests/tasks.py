"""Small tasks for tests of whole runs: a tiny model, and rewards that are easy to climb."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import logpi
from judges import sevens, steps_with_seven
from logpi.worlds.lm.tiny import tiny

PROMPTS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(8) for b in range(4)]
DEMONSTRATIONS = [{"prompt": row["prompt"], "completion": "777"} for row in PROMPTS]

ALPHABET = "0123456789+-*= "


def _pairs(count: int) -> list[dict[str, str]]:
    """Pairs of what an untrained model writes, the one with more sevens chosen."""
    rng, pairs = random.Random(0), []
    while len(pairs) < count:
        one, two = ("".join(rng.choices(ALPHABET + "7777", k=4)) for _ in range(2))
        if one.count("7") > two.count("7"):
            prompt = PROMPTS[len(pairs) % len(PROMPTS)]["prompt"]
            pairs.append({"prompt": prompt, "chosen": one, "rejected": two})
    return pairs


PAIRS = _pairs(1024)

LANGUAGE_RECIPES = [
    "sft", "rft", "online_rft", "dpo", "dpo_mean", "ipo", "simpo", "reinforce", "remax", "rloo",
    "reinforce_pp", "reinforce_pp_baseline", "ppo", "grpo", "grpo_process", "dr_grpo", "dapo",
    "gspo", "cispo", "sapo", "max_rl",
]  # fmt: skip


CONSTANTS = {"rft": {"threshold": 0.2}, "online_rft": {"threshold": 0.2}, "dr_grpo": {"length": 4}}


def recipe(name: str) -> dict[str, Any]:
    """The recipe, with what this small task needs changed."""
    return {"name": name, **CONSTANTS.get(name, {})}


def model(folder: Path, **shape: Any) -> Path:
    """A one-layer Llama that writes digits and signs at random."""
    return tiny(folder, **{"hidden": 32, "layers": 1, "heads": 2, "seed": 1, **shape})


def rows(recipe: str) -> list[dict[str, str]]:
    """The data that the recipe's kind asks for."""
    return {"demonstrations": DEMONSTRATIONS, "pairs": PAIRS}.get(
        logpi.RECIPES[recipe].data, PROMPTS
    )


def world(recipe: str, folder: Path, **settings: Any) -> logpi.LM:
    """The language world in which this recipe can climb `sevens`."""
    process = "scored" in logpi.RECIPES[recipe].reads
    told = {
        "model": str(folder),
        "data": rows(recipe),
        "eval_data": PROMPTS[:16],
        "reward": steps_with_seven if process else sevens,
        "step_separator": "=" if process else None,
        "group_size": 4,
        "prompts_per_batch": 4,
        "max_new_tokens": 4,
    }
    return logpi.LM(**{**told, **settings})
