"""Held-out accuracy, measured by the same code on both sides; its time is not counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from lm.rewards import REWARDS

__all__ = ["greedy_accuracy"]


def greedy_accuracy(model: Any, spec: dict[str, Any]) -> float:
    """The share of held-out problems that greedy decoding answers right."""
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], padding_side="left")
    rows = [json.loads(line) for line in Path(spec["heldout"]).read_text().splitlines()]
    inputs = tokenizer([row["prompt"] for row in rows], padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    training = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=spec["max_new_tokens"])
    model.train(training)
    texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    reward = REWARDS[spec["reward"]]
    right = [reward(completion=text, **row) for text, row in zip(texts, rows, strict=True)]
    return sum(right) / len(right)
