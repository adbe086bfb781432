"""`save` and `load`: what goes out comes back, and what is damaged is named."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.build import from_dense, from_function
from logpi.worlds.mdp.files.disk import reading, writing
from logpi.worlds.mdp.files.dispatch import load, save
from logpi.worlds.mdp.files.npz import load_npz, save_npz
from logpi.worlds.mdp.model import Layout

ARRAYS = ("reward", "start", "allowed", "outcome_reward", "policy")


def random_model(seed, dtype=np.float64, outcomes=False):
    """A model with disallowed actions and terminal states; at least one action somewhere."""
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(1, 7), rng.integers(1, 4)
    p = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    p[p < 0.05] = 0
    p = (p / p.sum(2, keepdims=True)).astype(dtype)
    r = rng.normal(size=p.shape if outcomes else p.shape[:2]).astype(dtype)
    allowed = rng.random((states, actions)) < 0.8
    allowed[0, 0] = True
    start = int(rng.integers(states)) if rng.random() < 0.5 else None
    layout = Layout(marks={"target": (0,), "two words": (0, int(states) - 1)})
    m = from_dense(p, r, 0.9, order="sas", allowed=allowed, start=start, layout=layout)
    return m.having(policy=(allowed / np.maximum(allowed.sum(1, keepdims=True), 1)).astype(dtype))


def assert_equal(a, b):
    assert a.transitions.shape == b.transitions.shape
    for name in ("data", "indices", "indptr"):
        assert_array_equal(getattr(a.transitions, name), getattr(b.transitions, name))
        assert getattr(a.transitions, name).dtype == getattr(b.transitions, name).dtype
    for name in ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        assert_array_equal(x, y)
        assert x is None or x.dtype == y.dtype
    assert (a.discount, a.name, a.layout) == (b.discount, b.name, b.layout)


@given(st.integers(0, 10_000), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_npz_gives_everything_back(tmp_path_factory, seed, dtype, outcomes):
    m = random_model(seed, dtype, outcomes).having(discount=1 / 3, name="Größe — π")
    path = tmp_path_factory.mktemp("npz") / "m.npz"
    save(m, path)
    assert_equal(load(path), m)


def test_npz_keeps_names_and_places(tmp_path):
    layout = Layout(
        states=("a", "b"),
        actions=("x",),
        rows=1,
        columns=2,
        moves=((0, 1),),
        marks={"target": (1,)},
    )
    m = from_dense([[[0, 1]], [[1, 0]]], [0, 1], 0.9, layout=layout)
    save(m, tmp_path / "m.npz")
    assert load(tmp_path / "m.npz").layout == layout


def test_nothing_is_overwritten_unless_asked(tmp_path):
    m = random_model(0)
    for name in ("m.npz", "m.drn", "m.bin"):
        path = tmp_path / name
        path.write_bytes(b"mine")
        with pytest.raises(ModelError, match=f"{name} exists: choose another name, or pass `over"):
            save(m, path)
        assert path.read_bytes() == b"mine"
        save(m, path, overwrite=True)
        assert path.read_bytes() != b"mine"


def test_a_write_that_fails_leaves_nothing(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"before")

    def fail():
        with writing(path, other, overwrite=True) as (first, second):
            first.write(b"half")
            second.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]
    with pytest.raises(ModelError, match="cannot be written: No such file"):
        save(random_model(0), tmp_path / "nowhere" / "m.npz")
    with pytest.raises(ModelError, match="exists and is a folder"):
        save_npz(random_model(0), tmp_path, overwrite=True)


def test_a_start_that_drn_cannot_hold_leaves_nothing(tmp_path):
    m = from_dense([[[0, 1]], [[1, 0]]], [0, 1], 0.9, start=[0.3, 0.7])
    with pytest.raises(ModelError, match="a start that is uniform over some states"):
        save(m, tmp_path / "m.drn")
    assert os.listdir(tmp_path) == []


def test_the_ending_chooses_the_format(tmp_path):
    m = random_model(1)
    with pytest.raises(ConfigError, match=r"one of .npz, .bin, .petsc, .drn. Did you mean `.npz"):
        save(m, tmp_path / "m.npy")
    with pytest.raises(ConfigError, match="holds no discount: pass it"):
        load(tmp_path / "m.drn")
    with pytest.raises(ConfigError, match="load_npz takes no `discount`"):
        load(tmp_path / "m.npz", discount=0.9)
    with pytest.raises(ConfigError, match=r"load_drn takes no `rewards`. Did you mean `reward`"):
        load(tmp_path / "m.drn", discount=0.9, rewards="r")
    with pytest.raises(ConfigError, match=r"save_petsc takes no `costs`. Did you mean `cost`"):
        save(m, tmp_path / "m.PETSC", costs=True)
    with pytest.raises(ModelError, match=r"m.npz cannot be read: No such file"):
        load(tmp_path / "m.npz")


def test_reading_puts_the_files_name_before_what_is_wrong(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(ModelError, match="x: it is bad"), reading(tmp_path / "x"):
        raise ModelError("it is bad")


# -- damaged files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["npz", "bin", "drn"])
def test_files_of_another_format_are_named(tmp_path, ending):
    options = {} if ending == "npz" else {"discount": 0.9}
    path = tmp_path / f"m.{ending}"
    for content in (
        b"",
        b"\x00",
        b"hello\nworld\n",
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        b"PK\x03\x04",
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"m\.{ending}: "):
            load(path, **options)


def test_a_truncated_npz_is_named_wherever_it_ends(tmp_path):
    m = random_model(2)
    save(m, tmp_path / "m.npz")
    content = (tmp_path / "m.npz").read_bytes()
    path = tmp_path / "cut.npz"
    for end in range(0, len(content), 37):
        path.write_bytes(content[:end])
        with pytest.raises(ModelError, match=r"cut.npz: (the file is truncated|this is no .npz)"):
            load_npz(path)


def test_a_flipped_bit_in_an_npz_is_named_or_changes_nothing(tmp_path):
    m = random_model(3, outcomes=True)
    save(m, tmp_path / "m.npz")
    content = bytearray((tmp_path / "m.npz").read_bytes())
    path = tmp_path / "flipped.npz"
    named = 0
    for place in range(0, len(content), 11):
        content[place] ^= 1 << (place // 11 % 8)
        path.write_bytes(content)
        try:
            again = load_npz(path)
        except ModelError:
            named += 1
        else:
            assert_equal(again, m)
        content[place] ^= 1 << (place // 11 % 8)
    assert named > len(content) / 11 / 2  # the rest are times and padding


def rewrite(path, change):
    """The same .npz with another header."""
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays.pop("header").tobytes())
    change(header, arrays)
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, header=text, **arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: h.update(version=2), "is of version 2, and this logpi reads version 1"),
        (lambda h, a: h.update(format="other"), "of format 'other'"),
        (lambda h, a: h.pop("version"), "the header is damaged"),
        (lambda h, a: h.pop("layout"), "missing or damaged"),
        (lambda h, a: h.update(discount=1.5), "discount is 1.5"),
        (lambda h, a: h.update(discount="x"), "discount is x but must lie"),
        (lambda h, a: h["layout"].update(rows=5, columns=5), "a grid of 5 × 5"),
        (lambda h, a: a.pop("reward"), "the array `reward` is missing, but the header says"),
        (lambda h, a: a.update(reward=a["reward"][:1]), "the array `reward` is float64"),
        (lambda h, a: a.update(data=a["data"] * 0.5), "state 0, action 0: its .* sum to 0.5"),
    ],
)
def test_an_npz_that_says_something_impossible_is_named(tmp_path, change, message):
    path = tmp_path / "m.npz"
    save(from_dense([[[0.5, 0.5]], [[1, 0]]], [0, 1], 0.9), path)
    rewrite(path, change)
    with pytest.raises(ModelError, match=rf"m.npz: .*{message}"):
        load(path)


def test_an_npz_of_anothers_making_is_named_and_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    with pytest.raises(ModelError, match="has no `header`"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", header=np.array([{}], dtype=object))
    with pytest.raises(ModelError, match="allow_pickle=False"):
        load(tmp_path / "objects.npz")
    with zipfile.ZipFile(tmp_path / "empty.npz", "w") as archive:
        archive.writestr("notes.txt", "no arrays")
    with pytest.raises(ModelError, match=r"empty\.npz"):
        load(tmp_path / "empty.npz")


@pytest.mark.slow
def test_a_model_of_a_million_transitions_goes_through_every_format(tmp_path):
    def step(s, a):
        return np.stack([s, (s * 7 + a) % 100_000, (s + 3) % 100_000], 1), [0.5, 0.3, 0.2], s % 5

    m = from_function(step, 100_000, 4, discount=0.9, start=0)
    for ending in ("npz", "bin", "drn"):
        save(m, tmp_path / f"m.{ending}")
        options = {} if ending == "npz" else {"discount": 0.9}
        again = load(tmp_path / f"m.{ending}", **options)
        assert abs(again.transitions - m.transitions).max() == 0
        assert_array_equal(again.reward, m.reward)
