"""Planning in finite MDPs against quantecon, and against whatever else is installed.

python benchmarks/mdp_vs_quantecon.py                       the table (hours: quantecon is slow)
python benchmarks/mdp_vs_quantecon.py "grid 1e5"            the lines whose names begin so
python benchmarks/mdp_vs_quantecon.py --sides logpi         one side alone
python benchmarks/mdp_vs_quantecon.py --bandwidth           a sweep against reading memory
python benchmarks/mdp_vs_quantecon.py --thresholds          what auto's threshold rests on

CPU seconds of one thread, the least of some repetitions; every side in a process of its own, asked
for an error of 1e-6 · max(1, |v|), which one backup in NumPy then proves or not. Building the
models and compiling are not counted; what compiling took is printed. Peers that are not installed
are left out, and none runs for longer than --cap CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR")}
os.environ.update(ONE_THREAD)

from benchmarks.mdp.models import LINES  # noqa: E402  # threads are set before NumPy is loaded

PEERS = ("quantecon", "quantecon k=5", "stormpy", "mdpsolver", "pymdptoolbox")
RELATIVE = 1e-6


@dataclass(frozen=True, slots=True)
class Result:
    """What one side printed, or why there is nothing."""

    seconds: float | None
    error: float = 0.0
    size: float = 1.0
    memory: float = 0.0
    warm_up: float = 0.0
    note: str = ""


def run(side: str, line: str, *, error: float, cap: float, repeat: int) -> Result:
    """One side on one line in its own process."""
    command = [sys.executable, "-m", "benchmarks.mdp.measure", side, line]
    command += ["--error", repr(error), "--repeat", str(repeat)]
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}

    def limit() -> None:
        seconds = int(cap) + 60  # with time to build the model
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **path}, capture_output=True, text=True,
        preexec_fn=limit, check=False,
    )  # fmt: skip
    lines = ended.stdout.strip().splitlines()
    if ended.returncode:
        why = ended.stderr.strip().splitlines()[-1:] or [f"ended by signal {-ended.returncode}"]
        killed = ended.returncode in (-9, -24)
        return Result(None, note=f"> {cap:.0f} s" if killed else why[0][:60])
    found = json.loads(lines[-1])
    if "missing" in found:
        return Result(None, note="not installed")
    keys = ("seconds", "error", "size", "memory", "warm_up")
    return Result(*(found[key] for key in keys), note=" ".join(lines[-2:-1]).strip())


def describe(side: str, result: Result, ours: Result) -> str:
    """A line of the table."""
    if result.seconds is None or ours.seconds is None:
        return f"  {side:14} {result.note}"
    ratio = "" if side == "logpi" else f"{result.seconds / ours.seconds:7.1f} ×"
    proved = f"{result.error:.1e}" + ("" if result.error <= 1.01 * RELATIVE else " !")
    return (
        f"  {side:14} {result.seconds:9.3f} s {ratio:>9}  memory {result.memory:5.2f} × CSR"
        f"  error {proved}  warm-up {result.warm_up:4.1f} s  {result.note}"
    )


def table(names: list[str], sides: list[str], *, cap: float, repeat: int) -> dict[str, object]:
    """Run and print every line; what was measured."""
    out: dict[str, object] = {}
    for name in names:
        line = LINES[name]
        ours = run("logpi", name, error=RELATIVE, cap=cap, repeat=repeat)
        asked = f"at least {line.ratio} × quantecon" if line.ratio else "certified"
        asked += f" within {line.seconds} s" if line.seconds else ""
        print(f"{name}   (load {os.getloadavg()[0]:.1f}; asked for: {asked})")
        print(describe("logpi", ours, ours), flush=True)
        out[name] = {"logpi": ours.seconds, "memory": ours.memory, "error": ours.error}
        for side in sides if line.peers else []:
            theirs = run(side, name, error=RELATIVE * max(1.0, ours.size), cap=cap, repeat=1)
            print(describe(side, theirs, ours), flush=True)
            out[name][side] = theirs.seconds if theirs.seconds is not None else theirs.note  # pyright: ignore
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("lines", nargs="*", help="beginnings of the lines' names")
    parser.add_argument("--sides", default=",".join(PEERS), help="peers to run, by commas")
    parser.add_argument("--cap", type=float, default=150, help="CPU seconds a peer may take")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions on our side")
    parser.add_argument("--bandwidth", action="store_true")
    parser.add_argument("--thresholds", action="store_true")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")  # fmt: skip
    if given.bandwidth or given.thresholds:
        from benchmarks.mdp import bandwidth, thresholds

        (bandwidth if given.bandwidth else thresholds).main()
        return
    names = [n for n in LINES if not given.lines or any(n.startswith(x) for x in given.lines)]
    sides = [side for side in given.sides.split(",") if side in PEERS]
    out = table(names, sides, cap=given.cap, repeat=given.repeat)
    if given.json:
        given.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
