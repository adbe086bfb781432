"""PPO in environments against Stable-Baselines3: steps per CPU second, memory, CPU s to a return.

python benchmarks/gym_vs_sb3.py --sb3 PYTHON                every line (some 10 minutes)
python benchmarks/gym_vs_sb3.py --sb3 PYTHON cartpole       the lines whose names begin so
python benchmarks/gym_vs_sb3.py --sb3 PYTHON --skrl PYTHON  skrl too, which takes turns with both
python benchmarks/gym_vs_sb3.py                             our side alone

One thread, CPU seconds of the process, nets of 64 × 64 tanh, the same settings on both sides (which
`gym/lines.py` says), every side in a process of its own, turn by turn. What is printed is the
median of --repeat runs with different seeds. No side writes anything down; *kept* is ours where
it writes its records and checkpoints, as it does by default. PYTHON is an interpreter that has
stable-baselines3, or skrl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.gym.lines import LINES, Line  # noqa: E402  # the path comes first

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR")}


def once(python: str, side: str, name: str, seed: int) -> dict[str, Any]:
    """What one side says of one line."""
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    ended = subprocess.run(
        [python, "-W", "ignore", "-m", f"benchmarks.gym.side_{side}", name, str(seed)],
        cwd=ROOT, env={**os.environ, **ONE_THREAD, **path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if ended.returncode:
        raise SystemExit(f"{side} on {name} failed:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.strip().splitlines()[-1])


def measure(name: str, sides: dict[str, str], repeat: int) -> dict[str, dict[str, Any]]:
    """The medians of every side, which run turn by turn."""
    line = LINES[name]
    if line.learn is None:
        repeat = max(1, repeat - 2)
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for seed in range(repeat):
        for side, python in sides.items():
            told[side].append(once(python, side, name, seed))
    return {side: _median(line, runs) for side, runs in told.items()}


def _median(line: Line, runs: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"memory": statistics.median(r["memory"] for r in runs)}
    if line.learn is None:
        known = [k for k in ("rate", "share", "kept") if k in runs[0]]
        return found | {k: statistics.median(r[k] for r in runs) for k in known}
    seconds = [r["seconds"] for r in runs]
    found["runs"] = seconds
    done = sorted(s for s in seconds if s is not None)
    missing = len(seconds) - len(done)
    found["seconds"] = None if missing > len(seconds) // 2 else done[len(seconds) // 2]
    return found


def describe(name: str, found: dict[str, dict[str, Any]]) -> str:
    """The line of the table."""
    line = LINES[name]
    shown = f"{line.env}, {line.envs} × {line.steps}, {line.mode}"
    if line.learn is None:
        numbers = [f"{x['rate']:,.0f}" for x in found.values()]
        rest = [f"{x['share']:.0%}" for x in found.values()]
    else:
        numbers = [
            "never" if x["seconds"] is None else f"{x['seconds']:.2f} s" for x in found.values()
        ]
        rest = ["" for _ in found]
    times = [_times(found, "sb3"), *([_times(found, "skrl")] if "skrl" in found else [])]
    asked = f"{line.rate:,.0f}" if line.rate else f"{line.ratio} ×" if line.ratio else ""
    memory = [f"{x['memory']:.0f}" for x in found.values()]
    kept = f"{found['logpi']['kept']:,.0f}" if "kept" in found["logpi"] else ""
    told = [*times, asked, " / ".join(rest), " / ".join(memory), kept]
    columns = [f"{name}: {shown}", *numbers, *told]
    return "| " + " | ".join(columns) + " |"


def _times(found: dict[str, dict[str, Any]], other: str) -> str:
    """How many times as fast as another side ours is, where both are known."""
    ours, theirs = found["logpi"], found.get(other, {})
    if "rate" in theirs:
        return f"{ours['rate'] / theirs['rate']:.1f} ×"
    if theirs.get("seconds") and ours["seconds"]:
        return f"{theirs['seconds'] / ours['seconds']:.1f} ×"
    return ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("lines", nargs="*", help="beginnings of the lines' names; = is the whole")
    parser.add_argument("--sb3", help="the interpreter that has stable-baselines3")
    parser.add_argument("--skrl", help="the interpreter that has skrl")
    parser.add_argument("--repeat", type=int, default=5, help="runs of a line that learns")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    given = parser.parse_args()
    others = {"sb3": given.sb3, "skrl": given.skrl}
    sides = {"logpi": sys.executable} | {side: x for side, x in others.items() if x}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")  # fmt: skip
    ratios = ["ratio", *(["ratio to skrl"] if given.skrl else [])]
    heads = ["line", *sides, *ratios, "asked", "environments' share", "peak MB", "logpi, kept"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    told: dict[str, Any] = {}
    for name in LINES:
        if given.lines and not any(_named(name, x) for x in given.lines):
            continue
        told[name] = measure(name, sides, given.repeat)
        print(describe(name, told[name]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def _named(name: str, asked: str) -> bool:
    return name == asked[1:] if asked.startswith("=") else name.startswith(asked)


if __name__ == "__main__":
    main()
