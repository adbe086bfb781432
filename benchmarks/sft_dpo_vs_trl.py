"""SFT and DPO, logpi against TRL: trained tokens per CPU second and peak memory, one thread.

    python benchmarks/sft_dpo_vs_trl.py [--steps N] [--json out.json]

A trained token is a token of a completion, the end-of-sequence token included. Both sides see
the same rows, 64 demonstrations or 64 pairs a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from lm.compare import ask_trl, print_surroundings, run_side, summary, surroundings, table
from lm.workloads import WORKLOADS, prepare

STEPS = 10
BATCHES = (64, 16)
"""Rows of a forward pass on TRL's side."""


def _tokens(path: str) -> float:
    """Trained tokens of a row (of both rows of a pair), on average: characters, and the end."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    texts = ("completion", "chosen", "rejected")
    return statistics.mean(sum(len(row[t]) + 1 for t in texts if t in row) for row in rows)


def _row(title: str, tokens: float, found: dict[str, Any]) -> list[str]:
    rate = {name: tokens / x["seconds"]["median"] for name, x in found.items()}
    cells = [title]
    cells += [f"{rate[n]:.0f} tokens/s, {found[n]['memory_mb']:.0f} MB" for n in found]
    return [*cells, f"{rate['logpi'] / max(v for k, v in rate.items() if k != 'logpi'):.2f}x"]


def main() -> None:
    """Run both sides, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="models and data")
    parser.add_argument("--trl", default=".venv-bench/bin/python", help="a Python that has TRL")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of a run")
    parser.add_argument("--json", type=Path, help="write every figure here")
    given = parser.parse_args()
    if not ask_trl(given.trl):
        parser.error(f"{given.trl} has no TRL; run `make bench`, which installs it")
    torch.set_num_threads(1)
    sides, rows, figures = [], [], {}
    for name in ("sft", "dpo"):
        workload = WORKLOADS[name]
        spec = prepare(workload, given.work.resolve()) | {
            "steps": given.steps,
            "seed": 0,
            "look_every": 0,
        }
        found: dict[str, Any] = {}
        for batch in BATCHES:
            sides.append(run_side(given.trl, "lm.side_trl", {**spec, "trl_batch": batch}))
            found[f"trl/{batch}"] = {**summary(sides[-1]), "raw": sides[-1]}
        sides.append(run_side(sys.executable, "lm.side_logpi", spec))
        found["logpi"] = {**summary(sides[-1]), "raw": sides[-1]}
        rows.append(_row(workload.title, _tokens(spec["data"]) * workload.prompts, found))
        figures[name] = found
    header = ["trained tokens per CPU second", *(f"TRL, {b} rows a pass" for b in BATCHES)]
    print(table([*header, "logpi", "faster than TRL's best"], rows))
    print_surroundings(sides)
    if given.json:
        given.json.write_text(json.dumps({**surroundings(sides), "workloads": figures}, indent=1))


if __name__ == "__main__":
    main()
