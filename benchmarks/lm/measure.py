"""Clocks: process CPU seconds and peak memory, the processes that were started included."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["Clock", "cpu_seconds", "machine", "peak_mb", "spread", "versions"]

_TICK = os.sysconf("SC_CLK_TCK")


def _children() -> list[str]:
    """Process ids of the living children of this process (Linux; none elsewhere)."""
    found: list[str] = []
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found += task.read_text().split()
        except OSError:
            continue
    return found


def cpu_seconds() -> float:
    """CPU seconds of this process, of the children it has reaped, and of those that are alive."""
    reaped = os.times()
    total = time.process_time() + reaped.children_user + reaped.children_system
    for pid in _children():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / _TICK
    return total


def peak_mb() -> dict[str, float]:
    """Peak resident memory in MB: of this process, and of its living children added up."""
    own = _peak_bytes("self")
    if own is None:  # no /proc
        scale = 1 if sys.platform == "darwin" else 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    children = sum(_peak_bytes(pid) or 0 for pid in _children())
    return {"process": own / 1e6, "children": children / 1e6}


def _peak_bytes(pid: str) -> int | None:
    """Of the program that the process runs now: Linux's `ru_maxrss` counts who started it too."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return sum(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM"))


class Clock:
    """CPU seconds between marks, less what was spent inside `paused`."""

    def __init__(self) -> None:
        """Start with no mark."""
        self.seconds: list[float] = []
        self.children_mb = 0.0
        self._since: float | None = None
        self._spared = 0.0

    @property
    def running(self) -> bool:
        """Whether a step is open."""
        return self._since is not None

    def mark(self) -> None:
        """Close the step that is open, if any, and open the next."""
        self.children_mb = max(self.children_mb, peak_mb()["children"])
        now = cpu_seconds()
        if self._since is not None:
            self.seconds.append(now - self._since - self._spared)
        self._since, self._spared = now, 0.0

    def paused(self, work: Callable[[], Any]) -> Any:
        """What `work` returns; its CPU time is not counted."""
        start = cpu_seconds()
        result = work()
        self._spared += cpu_seconds() - start
        return result


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def versions(*names: str) -> dict[str, str]:
    """The versions of these packages, where they are installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, memory, operating system, and how busy the machine is."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }
