"""Values and policies of a grid, as text, picture and film."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from logpi.core.errors import ConfigError
from logpi.views.frames import check_film
from logpi.views.grid import animate, arrows, cells, picture
from logpi.views.values import curve_of_values, grid_that_fits, table_of_values

GRID = SimpleNamespace(
    rows=2,
    columns=2,
    actions=("up", "right", "down", "left", "stay"),
    moves=((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0)),
    marks={"forbidden": (1,), "target": (3,)},
)
VALUE = np.array([9.0, 10.0, 10.0, 10.0])
POLICY = np.array([2, 2, 1, 4])


def text(renderable):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    console.file.close()
    return console.export_text()


def test_arrows_point_where_the_policy_goes():
    assert arrows(POLICY, GRID) == ["↓", "↓", "→", "○"]
    table = np.array([[0.5, 0.5, 0, 0, 0], [0, 0, 0, 0, 1.0], [0, 0, 0, 0, 0]])
    assert arrows(table, GRID) == ["↑→", "○", ""]


def test_the_terminal_shows_value_and_arrow_of_every_cell():
    shown = text(cells(VALUE, POLICY, GRID))
    assert shown.count("10") == 3
    assert [sign for sign in shown if sign in "↓→○"] == ["↓", "↓", "→", "○"]


def test_a_grid_too_large_for_the_terminal_is_refused():
    large = SimpleNamespace(**{**vars(GRID), "rows": 100, "columns": 100})
    with pytest.raises(ConfigError, match="too large for the terminal"):
        cells(np.zeros(10_000), np.zeros(10_000, dtype=int), large)


@pytest.mark.parametrize("policy", [POLICY, np.eye(5)[POLICY]])
def test_a_picture_is_written(tmp_path, policy):
    path = picture(VALUE, policy, GRID, tmp_path / "grid.png", title="2 × 2")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_film_has_a_frame_for_each_iteration(tmp_path):
    frames = [(VALUE * k, POLICY) for k in range(3)]
    path = animate(frames, GRID, tmp_path / "film.gif", title="values")
    with Image.open(path) as film:
        assert film.n_frames == 3
        assert film.info["duration"] == 500
        first = np.asarray(film.convert("RGB"), np.int64)
        film.seek(2)
        last = np.asarray(film.convert("RGB"), np.int64)
    assert len(np.unique(last.reshape(-1, 3), axis=0)) > 50  # of colours that the first one lacks
    assert first.shape == last.shape
    assert (first != last).any()


def test_a_large_film_keeps_its_size(tmp_path):
    wide = SimpleNamespace(**{**vars(GRID), "rows": 1, "columns": 10})
    frames = [(np.arange(10.0), np.zeros(10, dtype=int))] * 2
    with Image.open(animate(frames, wide, tmp_path / "film.gif", title="values")) as film:
        assert film.width > 900


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("film.avi", [(VALUE, POLICY)], "is no name of a film"),
        ("film.gif", [], "no iterations"),
    ],
)
def test_a_film_that_cannot_be_is_refused(tmp_path, name, frames, message):
    with pytest.raises(ConfigError, match=message):
        animate(frames, GRID, tmp_path / name, title="values")
    assert not (tmp_path / name).exists()


def test_states_that_lie_on_no_grid_are_listed():
    q = np.array([[1.0, -np.inf], [0.5, 0.25], [-np.inf, -np.inf]])
    shown = text(
        table_of_values(
            np.array([1.0, 0.5, 0.0]),
            q,
            np.array([0, 1, -1]),
            states=["first", "\x1b[31mred", "end"],
            actions=["go", "wait"],
        )
    )
    assert "first" in shown
    assert "␛[31mred" in shown
    assert "terminal" in shown
    soft = table_of_values(
        np.zeros(1), q[:1], np.array([[0.75, 0.25]]), states=["s"], actions=["go", "wait"], most=1
    )
    assert "go 0.75, wait 0.25" in text(soft)
    many = table_of_values(np.zeros(50), np.zeros((50, 1)), np.zeros(50, dtype=int),
                           states=[str(s) for s in range(50)], actions=["a"])  # fmt: skip
    assert "40 of 50 states" in text(many)


def test_a_grid_is_drawn_with_as_many_blanks_as_fit():
    with open("/dev/null", "w") as file:
        wide, narrow, tight = (Console(width=w, file=file) for w in (40, 12, 8))
        assert grid_that_fits(wide, VALUE, POLICY, GRID, is_grid=False) is None
        widths = [
            wide.measure(table).maximum if table else None
            for table in (
                grid_that_fits(to, VALUE, POLICY, GRID, is_grid=True)
                for to in (wide, narrow, tight)
            )
        ]
    assert widths == [11, 11, 7]


def test_actions_that_are_no_moves_are_named_where_they_fit():
    cars = SimpleNamespace(**{**vars(GRID), "actions": ("-1", "0", "+1"), "moves": ()})
    assert arrows(np.array([0, 2, 1, -1]), cars) == ["-1", "+1", "0", ""]
    words = SimpleNamespace(**{**vars(GRID), "actions": ("reject", "accept"), "moves": ()})
    assert arrows(np.array([0, 1]), words) == ["r", "a"]


@pytest.mark.parametrize("policy", [np.array([1, 0, -1]), np.full((3, 2), 0.5)])
def test_values_of_no_grid_are_a_curve(tmp_path, policy):
    told = {"actions": ["wait", "cut"], "title": "forest"}
    path = curve_of_values(np.arange(3.0), policy, tmp_path / "a.png", **told)
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="no picture can be written"):
        curve_of_values(np.arange(3.0), policy, tmp_path / "none" / "a.png", **told)


def test_a_film_needs_its_encoder_alone(monkeypatch, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setenv("PATH", "")
    path = animate([(VALUE, POLICY)] * 2, GRID, tmp_path / "film.mp4", title="values")
    assert path.read_bytes()[4:8] == b"ftyp"
    monkeypatch.setattr("logpi.views.frames.best_suffix", lambda: ".gif")
    check_film("a.gif")
    with pytest.raises(ConfigError, match="needs the package imageio-ffmpeg"):
        check_film("a.mp4")
