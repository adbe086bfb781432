"""What a run ran on: versions, machine, command line and commit, without importing any of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

__all__ = ["environment"]

_PACKAGES = (
    "logpi",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "datasets",
    "safetensors",
    "numpy",
    "scipy",
    "gymnasium",
    "mujoco",
    "box2d",
    "envpool",
)


def environment() -> dict[str, Any]:
    """The facts that `env.json` holds about this process, as plain JSON.

    >>> environment()["versions"]["torch"] == torch.__version__
    True
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {
            "torch": torch.__version__,
            **{name: _version(name) for name in _PACKAGES if name != "torch"},
        },
        "git_commit": _commit(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "pid": os.getpid(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that the run was started in, `+changes` if there were any; None outside git."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        head = _git(git, "rev-parse", "HEAD")
        return head + (
            "+changes" if _git(git, "status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _git(git: str, *arguments: str) -> str:
    done = subprocess.run([git, *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()
