"""The demo: what it goes on with, what it leaves alone, and that it runs."""

from __future__ import annotations

import io
import itertools
import shutil
from pathlib import Path

import pytest

from logpi.demo import Demo, demos, main


def made(path: Path, *, finished: bool) -> None:
    (path / "model" if finished else path).mkdir(parents=True)


def following(root: Path) -> str:
    known = itertools.islice(demos(root), 5)
    return next(d.grpo.name for d in known if d.unfinished or not d.taken)


def test_the_first_demo_is_free(tmp_path):
    assert following(tmp_path) == "demo"


@pytest.mark.parametrize("finished", [False, True])
def test_an_interrupted_demo_is_gone_on_with(tmp_path, finished):
    made(tmp_path / "demo-sft", finished=finished)
    assert following(tmp_path) == "demo"
    made(tmp_path / "demo", finished=False)
    assert following(tmp_path) == "demo"


def test_a_finished_demo_is_kept(tmp_path):
    made(tmp_path / "demo-sft", finished=True)
    made(tmp_path / "demo", finished=True)
    assert following(tmp_path) == "demo-2"


def test_a_run_of_that_name_which_is_no_demo_is_left_alone(tmp_path):
    made(tmp_path / "demo", finished=False)
    assert following(tmp_path) == "demo-2"
    assert Demo(tmp_path / "demo-sft", tmp_path / "demo").taken


@pytest.mark.slow
def test_the_demo_runs_and_goes_on(tmp_path):
    said = io.StringIO()
    assert main(quick=True, root=tmp_path, stream=said) == 0
    assert said.getvalue().startswith("Sums are written ones first")
    assert "before: SFT" in said.getvalue()
    assert (tmp_path / "demo-quick" / "report.html").is_file()
    shutil.rmtree(tmp_path / "demo-quick" / "model")  # as if it had been stopped before its end
    assert main(quick=True, root=tmp_path, stream=io.StringIO()) == 0
    assert (tmp_path / "demo-quick" / "model").is_dir()
    assert not (tmp_path / "demo-quick-2").exists()
