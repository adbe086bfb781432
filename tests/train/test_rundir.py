"""Run directories: never overwritten, never half written, always to be resumed."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import textwrap

import gymnasium
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from logpi.core.errors import ConfigError, RunError
from logpi.train.config import RunConfig
from logpi.train.files import disk_full, folder_in_one_go, sweep, sync, write_text
from logpi.train.latest import Latest
from logpi.train.records import append_lines, cut_after, read_lines
from logpi.train.rundir import (
    RunDirectory,
    read_config,
    read_decisions,
    read_metrics,
    run_path,
    summary,
)


def config(**changed):
    told = {"recipe": {"name": "grpo", "beta": 0.0}, "world": {"model": "m"}, "iterations": 9}
    return RunConfig(**{**told, **changed})


def tensors(value=1.0):
    return {"policy": {"w": torch.full((8,), value)}, "optimizer": {"step/w": torch.tensor(value)}}


def fill(run, iterations, *, every=2):
    for k in range(1, iterations + 1):
        run.record(k, {"reward": k / 10})
        run.record_decisions([{"iteration": k, "row": row} for row in range(2)])
        if k % every == 0:
            run.save_checkpoint(k, tensors(k), {"done": k})


def test_a_new_run_says_what_it_is(tmp_path):
    with RunDirectory.create(config(), tmp_path / "first") as run:
        run.record(1, {"reward": 0.25, "loss": float("nan"), "iteration": 1.0})
        run.record_decisions([{"iteration": 1, "logp": [0.5, None]}])
    path = tmp_path / "first"
    assert read_metrics(path) == [{"iteration": 1, "reward": 0.25, "loss": None}]
    assert list(read_decisions(path)) == [{"iteration": 1, "logp": [0.5, None]}]
    stored = read_config(path)
    assert stored.recipe == {"name": "grpo", "beta": 0.0}
    assert stored.optim.lr == 1e-6
    assert stored.directory == str(path)
    env = json.loads((path / "env.json").read_text())
    assert env["versions"]["torch"] == torch.__version__
    assert env["versions"]["gymnasium"] == gymnasium.__version__
    assert {"python", "platform", "cpu_count", "threads", "started"} <= set(env)
    assert {"command", "git_commit"} <= set(env)
    assert run.model_dir == path / "model"


def test_a_run_is_never_overwritten(tmp_path):
    with RunDirectory.create(config(), tmp_path / "first") as run:
        fill(run, 5)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError) as error:
        RunDirectory.create(config(), tmp_path / "first")
    assert str(error.value) == (
        f"{tmp_path / 'first'} already exists: it holds a grpo run, at iteration 5 of 9; its last "
        "checkpoint is of iteration 4. Runs are never overwritten. Go on with it with --resume "
        "(`resume=True` from Python), or choose another name."
    )
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_other_things_are_not_overwritten_either(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="it is a file"):
        RunDirectory.create(config(), tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="something that is not a run"):
        RunDirectory.create(config(), tmp_path / "folder")
    with pytest.raises(RunError, match="cannot be made"):
        RunDirectory.create(config(), tmp_path / "file" / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_an_empty_folder_will_do(tmp_path):
    RunDirectory.create(config(), tmp_path).close()
    assert read_config(tmp_path).recipe_name == "grpo"


def test_without_a_name_the_next_free_one_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/grpo", "runs/grpo-2", "runs/grpo-3"):
        with RunDirectory.create(config()) as run:
            assert run.path.as_posix() == expected
    with RunDirectory.create(config(directory="runs/mine")) as run:
        assert run.path.as_posix() == "runs/mine"
    with pytest.raises(RunError, match="already exists"):
        RunDirectory.create(config(directory="runs/mine"))


def test_names_stay_below_runs():
    assert run_path("first").as_posix() == "runs/first"
    for name in ("../first", "/first", ""):
        with pytest.raises(ConfigError, match="cannot name a run"):
            run_path(name)


def test_resuming_goes_on_from_the_newest_checkpoint(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 5)
    with RunDirectory.resume(tmp_path / "run") as run:
        found = run.load_checkpoint()
        assert (found.iteration, found.state, found.skipped) == (4, {"done": 4}, ())
        assert found.tensors["policy"]["w"].eq(4).all()
        assert [line["iteration"] for line in run.metrics()] == [1, 2, 3, 4]
        run.record(5, {"reward": 1.0})
    assert [row["iteration"] for row in read_decisions(run.path)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert read_metrics(run.path)[-1] == {"iteration": 5, "reward": 1.0}
    env = json.loads((run.path / "env.json").read_text())
    assert len(env["resumed"]) == 1
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == ["2", "4"]


def test_a_damaged_checkpoint_falls_back_and_says_so(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 5)
    os.truncate(run.path / "checkpoints" / "4" / "policy.safetensors", 10)
    with RunDirectory.resume(run.path) as run:
        found = run.load_checkpoint()
    assert found.iteration == 2
    (skipped,) = found.skipped
    assert skipped.startswith("checkpoint 4 was skipped: policy.safetensors is truncated: 10 of")
    assert [line["iteration"] for line in read_metrics(run.path)] == [1, 2]


def test_what_is_whole_beside_damaged_checkpoints_is_gone_on_from(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 5)
    root = run.path / "checkpoints"
    for k in (2, 4):
        os.truncate(root / str(k) / "policy.safetensors", 10)
    latest = Latest(root)
    for k in (3, 5):
        latest.write(k, tensors(k), {"done": k})
    with RunDirectory.resume(run.path) as run:
        found = run.load_checkpoint()
        assert (found.iteration, found.skipped) == (5, ())  # 4 is no newer one
        assert found.tensors["policy"]["w"].eq(5).all()
    os.truncate(root / "latest-1", 100)
    with RunDirectory.resume(run.path) as run:
        found = run.load_checkpoint()
        assert found.iteration == 3
        assert [line["iteration"] for line in run.metrics()] == [1, 2, 3]
    assert "checkpoint 4 was skipped: policy.safetensors is truncated" in found.skipped[0]
    assert found.skipped[1] == "latest-1 was skipped: it is not whole"
    for name in ("latest-0", "latest-1"):
        (root / name).unlink()
    with RunDirectory.resume(run.path) as run, pytest.raises(RunError, match="none of the 2"):
        run.load_checkpoint()


def test_without_a_checkpoint_it_begins_again(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 1)
    with RunDirectory.resume(run.path) as run:
        assert run.load_checkpoint() is None
        assert run.metrics() == []


def test_leftovers_of_a_crash_are_swept_and_a_torn_line_is_dropped(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 3)
    (run.path / "checkpoints" / ".tmp-4-abc").mkdir()
    (run.path / "checkpoints" / ".tmp-4-abc" / "policy.safetensors").write_text("half")
    (run.path / ".tmp-xyz").write_text("half")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 4, "rew')
    assert len(read_metrics(run.path)) == 3
    with RunDirectory.resume(run.path) as run:
        run.load_checkpoint()
        run.record(3, {"reward": 0.0})
    assert read_metrics(run.path)[-1] == {"iteration": 3, "reward": 0.0}
    assert not [p for p in run.path.rglob("*") if p.name.startswith(".tmp")]


def test_only_some_settings_may_change_on_resuming(tmp_path):
    RunDirectory.create(config(), tmp_path / "run").close()
    longer = config(iterations=20, log={"wandb": True}, checkpoint={"every": 5})
    with RunDirectory.resume(tmp_path / "run", longer) as run:
        assert run.config.iterations == 20
        assert run.config.optim.lr == 1e-6
    assert read_config(tmp_path / "run") == run.config
    with pytest.raises(RunError, match=r"`recipe.beta` was 0.0 and is 0.5; `seed` was 0 and is 3"):
        RunDirectory.resume(tmp_path / "run", config(recipe={"name": "grpo", "beta": 0.5}, seed=3))
    RunDirectory.resume(tmp_path / "run").close()  # a refused one has let go of the lock


def test_a_resumed_run_is_not_made_shorter_than_it_is(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 6)
    with pytest.raises(RunError, match=r"is at iteration 6 already, and `iterations` is 5"):
        RunDirectory.resume(tmp_path / "run", config(iterations=5))
    assert read_config(tmp_path / "run").iterations == 9
    RunDirectory.resume(tmp_path / "run", config(iterations=6)).close()


def test_there_must_be_a_run_to_resume(tmp_path):
    with pytest.raises(RunError, match="there is no run directory"):
        RunDirectory.resume(tmp_path / "none")
    with pytest.raises(RunError, match=r"is not a run directory: it has no config.yaml"):
        RunDirectory.resume(tmp_path)
    (tmp_path / "config.yaml").write_text("recipe: grpo\n")
    with pytest.raises(
        RunError, match=r"`iterations` is missing .* until its config.yaml is repaired"
    ):
        RunDirectory.resume(tmp_path)
    assert summary(tmp_path) == "something that is not a run"


def test_a_row_of_decisions_says_its_iteration(tmp_path):
    with (
        RunDirectory.create(config(), tmp_path / "run") as run,
        pytest.raises(RunError, match="must say its `iteration`"),
    ):
        run.record_decisions([{"row": 1}])


def test_the_model_appears_whole_or_not_at_all(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        with run.exporting() as folder:
            (folder / "config.json").write_text("1")
        with contextlib.suppress(ZeroDivisionError), run.exporting() as folder:
            (folder / "config.json").write_text("2")
            raise ZeroDivisionError
        assert (run.model_dir / "config.json").read_text() == "1"
        with run.exporting() as folder:
            (folder / "other.json").write_text("3")
        assert [p.name for p in run.model_dir.iterdir()] == ["other.json"]
        assert not list(run.path.glob(".tmp*"))


HOLDER = """
    import sys
    from logpi.train.rundir import RunDirectory
    with RunDirectory.resume(sys.argv[1]) as run:
        print("holding", flush=True)
        sys.stdin.read()
