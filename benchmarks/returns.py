"""Returns that the presets of environments reach: trains them, and writes docs/results.md.

    python benchmarks/returns.py ppo/cartpole trpo/cartpole --seeds 0 1 2 --episodes 100

A preset's figures go to benchmarks/returns/RECIPE-ENVIRONMENT.json, one entry a seed; a seed that
is there already is not run again unless --again is said. The page is made anew from all of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import logpi
from logpi.run import train_config
from logpi.train.config import load_config

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "results.md"
BINS = 10
OTHERS = 10_000  # added to a seed, it gives episodes that no evaluation of the run has played
TARGETS = {
    "ppo/cartpole": "500 within 100 000 decisions",
    "trpo/cartpole": "500 within 100 000 decisions",
    "a2c/cartpole": "500 within 500 000 decisions",
    "reinforce/cartpole": "475 (solved)",
    "ppo/pendulum": "-200",
    "ppo/lunarlander": "200 within 1 000 000 decisions",
    "ppo/hopper": "2400 within 1 000 000 decisions",
    "trpo/hopper": "3000 within 1 000 000 decisions",
    "ppo/halfcheetah": "1800 within 1 000 000 decisions",
}
"""What others publish, and this project asks of itself."""

HEAD = """# Returns in environments

Written by `benchmarks/returns.py`, which trains presets that come with the package and measures
what is left: do not edit. *Greedy* is the mean return of so many episodes in which the likeliest
action is taken, from reset seeds that training never saw, its statistics frozen; *kept* is that of
the policy in `best/`, the best of the evaluations along the way, in episodes that did not choose
it; *sampled* is that of the training episodes of the last tenth of the run. The figure after ± is
the standard deviation over seeds; *least* is the worst seed; *CPU s* is one seed's, evaluations
included, on a machine that did other work beside it, and *environments* the share of training in
which they step. Runs are published as they came out, those that miss what is asked as well.
"""


def measured(preset: str, seed: int, episodes: int, runs: Path) -> dict[str, Any]:
    """One run of a preset, as JSON."""
    config = load_config(preset, [f"seed={seed}"])
    clock, cpu = time.perf_counter(), time.process_time()
    run = train_config(config, directory=runs / f"{preset.replace('/', '-')}-{seed}", quiet=True)
    told = {"wall": time.perf_counter() - clock, "cpu": time.process_time() - cpu}
    lines = [m for m in run.metrics if "decisions" in m]
    return {
        "seed": seed,
        "version": logpi.__version__,
        "iterations": run.done,
        "decisions": int(sum(m["decisions"] for m in lines)),
        "episodes": episodes,
        "greedy": run.evaluate(episodes=episodes).mean_return,
        "kept": run.best.evaluate(episodes=episodes, seed=OTHERS + seed).mean_return,
        "curve": curve(lines),
        "environments_share": float(
            np.average(
                [m["environments_share"] for m in lines], weights=[m["seconds"] for m in lines]
            )
        ),
        "machine": f"{platform.machine()}, one thread of {cpu_name()}",
        **{name: round(value, 1) for name, value in told.items()},
    }


def curve(lines: list[dict[str, Any]]) -> list[float | None]:
    """Mean return of the training episodes that ended in each tenth of the decisions."""
    at = np.cumsum([m["decisions"] for m in lines])
    place = np.minimum((at - 1) * BINS // at[-1], BINS - 1).astype(int)
    found: list[float | None] = []
    for b in range(BINS):
        here = [m for m, p in zip(lines, place, strict=True) if p == b and m.get("episodes")]
        count = sum(m["episodes"] for m in here)
        total = sum(m["episodes"] * m["return"] for m in here)
        found.append(round(total / count, 1) if count else None)
    return found


def cpu_name() -> str:
    """The processor, as Linux calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "an unknown processor"


def page() -> str:
    """The whole page, from the stored figures."""
    stored = {
        path.stem.replace("-", "/", 1): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((HERE / "returns").glob("*.json"))
    }
    parts = [HEAD, *table(stored)]
    parts += [
        "\n## Curves\n",
        "Mean return of training episodes in each tenth of the run, over seeds.\n",
    ]
    parts.append("| preset | " + " | ".join(f"{10 * (b + 1)} %" for b in range(BINS)) + " |")
    parts.append("|---|" + "--:|" * BINS)
    for preset, seeds in stored.items():
        columns = zip(*(s["curve"] for s in seeds), strict=True)
        cells = [_mean([x for x in column if x is not None]) for column in columns]
        parts.append(f"| `{preset}` | " + " | ".join(cells) + " |")
    parts.append("\n## Commands\n")
    for preset, seeds in stored.items():
        numbers = " ".join(str(s["seed"]) for s in seeds)
        parts.append(
            f"- `python benchmarks/returns.py {preset} --seeds {numbers} --episodes "
            f"{seeds[0]['episodes']}`, on {seeds[0]['machine']}"
        )
    return "\n".join(parts) + "\n"


def table(stored: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line for each preset."""
    lines = [
        "| preset | seeds | decisions | greedy | least | kept | sampled | asked | CPU s | "
        "environments |",
        "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|",
    ]
    for preset, seeds in stored.items():
        greedy, kept = (np.array([s[name] for s in seeds]) for name in ("greedy", "kept"))
        sampled = [s["curve"][-1] for s in seeds if s["curve"][-1] is not None]
        lines.append(
            f"| `{preset}` | {len(seeds)} | {max(s['decisions'] for s in seeds):,} | "
            f"{_spread(greedy)} | {greedy.min():.1f} | {_spread(kept)} | {_mean(sampled)} | "
            f"{TARGETS.get(preset, '')} | {np.mean([s['cpu'] for s in seeds]):.0f} | "
            f"{np.mean([s['environments_share'] for s in seeds]):.0%} |"
        )
    return lines


def _spread(x: np.ndarray) -> str:
    return f"{x.mean():.1f}" + (f" ± {x.std(ddof=1):.1f}" if len(x) > 1 else "")


def _mean(x: list[float]) -> str:
    return f"{np.mean(x):.1f}" if x else "none ended"


def main() -> None:
    """Train what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--runs", type=Path, help="where run directories go; unset: nowhere")
    given = parser.parse_args()
    for preset in given.presets:
        path = HERE / "returns" / f"{preset.replace('/', '-')}.json"
        known = {s["seed"]: s for s in json.loads(path.read_text())} if path.exists() else {}
        for seed in given.seeds:
            if seed in known and not given.again:
                continue
            with tempfile.TemporaryDirectory() as folder:
                known[seed] = measured(preset, seed, given.episodes, given.runs or Path(folder))
            print(preset, json.dumps(known[seed]), flush=True)
            path.parent.mkdir(exist_ok=True)
            rows = [json.dumps(known[s]) for s in sorted(known)]
            path.write_text("[" + ",\n ".join(rows) + "]\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
