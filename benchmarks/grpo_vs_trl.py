"""GRPO, logpi against TRL: CPU seconds a training step and peak memory, one thread, the same work.

python benchmarks/grpo_vs_trl.py                  all workloads
python benchmarks/grpo_vs_trl.py fixed natural    some of them
python benchmarks/grpo_vs_trl.py --json out.json  every figure, as JSON
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lm.compare import ask_trl, print_surroundings, run_side, summary, surroundings, table
from lm.workloads import GRPO, Workload, prepare

STEPS = {"fixed": 7, "natural": 7, "flat": 7, "prompt": 5, "large": 4}
BATCHES = (256, 64)
"""Rows of a forward pass on TRL's side; whatever is left of the 256 is accumulated."""

RATES = (1e-4, 2e-4, 5e-5)
"""Learning rates that `learn` tries on each side, on seeds of its own; the fastest then runs on
fresh seeds. How TRL splits the batch changes its speed alone: a few steps tell which is faster."""
TUNING_SEEDS = (100, 101)
LOOK_EVERY = 5
"""Steps between two looks at the held-out accuracy."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(GRPO))
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="models and data")
    parser.add_argument("--trl", default=".venv-bench/bin/python", help="a Python that has TRL")
    parser.add_argument("--only", choices=("logpi", "trl"), help="run one side alone")
    parser.add_argument("--steps", type=int, help="steps of a run, instead of the usual number")
    parser.add_argument("--seeds", type=int, default=9, help="fresh seeds a side of `learn`")
    parser.add_argument("--at-once", type=int, default=1, help="runs of `learn` at a time")
    parser.add_argument("--json", type=Path, help="write every figure here")
    given = parser.parse_args()
    if unknown := set(given.workloads) - set(GRPO):
        parser.error(f"unknown workload {sorted(unknown)}; choose among {', '.join(GRPO)}")
    given.sides = [given.only] if given.only else ["trl", "logpi"]
    if "trl" in given.sides and not ask_trl(given.trl):
        parser.error(
            f"{given.trl} has no TRL; run `make bench`, which installs it, or name another"
        )
    return given


class Bench:
    """The runs of one invocation."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.found = given, {}
        self.sides: list[dict[str, Any]] = []

    def side(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """One run of one side."""
        python = self.given.trl if name == "trl" else sys.executable
        result = run_side(python, f"lm.side_{name}", spec)
        self.sides.append(result)
        return result

    def steps(self, workload: Workload) -> None:
        """A workload of a fixed number of steps: TRL at each batch size, then logpi."""
        spec = prepare(workload, self.given.work.resolve())
        steps = self.given.steps or STEPS[workload.name]
        spec |= {"steps": steps, "seed": 0, "look_every": 0}
        found = self.found.setdefault(workload.name, {})
        if "trl" in self.given.sides:
            for batch in BATCHES:
                side = self.side("trl", {**spec, "trl_batch": batch})
                tokens = statistics.mean(x["tokens"] for x in side["sampled"])
                found[f"trl/{batch}"] = {**summary(side), "tokens_sampled": tokens, "raw": side}
        if "logpi" in self.given.sides:
            side = self.side("logpi", spec)
            tokens = statistics.mean(m["sampled_tokens"] for m in side["metrics"])
            found["logpi"] = {**summary(side), "tokens_sampled": tokens, "raw": side}

    def learn(self, workload: Workload) -> None:
        """Train to the target: CPU seconds of training, evaluation not counted."""
        spec = prepare(workload, self.given.work.resolve()) | {"look_every": LOOK_EVERY}
        spec |= {"steps": self.given.steps or 400}
        found = self.found.setdefault(workload.name, {})
        for name in self.given.sides:
            tried = self._tune(name, spec, workload.target)
            best = min(tried, key=lambda t: t["seconds"])["setting"]
            found[name] = {"setting": best, "runs": [], "tried": tried}
        # In turns, so that what else the machine does falls on both sides alike.
        turns = [(name, seed) for seed in range(self.given.seeds) for name in found]
        specs = [{**spec, **found[name]["setting"], "seed": seed} for name, seed in turns]
        runs = self._to_target([name for name, _ in turns], specs, workload.target)
        for (name, _), run in zip(turns, runs, strict=True):
            found[name]["runs"].append(run)

    def _tune(self, name: str, spec: dict[str, Any], target: float) -> list[dict[str, Any]]:
        """Every learning rate; one that takes twice as long as the best is cut short."""
        tried: list[dict[str, Any]] = []
        split = self._split(spec) if name == "trl" else {}
        for lr in RATES:
            setting = {"lr": lr, **split}
            most = 2 * min((t["seconds"] for t in tried), default=300.0)
            told = {**spec, **setting, "most_seconds": most}
            specs = [{**told, "seed": seed} for seed in TUNING_SEEDS]
            runs = self._to_target([name] * len(specs), specs, target)
            seconds = [r["total_seconds"] if r["reached"] else math.inf for r in runs]
            tried.append({"setting": setting, "seconds": statistics.mean(seconds), "runs": runs})
        return tried

    def _split(self, spec: dict[str, Any]) -> dict[str, int]:
        """How many rows TRL had best run at once."""
        short = {**spec, "steps": 8, "seed": TUNING_SEEDS[0], "heldout": None}
        steps = {b: summary(self.side("trl", {**short, "trl_batch": b})) for b in BATCHES}
        best = min(steps, key=lambda b: steps[b]["seconds"]["median"])
        told = ", ".join(f"{b} rows {x['seconds']['median']:.2f} s" for b, x in steps.items())
        print(f"  trl, a step: {told}", flush=True)
        return {"trl_batch": best}

    def _to_target(
        self, names: list[str], specs: list[dict[str, Any]], target: float
    ) -> list[dict[str, Any]]:
        """Runs until the target, as many at a time as were allowed, each in its own process."""

        def one(name: str, spec: dict[str, Any]) -> dict[str, Any]:
            side = self.side(name, spec)
            reached = side["curve"][-1][1] >= target
            run = {**summary(side, warm=0), "reached": reached, "raw": side}
            print(_told(name, spec, run), flush=True)
            return run

        with ThreadPoolExecutor(self.given.at_once) as pool:
            return list(pool.map(one, names, specs))


def _told(name: str, spec: dict[str, Any], run: dict[str, Any]) -> str:
    curve = run["raw"]["curve"]
    return (
        f"  {name} lr {spec['lr']:g} rows {spec.get('trl_batch', 256)} seed {spec['seed']}: "
        f"{run['total_seconds']:.1f} CPU s, {run['steps']} steps, {curve[0][1]:.3f} -> "
        f"{curve[-1][1]:.3f}{'' if run['reached'] else ' (not reached)'}"
    )


def _ratio(found: dict[str, Any], workload: Workload) -> list[str]:
    """The row of a workload in the table."""
    ours = found.get("logpi")
    theirs = {k: v for k, v in found.items() if k.startswith("trl/")}
    cells = [workload.title]
    for name in (f"trl/{b}" for b in BATCHES):
        x = found.get(name)
        cells.append(f"{x['seconds']['median']:.2f} s, {x['memory_mb']:.0f} MB" if x else "")
    cells.append(f"{ours['seconds']['median']:.2f} s, {ours['memory_mb']:.0f} MB" if ours else "")
    if not (ours and theirs):
        return [*cells, "", "", "", _wanted(workload)]
    fastest = min(x["seconds"]["median"] for x in theirs.values())
    whole = found[f"trl/{BATCHES[0]}"]
    cells.append(f"{whole['seconds']['median'] / ours['seconds']['median']:.2f}x")
    cells.append(f"{fastest / ours['seconds']['median']:.2f}x")
    cells.append(f"{ours['memory_mb'] / whole['memory_mb']:.2f}x")
    return [*cells, _wanted(workload)]


def _wanted(workload: Workload) -> str:
    memory = workload.required.get("memory")
    return f">= {workload.required['speed']}x" + (f", <= {memory}x" if memory else "")


def _work_done(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {x['tokens_sampled']:.0f}" for name, x in found.items())


def _learned(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, side in found.items():
        runs = side["runs"]
        seconds = [r["total_seconds"] for r in runs]
        rows.append([
            f"{name}, {', '.join(f'{k} {v:g}' for k, v in side['setting'].items())}",
            f"{statistics.median(seconds):.1f} s",
            f"{statistics.mean(seconds):.1f} s",
            f"{min(seconds):.1f} to {max(seconds):.1f} s",
            f"{statistics.median(r['steps'] for r in runs):.0f}",
            f"{sum(r['reached'] for r in runs)} of {len(runs)}",
            f"{max(r['memory_mb'] for r in runs):.0f} MB",
        ])  # fmt: skip
    return rows


def _print(bench: Bench) -> None:
    fixed = {k: v for k, v in bench.found.items() if k != "learn"}
    if fixed:
        header = ["CPU seconds a step, peak memory", *(f"TRL, {b} rows a pass" for b in BATCHES)]
        header += ["logpi", "faster than one pass", "faster than TRL's best"]
        header += ["memory of TRL in one pass", "wanted of one pass"]
        print(table(header, [_ratio(v, GRPO[k]) for k, v in fixed.items()]))
        print("\nTokens sampled a step (each is trained on, unless its coefficient is 0):")
        for name, found in fixed.items():
            print(f"  {name}: {_work_done(found)}")
    if "learn" in bench.found:
        header = ["noisy checkpoint to 95 % held out", "CPU s: median", "mean", "range"]
        header += ["steps", "reached", "peak"]
        learned = bench.found["learn"]
        print("\n" + table(header, _learned(learned)))
        if len(learned) == 2:
            for what, of in (("medians", statistics.median), ("means", statistics.mean)):
                ours, theirs = (
                    of(r["total_seconds"] for r in learned[k]["runs"]) for k in ("logpi", "trl")
                )
                print(f"by {what} logpi is {theirs / ours:.2f}x as fast (wanted: >= 3x)")
    print_surroundings(bench.sides)
    if bench.given.json:
        bench.given.json.write_text(
            json.dumps({**surroundings(bench.sides), "workloads": bench.found}, indent=1)
        )


def main() -> None:
    """Run the workloads that were asked for, and print the table."""
    torch.set_num_threads(1)
    bench = Bench(_arguments())
    for name in bench.given.workloads or GRPO:
        workload = GRPO[name]
        print(f"{name}: {workload.title} ...", flush=True)
        bench.learn(workload) if workload.target else bench.steps(workload)
    _print(bench)


if __name__ == "__main__":
    main()
