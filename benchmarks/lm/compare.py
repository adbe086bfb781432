"""Run the two sides of a workload one after the other, and put their figures beside each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lm.measure import machine, spread

__all__ = [
    "HERE",
    "ask_trl",
    "one_thread",
    "print_surroundings",
    "run_side",
    "summary",
    "surroundings",
    "table",
]

_HAS_TRL = "import importlib.util as u; raise SystemExit(u.find_spec('trl') is None)"
HERE = Path(__file__).resolve().parent.parent


def one_thread() -> dict[str, str]:
    """The environment of a side: one thread, no network, nothing printed that is not asked for."""
    return {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }


def ask_trl(python: str) -> bool:
    """Whether TRL can be imported by that Python."""
    if not Path(python).exists():
        return False
    asked = [python, "-c", _HAS_TRL]
    return subprocess.run(asked, check=False).returncode == 0


def run_side(python: str, module: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What one side measured, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "spec.json", Path(folder) / "answer.json"
        given.write_text(json.dumps(spec))
        before = os.getloadavg()[0]
        done = subprocess.run(
            [os.path.abspath(python), "-m", module, str(given), str(answer)],
            env=one_thread(),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not answer.exists():
            sys.stderr.write(done.stdout[-2000:] + done.stderr[-6000:])
            raise SystemExit(f"{module} failed on {spec['name']}")
        result = json.loads(answer.read_text())
    result["load_average"] = [round(before, 2), round(os.getloadavg()[0], 2)]
    return result


def summary(side: dict[str, Any], *, warm: int = 1) -> dict[str, Any]:
    """Seconds a step after `warm` steps, their sum, and peak memory, child processes included."""
    steps = side["seconds"][warm:] or side["seconds"]
    return {
        "seconds": spread(steps),
        "steps": len(side["seconds"]),
        "total_seconds": sum(side["seconds"]),
        "memory_mb": side["peak"]["process"] + side["peak"]["children"],
        "load_average": side["load_average"],
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    width = [max(len(line[i]) for line in lines) for i in range(len(header))]
    cells = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(x, width, strict=True)) + " |" for x in lines
    ]
    return "\n".join(cells)


def surroundings(sides: list[dict[str, Any]]) -> dict[str, Any]:
    """The machine and the versions of every package that took part."""
    found: dict[str, str] = {}
    for side in sides:
        found.update(side["versions"])
    return {"machine": machine(), "versions": found}


def print_surroundings(sides: list[dict[str, Any]]) -> None:
    """Machine, versions, and what else ran."""
    around = surroundings(sides)
    print("\nmachine:", ", ".join(f"{k} {v}" for k, v in around["machine"].items()))
    print("versions:", ", ".join(f"{k} {v}" for k, v in around["versions"].items()))
    loads = [load for side in sides for load in side["load_average"]]
    print(f"load average while it ran: {min(loads)} to {max(loads)} (1 is this benchmark alone)")
