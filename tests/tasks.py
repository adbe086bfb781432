"""Small tasks for tests of whole runs: a tiny model, and rewards that are easy to climb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import logpi
from judges import sevens, steps_with_seven
from logpi.worlds.lm.tiny import tiny

PROMPTS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(8) for b in range(4)]
DEMONSTRATIONS = [{"prompt": row["prompt"], "completion": "777"} for row in PROMPTS]
PAIRS = [{"prompt": row["prompt"], "chosen": "777", "rejected": "10"} for row in PROMPTS]

LANGUAGE_RECIPES = [
    "sft", "rft", "online_rft", "dpo", "dpo_mean", "ipo", "simpo", "reinforce", "remax", "rloo",
    "reinforce_pp", "reinforce_pp_baseline", "ppo", "grpo", "grpo_process", "dr_grpo", "dapo", "gspo",
    "cispo", "sapo", "max_rl",
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
