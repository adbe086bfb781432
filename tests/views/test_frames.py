"""Pictures to files: whole films or none, and strips."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from logpi.core.errors import ConfigError, RunError
from logpi.views.frames import Few, Film, best_suffix, write_strip

HAS_FFMPEG = importlib.util.find_spec("imageio_ffmpeg") is not None


def grey(value, size=(33, 47)):
    return np.full((*size, 3), value, dtype=np.uint8)


def two(path, second):
    """A film of a grey frame and another one."""
    with Film(path, fps=10) as film:
        film.write(grey(1))
        film.write(second())


def test_a_gif_keeps_its_speed_by_leaving_frames_out(tmp_path):
    with Film(tmp_path / "a.gif", fps=50) as film:
        for k in range(20):
            film.write(grey(10 * k, (200, 720)))
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 10
        assert picture.size == (360, 100)
        assert picture.info["duration"] == 40
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.filterwarnings("ignore:Exception ignored in")  # its reader leaves pipes to the gc
@pytest.mark.skipif(not HAS_FFMPEG, reason="needs imageio-ffmpeg")
def test_an_mp4_shows_what_was_written(tmp_path):
    import imageio_ffmpeg

    path = tmp_path / "new" / "a.mp4"
    with Film(path, fps=10) as film:
        for k in (20, 120, 220):
            film.write(grey(k))
    told, *frames = imageio_ffmpeg.read_frames(str(path))
    assert told["size"] == (48, 34)  # H.264 needs even sides: the edge is repeated
    means = [np.frombuffer(f, np.uint8).mean() for f in frames]
    assert means == pytest.approx([20, 120, 220], abs=4)
    assert best_suffix() == ".mp4"


@pytest.mark.skipif(not HAS_FFMPEG, reason="needs imageio-ffmpeg")
def test_a_picture_that_changes_its_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must keep the size"):
        two(tmp_path / "a.mp4", lambda: grey(1, (50, 50)))
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_a_film_that_broke(tmp_path):
    with pytest.raises(ZeroDivisionError):
        two(tmp_path / "a.gif", lambda: grey(1 / 0))
    assert not list(tmp_path.iterdir())


def test_without_the_encoder_a_gif_is_offered(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install imageio-ffmpeg`, or name a \.gif: a\.gif"):
        Film(tmp_path / "a.mp4", fps=10)
    assert best_suffix() == ".gif"


@pytest.mark.parametrize("name", ["a.avi", "a"])
def test_other_films_are_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=r"Let it end in \.mp4"):
        Film(tmp_path / name, fps=10)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Film(tmp_path / "file" / "a.gif", fps=10)
    with pytest.raises(RunError, match="cannot be written"):
        write_strip([grey(1)], tmp_path / "file" / "a.png")
    with pytest.raises(ConfigError, match=r"end in \.png"):
        write_strip([grey(1)], tmp_path / "a.jpg")


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 24, 25, 100, 1001])
def test_few_are_evenly_spaced_with_both_ends(count):
    few = Few(6)
    for k in range(count):
        few.see(np.array([[[k] * 3]]))
    found = [int(f[0, 0, 0]) for f in few.chosen()]
    assert found == sorted(set(found))
    assert len(found) == min(count, 6)
    assert (found[0], found[-1]) == (0, count - 1)
    gaps = np.diff(found)
    assert count < 3 or gaps.max() <= 2 * gaps.mean()


def test_nothing_seen_is_nothing_chosen():
    assert Few().chosen() == []


def test_a_strip_has_its_frames_in_order(tmp_path):
    path = write_strip([grey(50, (360, 200)), grey(200, (360, 200))], tmp_path / "s.png")
    with Image.open(path) as opened:
        picture = np.asarray(opened)
    assert picture.shape == (180, 202, 3)
    assert (picture[:, :100] == 50).all()
    assert (picture[:, 102:] == 200).all()
