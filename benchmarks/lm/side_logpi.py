"""logpi's side of a workload, in its own process: `python -m lm.side_logpi SPEC.json OUT.json`."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import logpi
from lm.accuracy import greedy_accuracy
from lm.measure import Clock, peak_mb, versions
from lm.rewards import REWARDS
from logpi.worlds.lm.given import DemonstrationSource, PairSource
from logpi.worlds.lm.source import SampledSource


class Reached(Exception):
    """The target accuracy was reached, or the time that a run may take is over."""


def _watch(clock: Clock, spec: dict[str, Any]) -> list[tuple[int, float]]:
    """Mark the clock whenever a batch is asked for: one training step lies between two marks."""
    source = SOURCES[spec["method"]]
    draw, curve = source.draw, []

    def marked(self: Any, policy: Any, iteration: int) -> Any:
        step = len(clock.seconds) + clock.running

        def look() -> None:
            curve.append((step, greedy_accuracy(policy.lm.model, spec)))

        if spec["heldout"] and step % spec["look_every"] == 0:
            clock.paused(look)
        clock.mark()
        if curve and curve[-1][1] >= spec["target"]:
            raise Reached
        if sum(clock.seconds) > spec.get("most_seconds", float("inf")):
            raise Reached
        return draw(self, policy, iteration)

    source.draw = marked
    return curve


SOURCES: dict[str, Any] = {"grpo": SampledSource, "sft": DemonstrationSource, "dpo": PairSource}
RECIPES = {
    "grpo": {"name": "grpo", "beta": 0.0},
    "sft": {"name": "sft"},
    "dpo": {"name": "dpo", "beta": 0.1},
}


def _world(spec: dict[str, Any]) -> logpi.LM:
    sampled = {}
    if spec["method"] == "grpo":
        sampled = {
            "reward": REWARDS[spec["reward"]],
            "group_size": spec["group"],
            "max_new_tokens": spec["max_new_tokens"],
            "temperature": 1.0,
        }
    return logpi.LM(
        model=spec["model"],
        data=spec["data"],
        prompts_per_batch=spec["prompts"],
        **sampled,
        **spec.get("logpi", {}),
    )


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """The measurements of one workload."""
    imported = peak_mb()["process"]
    clock = Clock()
    curve = _watch(clock, spec)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        with contextlib.suppress(Reached):
            logpi.train(
                recipe=RECIPES[spec["method"]],
                world=_world(spec),
                iterations=spec["steps"],
                seed=spec["seed"],
                directory=str(directory),
                optim={"lr": spec["lr"]},
                checkpoint={"every": 0},
            )
            clock.mark()
        lines = (directory / "metrics.jsonl").read_text().splitlines()
    return {
        "seconds": clock.seconds,
        "metrics": [json.loads(line) for line in lines],
        "peak": {**peak_mb(), "children": clock.children_mb},
        "imported_mb": imported,
        "curve": curve,
        "versions": versions("torch", "transformers", "logpi"),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(result))
