"""One side on one line, in a process of its own: CPU seconds, peak memory, and the error proved.

python -m benchmarks.mdp.measure SIDE LINE [--error E] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from benchmarks.mdp.models import LINES, small
from benchmarks.mdp.sides import SIDES, Solve

from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["proved_error", "repeated"]


def status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def proved_error(m: FiniteMDP, v: np.ndarray) -> float:
    """A bound on |v − v*| / max(1, |v|) from one backup in NumPy: the same for every side.

    |v − v*| ≤ max |T v − v| / (1 − γ), Puterman 1994, theorem 6.3.1; a terminal state returns to
    itself for 0, since some sides give it a value that is not quite 0.
    """
    q = m.reward + m.discount * (m.transitions @ v).reshape(m.reward.shape)
    q[~m.allowed] = -np.inf
    change = np.where(m.terminal, m.discount * v, q.max(1)) - v
    return float(np.abs(change).max()) / (1 - m.discount) / max(1.0, float(np.abs(v).max()))


def repeated(solve: Solve, error: float, repeat: int) -> tuple[np.ndarray, list[float], int]:
    """The value, the CPU seconds of each solve, and the bytes that the first one needed at most.

    Of the first alone: what it leaves behind would count as memory of those that follow.
    """
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
    v, seconds, peak = np.empty(0), [], 0
    for k in range(repeat):
        began = time.process_time()
        v = solve(error)
        seconds.append(time.process_time() - began)
        if k == 0:
            peak = status("VmHWM") - before
    return v, seconds, peak


def main() -> None:
    """Warm up, solve, print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("line", choices=LINES)
    parser.add_argument("--error", type=float, default=1e-6)
    parser.add_argument("--repeat", type=int, default=1)
    given = parser.parse_args()
    began = time.process_time()
    try:
        SIDES[given.side](small(given.line))(1e-3)
    except ImportError as missing:
        print(json.dumps({"missing": str(missing)}))
        return
    warm = time.process_time() - began
    m = LINES[given.line].make()
    solve = SIDES[given.side](m)
    v, seconds, peak = repeated(solve, given.error, given.repeat)
    t = m.transitions
    csr = t.data.nbytes + t.indices.nbytes + t.indptr.nbytes
    print(
        json.dumps(
            {
                "seconds": min(seconds),
                "warm_up": warm,
                "error": proved_error(m, v),
                "size": float(np.abs(v).max()),
                "memory": (csr + peak) / csr,
                "csr_mb": csr / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