"""


@pytest.mark.slow
def test_two_processes_cannot_write_the_same_run_and_a_killed_one_lets_go(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        with pytest.raises(RunError, match=rf"another process \(process {os.getpid()} on"):
            RunDirectory.resume(run.path)
        fill(run, 2)
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(RunError, match=rf"process {other.pid} on .* Wait for it or stop it"):
            RunDirectory.resume(run.path)
        assert len(read_metrics(run.path)) == 2  # reading is always possible
        other.kill()
        other.wait(60)
    RunDirectory.resume(run.path).close()


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small filesystem here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_up(run):
    for k in range(5, 5000):
        run.record(k, {"reward": 1.0, "text": "x" * 100})


def test_a_full_disk_leaves_a_run_that_resumes(small_disk):
    with RunDirectory.create(config(), small_disk / "run") as run:
        fill(run, 4)
        big = {"policy": {"w": torch.zeros(500_000)}, "optimizer": {}}
        with pytest.raises(RunError) as error:
            run.save_checkpoint(5, big, {"done": 5})
        text = str(error.value)
        assert str(run.path / "checkpoints" / "5" / "policy.safetensors") in text
        assert "no space left" in text.lower()
        assert "The checkpoint of iteration 4 survives." in text
        assert "--resume" in text
        survives = r"model.* The checkpoint of iteration 4 survives"
        with pytest.raises(RunError, match=survives), run.exporting() as folder:
            (folder / "model.safetensors").write_bytes(bytes(2_000_000))
        with pytest.raises(RunError, match=r"no space left to write .*decisions.jsonl"):
            run.record_decisions([{"iteration": 5, "text": "x" * 2_000_000}])
        filler = (small_disk / "filler").open("wb", buffering=0)
        with filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        lines = (run.path / "metrics.jsonl").read_bytes()
        with pytest.raises(RunError, match=r"no space left to write .*metrics.jsonl"):
            fill_up(run)
        left = (run.path / "metrics.jsonl").read_bytes()
        assert left.startswith(lines)
        assert left.endswith(b"}\n")
    with pytest.raises(RunError, match="no space left"):
        RunDirectory.resume(run.path)
    (small_disk / "filler").unlink()
    with RunDirectory.resume(run.path) as run:
        found = run.load_checkpoint()
        assert found.iteration == 4
        assert [line["iteration"] for line in run.metrics()] == [1, 2, 3, 4]
        assert len(list(read_decisions(run.path))) == 8
        run.save_checkpoint(5, tensors(5.0), {"done": 5})
    assert not [p for p in run.path.rglob("*") if p.name.startswith(".tmp")]


LIMITED = """
    import resource, signal, sys
    import torch
    from logpi.core.errors import RunError
    from logpi.train.rundir import RunDirectory

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with RunDirectory.resume(sys.argv[1]) as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            run.save_checkpoint(5, {"policy": {"w": torch.zeros(100_000)}}, {})
        except RunError as error:
            from logpi.cli.app import _code
            print(error, "exit", _code(error))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_file_that_may_not_grow_is_a_full_disk_too(tmp_path):
    with RunDirectory.create(config(), tmp_path / "run") as run:
        fill(run, 2)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(run.path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "policy.safetensors (File too large)" in done.stdout
    assert "exit 1" in done.stdout
    assert "The checkpoint of iteration 2 survives." in done.stdout
    with RunDirectory.resume(run.path) as run:
        assert run.load_checkpoint().iteration == 2


rows = st.lists(st.integers(0, 9), max_size=12)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=rows, cut=st.none() | st.integers(0, 9), torn=st.integers(0, 40))
def test_cutting_keeps_exactly_the_whole_lines_up_to_an_iteration(tmp_path, numbers, cut, torn):
    path = tmp_path / "rows.jsonl"
    path.unlink(missing_ok=True)
    lines = [{"iteration": k, "text": "ü\u2028\n" * k} for k in numbers]
    append_lines(path, lines)
    whole = path.read_bytes() if path.exists() else b""
    path.write_bytes(whole[: max(0, len(whole) - torn)])
    survivors = list(read_lines(path))
    assert survivors == lines[: len(survivors)]
    cut_after(path, cut)
    ended = not path.exists() or path.read_bytes()[-1:] in (b"\n", b"")
    kept = [row for row in lines if cut is not None and row["iteration"] <= cut]
    found = list(read_lines(path))
    assert ended
    assert found == kept[: len(found)]
    if not torn:
        assert found == kept
    assert cut_after(path, cut) == 0


