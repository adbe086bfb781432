"""Checkpoints: whole or absent, verified, without pickle."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logpi.core.errors import RunError
from logpi.train import checkpoint as store
from logpi.train.files import sweep

STATE = {"done": 3, "source": {"position": [1, 2]}, "share": 0.1}


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 4, generator=generator)
    return {
        "policy": {"embed": weight, "head": weight, "bias": torch.randn(2, generator=generator)},
        "optimizer": {"step/embed": torch.tensor(3.0), "count": torch.arange(5)},
    }


def same(one, other):
    assert one.keys() == other.keys()
    for group in one:
        assert one[group].keys() == other[group].keys()
        for name, tensor in one[group].items():
            assert other[group][name].dtype == tensor.dtype
            assert torch.equal(other[group][name], tensor)


def test_what_was_saved_comes_back(tmp_path):
    store.save(tmp_path, 7, tensors(), STATE)
    found = store.newest(tmp_path)
    assert (found.iteration, found.state, found.skipped) == (7, STATE, ())
    same(tensors(), found.tensors)
    assert sorted(p.name for p in (tmp_path / "7").iterdir()) == [
        "MANIFEST.json",
        "optimizer.safetensors",
        "policy.safetensors",
        "state.json",
    ]


def test_tied_weights_are_stored_once_and_come_back_as_one(tmp_path):
    big = torch.randn(100, 100)
    store.save(tmp_path, 1, {"policy": {"embed": big, "head": big}}, {})
    size = (tmp_path / "1" / "policy.safetensors").stat().st_size
    assert 40_000 < size < 41_000
    policy = store.newest(tmp_path).tensors["policy"]
    assert policy["embed"].data_ptr() == policy["head"].data_ptr()


def test_views_slices_and_empty_tensors_are_stored_as_they_are(tmp_path):
    flat = torch.randn(24)
    policy = {
        "left": flat[:12].view(3, 4),
        "overlap": flat[6:18],
        "transposed": flat.view(4, 6).T,
        "strided": flat[::2],
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "empty": torch.empty(0, 3),
        "also empty": torch.empty(0, 3),
        "scalar": torch.tensor(float("nan"), dtype=torch.bfloat16),
        "bits": torch.get_rng_state(),
    }
    store.save(tmp_path, 1, {"policy": policy}, {})
    found = store.newest(tmp_path).tensors["policy"]
    for name, tensor in policy.items():
        assert torch.equal(found[name], tensor) or name == "scalar"
    assert found["scalar"].isnan()
    assert (tmp_path / "1" / "policy.safetensors").stat().st_size < 8000


def test_a_sparse_tensor_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(RunError, match=r"`weight` cannot be stored"):
        store.save(tmp_path, 1, {"policy": {"weight": torch.eye(2).to_sparse()}}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", [{"a": (1, 2)}, {1: "a"}, {"a": {1, 2}}, {"a": float("nan")}])
def test_state_that_would_come_back_changed_is_refused(tmp_path, state):
    with pytest.raises(RunError, match=r"plain JSON|come back changed"):
        store.save(tmp_path, 1, {}, state)
    assert list(tmp_path.iterdir()) == []


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_byte_in_any_file_falls_back(tmp_path, data):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    store.save(root, 1, tensors(1), STATE)
    folder = store.save(root, 2, tensors(2), STATE)
    name = data.draw(st.sampled_from(sorted(p.name for p in folder.iterdir())), label="file")
    raw = bytearray((folder / name).read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1), label="place")
    raw[place] ^= data.draw(st.integers(1, 255), label="flip")
    (folder / name).write_bytes(raw)
    found = store.newest(root)
    assert found.iteration == 1
    same(tensors(1), found.tensors)
    assert len(found.skipped) == 1
    assert "checkpoint 2 was skipped" in found.skipped[0]
    assert name in found.skipped[0]
    with pytest.raises(RunError, match="cannot be used"):
        store.load(folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ["policy.safetensors", "state.json", "MANIFEST.json"])
def test_a_truncated_file_falls_back(tmp_path, name, share):
    store.save(tmp_path, 1, tensors(1), STATE)
    file = store.save(tmp_path, 2, tensors(2), STATE) / name
    os.truncate(file, int(file.stat().st_size * share))
    found = store.newest(tmp_path)
    assert found.iteration == 1
    assert ("truncated" in found.skipped[0]) == (name != "MANIFEST.json")


@pytest.mark.parametrize("name", ["policy.safetensors", "state.json", "MANIFEST.json"])
def test_a_missing_file_falls_back(tmp_path, name):
    store.save(tmp_path, 1, tensors(1), STATE)
    (store.save(tmp_path, 2, tensors(2), STATE) / name).unlink()
    found = store.newest(tmp_path)
    assert found.iteration == 1
    assert name in found.skipped[0]


def test_a_renamed_folder_and_another_format_do_not_verify(tmp_path):
    folder = store.save(tmp_path, 2, tensors(), STATE)
    folder.rename(tmp_path / "9")
    assert "iteration 2" in store.problem(tmp_path / "9")
    manifest = json.loads((tmp_path / "9" / "MANIFEST.json").read_text())
    told = {key: value for key, value in manifest.items() if key != "seal"} | {"format": 2}
    (tmp_path / "9" / "MANIFEST.json").write_text(store._sealed(told))
    assert "format 2" in store.problem(tmp_path / "9")


def test_nothing_to_resume_from_is_not_an_error_but_nothing_usable_is(tmp_path):
    assert store.newest(tmp_path / "nowhere") is None
    for iteration in (1, 2):
        (store.save(tmp_path, iteration, tensors(), STATE) / "state.json").unlink()
    with pytest.raises(RunError, match=r"none of the 2 checkpoints .* state.json is missing"):
        store.newest(tmp_path)


def test_saving_the_same_iteration_again_replaces_it(tmp_path):
    store.save(tmp_path, 2, tensors(1), STATE)
    store.save(tmp_path, 2, tensors(2), STATE)
    same(tensors(2), store.newest(tmp_path).tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["2"]


def test_pruning_counts_only_checkpoints_that_verify(tmp_path):
    for iteration in (1, 2, 3, 10):
        store.save(tmp_path, iteration, tensors(), STATE)
    (tmp_path / "3" / "state.json").write_text("{}")
    (tmp_path / f"{store.TEMPORARY}11-x").mkdir()
    store.prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "2", "3"]


SAVER = """
    import os, signal, sys, warnings
    from pathlib import Path

    import torch
    from logpi.train import checkpoint

    warnings.simplefilter("ignore")
    EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")

    def work(stop, root):
        checkpoint.save(root, 1, {"policy": {"w": torch.ones(1000)}}, {"k": 1})
        calls = 0

        def die(event, arguments):
            nonlocal calls
            if event in EVENTS:  # every such step of saving is a place to be killed at
                calls += 1
                if calls == stop:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        checkpoint.save(root, 2, {"policy": {"w": torch.full((1000,), 2.0)}}, {"k": 2})
        checkpoint.save(root, 2, {"policy": {"w": torch.full((1000,), 3.0)}}, {"k": 3})
        checkpoint.prune(root, 2)
        os._exit(0)

    for stop in range(1, 1000):
        child = os.fork()
        if not child:
            work(stop, Path(sys.argv[1]) / str(stop))
        if os.waitpid(child, 0)[1] == 0:
            break  # it lived to the end: all places have been tried
    print(stop)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_step_of_saving_leaves_a_checkpoint_to_resume_from(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SAVER), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    places = int(done.stdout)
    assert places > 25
    seen = []
    for stop in range(1, places + 1):
        root = tmp_path / str(stop)
        sweep(root)
        assert not list(root.glob(".tmp*"))
        found = store.newest(root)
        k = found.state["k"]
        assert found.iteration == min(k, 2)
        assert found.tensors["policy"]["w"].eq(k).all()
        seen.append(k)
    assert seen == sorted(seen)  # killed later, never less to go on from
    assert set(seen) == {1, 2, 3}
