"""The two files that a killed process leaves: one of them is always whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from logpi.train import latest as module
from logpi.train.latest import Latest


def tensors(k=0):
    return {
        "policy": {"a": torch.arange(6.0).reshape(2, 3) + k, "b": torch.tensor(2.5)},
        "critic": {},
        "optimizer": {
            "a.step": torch.tensor(k, dtype=torch.int64),
            "wide": torch.randn(3, dtype=torch.float64),
            "half": torch.ones(2, dtype=torch.bfloat16),
            "none": torch.empty(0, 4),
        },
    }


def equal(a, b):
    assert a.keys() == b.keys()
    for part in a:
        assert a[part].keys() == b[part].keys()
        for name, x in a[part].items():
            y = b[part][name]
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            assert torch.equal(x, y)


def test_the_newest_comes_back_to_the_last_bit(tmp_path):
    latest = Latest(tmp_path / "checkpoints")
    assert latest.read() is None
    for k in range(1, 6):
        latest.write(k, given := tensors(k), {"done": k, "source": {"x": [0.1, None]}})
        found = Latest(tmp_path / "checkpoints").read()
        assert found.iteration == k
        assert found.state == {"done": k, "source": {"x": [0.1, None]}}
        equal(given, found.tensors)
    latest.remove()
    assert latest.read() is None


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    latest = Latest(root)
    for k in (1, 2, 3):
        latest.write(k, tensors(k), {"done": k, "text": "x" * 500 * k})
    return root


@given(st.floats(0, 1), st.binary(max_size=40), st.booleans())
def test_one_that_is_half_written_leaves_the_one_before(written, where, garbage, cut):
    newest = written / "latest-0"  # 1 and 3
    whole = newest.read_bytes()
    at = int(where * (len(whole) - 1))
    broken = whole[:at] + garbage + (b"" if cut else whole[at + len(garbage) :])
    try:
        newest.write_bytes(broken)
        assert Latest(written).read().iteration == (3 if broken == whole else 2)
    finally:
        newest.write_bytes(whole)


def test_a_new_process_overwrites_the_older_one(tmp_path):
    first = Latest(tmp_path)
    for k in (1, 2, 3):
        first.write(k, tensors(k), {})
    Latest(tmp_path).write(4, tensors(4), {})  # over 2, not over 3
    (tmp_path / "latest-1").write_bytes(b"")
    assert Latest(tmp_path).read().iteration == 3


def test_what_is_large_or_takes_long_is_left_to_the_checkpoints(tmp_path, monkeypatch):
    clock = [0.0]
    for name in ("perf_counter", "thread_time"):
        monkeypatch.setattr(module.time, name, lambda: clock[0])
    slow = Latest(tmp_path)
    packed = module._packed

    def took(*given):
        clock[0] += 2.0
        return packed(*given)

    monkeypatch.setattr(module, "_packed", took)
    assert slow.due()  # not known before
    slow.write(1, tensors(), {})
    clock[0] += 19.0
    assert not slow.due()
    clock[0] += 1.0
    assert slow.due()
    monkeypatch.setattr(module, "_LARGEST", 30)
    large = Latest(tmp_path / "other")
    assert large.due()
    large.write(1, tensors(), {})
    assert not large.due()
    assert large.read() is None


def test_a_full_disk_is_left_to_the_checkpoints(tmp_path):
    (tmp_path / "file").write_text("no folder")
    latest = Latest(tmp_path / "file" / "checkpoints")
    latest.write(1, tensors(), {})
    assert latest.read() is None