def test_lines_that_are_damaged_in_the_middle_are_passed_over(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"iteration": 1}\n\xff\xfe{{\n[1]\n{"iteration": "2"}\n{"iteration": 2}\n')
    assert [row.get("iteration") for row in read_lines(path)] == [1, "2", 2]
    assert cut_after(path, 2) == 3
    assert path.read_bytes() == b'{"iteration": 1}\n{"iteration": 2}\n'


def test_a_text_is_replaced_whole(tmp_path):
    path = tmp_path / "x"
    write_text(path, "one\n")
    write_text(path, "two\n")
    assert path.read_text() == "two\n"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "two\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_moved_aside_for_nothing_comes_back(tmp_path):
    aside = tmp_path / ".tmp-old-1"
    (aside / "4").mkdir(parents=True)
    (tmp_path / ".tmp-5-x").mkdir()
    assert sweep(tmp_path) == [".tmp-5-x", ".tmp-old-1"]
    assert [p.name for p in tmp_path.iterdir()] == ["4"]
    (tmp_path / "4" / "full").touch()
    with pytest.raises(FileExistsError), folder_in_one_go(tmp_path / "4", replace=False) as folder:
        (folder / "x").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["4", "full"]


def test_only_a_full_disk_is_put_into_words(tmp_path):
    sync(tmp_path)
    said = r"no space left to write x \(No space left.*All survives"
    with pytest.raises(RunError, match=said), disk_full("x", "All survives."):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(RunError, match="and begin again"), disk_full("x", "", "begin again"):
        raise SafetensorError("Error while serializing: I/O error: x (os error 28)")
    with pytest.raises(PermissionError), disk_full("x", "All survives."):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")
