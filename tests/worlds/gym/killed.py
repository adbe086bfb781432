"""Kills a training process at every file that it opens, renames or removes, and resumes it.

    python killed.py FOLDER [STRIDE]

At every `STRIDE`th of them: all 152 take a minute. It is a script of its own, because it forks,
which a process with threads should not. Prints how many places there were; fails where a kill lost
more than one iteration, or where the resumed run does not end with the same weights.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path

import torch

import logpi
from logpi.train.checkpoint import newest
from logpi.train.latest import Latest

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def train(directory: Path, *, resume: bool = False) -> None:
    small = {"num_envs": 2, "steps": 8, "evaluate_episodes": 1}
    logpi.train(
        recipe="ppo",
        world=logpi.Gym("CartPole-v1", mode="sync", normalise_observations=True, **small),
        iterations=7,
        checkpoint={"every": 3},
        log={"decisions_every": 2},
        directory=directory,
        resume=resume,
        quiet=True,
    )


def in_a_process(what, *given, **options) -> int:
    """How a process that does this ends."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            what(*given, **options)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train_until(directory: Path, event: int) -> None:
    left = [event]

    def watch(name, arguments):
        if name in EVENTS and str(directory.name) in str(arguments[0]):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    train(directory)


def weights(directory: Path) -> str:
    return hashlib.sha256((directory / "model" / "policy.safetensors").read_bytes()).hexdigest()


def lost(directory: Path) -> int:
    """How many iterations that were recorded nothing leads back to."""
    root = directory / "checkpoints"
    places = [x.iteration for x in (newest(root), Latest(root).read()) if x is not None]
    return logpi.Run(directory).done - max(places, default=0)


def main(folder: Path, stride: int = 1) -> None:
    torch.set_num_threads(1)
    whole = folder / "whole"
    train(whole)  # here, so that what it imports is imported once
    tasks = Path("/proc/self/task")
    assert not tasks.exists() or len(list(tasks.iterdir())) == 1, "threads would not be forked"
    count = 0
    while True:
        directory = folder / f"part-{count}"
        code = in_a_process(train_until, directory, count)
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"at {count}: exit code {code}"
        begun = (directory / "config.yaml").exists()
        assert not begun or lost(directory) <= 1, f"at {count}: {lost(directory)} are lost"
        assert in_a_process(train, directory, resume=begun) == 0, f"at {count}: not resumed"
        assert weights(directory) == weights(whole), f"at {count}: other weights"
        count += stride
    print(count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
