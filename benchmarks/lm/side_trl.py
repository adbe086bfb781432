"""TRL's side of a workload, in its own process: `python -m lm.side_trl SPEC.json OUT.json`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from lm import models
from lm.accuracy import greedy_accuracy
from lm.measure import Clock, peak_mb, versions
from lm.rewards import REWARDS


class Steps(TrainerCallback):
    """Marks the clock between training steps, and stops at the target accuracy."""

    def __init__(self, clock: Clock, spec: dict[str, Any]) -> None:
        """Measure nothing yet."""
        self.clock, self.spec = clock, spec
        self.curve: list[tuple[int, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the starting accuracy, then open the first step."""
        self._look(state, control, kwargs["model"])
        self.clock.mark()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close a step."""
        if self.spec["heldout"] and state.global_step % self.spec["look_every"] == 0:
            self.clock.paused(lambda: self._look(state, control, kwargs["model"]))
        self.clock.mark()
        if sum(self.clock.seconds) > self.spec.get("most_seconds", float("inf")):
            control.should_training_stop = True

    def _look(self, state: Any, control: Any, model: torch.nn.Module) -> None:
        if not self.spec["heldout"]:
            return
        accuracy = greedy_accuracy(model, self.spec)
        self.curve.append((state.global_step, accuracy))
        control.should_training_stop = accuracy >= self.spec["target"]


def _shared(spec: dict[str, Any], folder: str) -> dict[str, Any]:
    """What every trainer is given: its fastest settings here, and nothing on the side."""
    rows = spec["prompts"] * spec["group"]
    part = spec.get("trl_batch") or rows
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": part,
        "gradient_accumulation_steps": rows // part,
        "gradient_checkpointing": False,
        "learning_rate": spec["lr"],
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "max_steps": spec["steps"],
        "seed": spec["seed"],
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _grpo(spec: dict[str, Any], folder: str, rows: list[dict[str, Any]], seen: list[Any]) -> Any:
    reward = REWARDS[spec["reward"]]
    names = [name for name in rows[0] if name != "prompt"]

    def score(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        ids = columns["completion_ids"]
        seen.append({"rows": len(prompts), "tokens": sum(map(len, ids))})
        return [
            reward(prompt=p, completion=c, **{name: columns[name][i] for name in names})
            for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
        ]

    config = GRPOConfig(
        **_shared(spec, folder),
        num_generations=spec["group"],
        max_completion_length=spec["max_new_tokens"],
        temperature=1.0,
        beta=0.0,
        num_iterations=1,
        loss_type="grpo",
        scale_rewards="group",
        epsilon=0.2,
    )
    return lambda **shared: GRPOTrainer(reward_funcs=score, args=config, **shared)


def _sft(spec: dict[str, Any], folder: str, rows: list[dict[str, Any]], seen: list[Any]) -> Any:
    config = SFTConfig(**_shared(spec, folder), completion_only_loss=True, packing=False)
    return lambda **shared: SFTTrainer(args=config, **shared)


def _dpo(spec: dict[str, Any], folder: str, rows: list[dict[str, Any]], seen: list[Any]) -> Any:
    config = DPOConfig(**_shared(spec, folder), beta=0.1)
    return lambda **shared: DPOTrainer(args=config, **shared)


METHODS = {"grpo": _grpo, "sft": _sft, "dpo": _dpo}


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """The measurements of one workload."""
    imported = peak_mb()["process"]
    model, tokenizer = models.load(spec["model"])
    rows = [json.loads(line) for line in Path(spec["data"]).read_text().splitlines()]
    clock, seen = Clock(), []
    steps = Steps(clock, spec)
    with tempfile.TemporaryDirectory() as folder:
        trainer = METHODS[spec["method"]](spec, folder, rows, seen)(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            callbacks=[steps],
        )
        trainer.train()
    return {
        "seconds": clock.seconds,
        "sampled": seen,
        "peak": peak_mb(),
        "imported_mb": imported,
        "curve": steps.curve,
        "versions": versions("torch", "transformers", "trl", "accelerate"),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(result))
