"""Who writes a run directory: one process, and nobody once it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from logpi.core.errors import RunError
from logpi.train.lock import Lock


def test_a_folder_has_one_writer(tmp_path):
    lock = Lock(tmp_path)
    with pytest.raises(RunError, match=rf"written by another process \(process {os.getpid()} on"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_what_a_killed_process_forked_does_not_keep_its_lock(tmp_path):
    script = """
import multiprocessing, os, pathlib, sys, time
from logpi.train.lock import Lock
lock = Lock(pathlib.Path(sys.argv[1]))
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""
    told = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(told, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        child = int(writer.stdout.readline())
        try:
            with pytest.raises(RunError, match="another process"):
                Lock(tmp_path)
            writer.kill()
            writer.wait()
            Lock(tmp_path).release()
        finally:
            os.kill(child, signal.SIGKILL)
