"""Data sets of the hub where it cannot be reached: refused at once, or read as they were stored."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import datasets
import pytest

from logpi.core.errors import DataError
from logpi.worlds.lm.hub import UnknownNameError, UnreachableError, ask
from logpi.worlds.lm.rows import rows

READ = """
import sys, time
from logpi.core.errors import DataError
from logpi.worlds.lm.rows import rows
start = time.monotonic()
try:
    print(rows(sys.argv[1]))
except DataError as error:
    print(error)
print(time.monotonic() - start)
"""
TWO = [{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "2"}]


def read(name, **environment):
    kept = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", READ, name]
    return subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, check=True
    )


class Known(datasets.GeneratorBasedBuilder):
    """Writes what `datasets` keeps of a data set of the hub."""

    def _info(self):
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager):
        return [datasets.SplitGenerator("train")]

    def _generate_examples(self):
        yield from enumerate(TWO)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The cache of `datasets`, which holds nobody/known."""
    datasets.disable_progress_bars()
    known = Known(
        cache_dir=str(tmp_path), dataset_name="known", repo_id="nobody/known", hash="0" * 40
    )
    known.download_and_prepare()
    datasets.enable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    return tmp_path


def test_what_can_be_no_name_is_asked_of_nobody():
    with pytest.raises(UnknownNameError, match="no hub name looks like this"):
        ask("data set", "a name")
    with pytest.raises(DataError, match="no file or folder 'a name' here, and no hub name looks"):
        rows("a name")


def test_a_hub_that_may_not_be_asked_is_one_that_cannot_be_reached():
    with pytest.raises(UnreachableError, match="offline mode is enabled"):
        ask("data set", "nobody/nothing")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "nobody/nothing:some"])
def test_a_data_set_that_is_nowhere_is_said_at_once_and_alone(name):
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        pass
    else:
        pytest.skip("the hub can be reached")
    done = read(name)
    told, seconds = done.stdout.splitlines()
    assert told.startswith(f"there is no file or folder {name!r} here, and the Hugging Face hub")
    assert float(seconds) < 5
    assert done.stderr == ""


def test_without_the_hub_what_it_gave_before_is_read(stored):
    for name in ("nobody/known", "nobody/known:default"):
        assert rows(name) == [(f"{name}, row {i}", row) for i, row in enumerate(TWO, 1)]
    with pytest.raises(DataError, match=r'nor is it stored here: Unknown split "test"'):
        rows("nobody/known", split="test")
    with pytest.raises(DataError, match=r"Available configs in the cache: \['default'\]"):
        rows("nobody/known:other")
