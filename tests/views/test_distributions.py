"""Histograms and fans: areas are shares, outlines are the first iteration, outliers leave room."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.views import fixtures

from logpi.views.curves import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, charts
from logpi.views.distributions import fans, histograms
from logpi.views.filmed import filmed
from logpi.views.reading import read
from logpi.views.report import render

FLOOR = HEIGHT - BOTTOM


def recorded(folder, values, **more):
    """A run that recorded these credits, iteration by iteration."""
    rows = [
        fixtures.row(0, ["0 "] * len(v), credit=list(v), iteration=i, **more)
        for i, v in values.items()
    ]
    return read(fixtures.write(folder, rows=rows))


def bars(path):
    """Left edge, width and height of every bar of a path of steps."""
    start = float(re.match(r"M([\d.]+) ", path)[1])
    steps = [(float(y), float(x)) for y, x in re.findall(r"V([\d.]+)H([\d.]+)", path)]
    edges = [start, *[x for _, x in steps]]
    return edges, [FLOOR - y for y, _ in steps]


def test_a_histogram_counts(tmp_path):
    last = [0.0] * 30 + [1.0] * 10
    (found,) = histograms(recorded(tmp_path / "r", {1: [0.5] * 40, 9: last}))
    assert (found.title, found.first, found.last, found.count) == ("Credit", 1, 9, 40)
    assert found.mean == pytest.approx(0.25)
    edges, heights = bars(found.filled)
    assert (edges[0], edges[-1]) == (LEFT, WIDTH - RIGHT)
    full = np.array([h for h in heights if h > 0])
    assert full[0] / full[-1] == pytest.approx(3, rel=0.01)
    assert len(full) == 2
    _, outline = bars(found.outline)
    assert sum(h > 0 for h in outline) == 1
    assert max(outline) == pytest.approx(full[0] / 0.75, rel=0.01)


def test_an_outlier_leaves_room_for_the_rest(tmp_path):
    values = [*np.linspace(0, 1, 999), 1e6]
    (found,) = histograms(recorded(tmp_path / "r", {1: values}))
    assert found.outline == ""
    assert max(float(t.label) for t in found.x) <= 1
    _, heights = bars(found.filled)
    assert min(heights) > 0.5 * max(heights)


def test_ratios_come_from_log_probabilities(tmp_path):
    rows = [fixtures.row(0, ["a", "b"], logp=[0.0, -1.0], logp_old=[0.0, 0.0], iteration=4)]
    (found,) = histograms(read(fixtures.write(tmp_path / "r", rows=rows)))
    assert found.title.startswith("Ratio")
    assert found.mean == pytest.approx((1 + np.exp(-1)) / 2)


def test_what_is_everywhere_the_same_is_not_drawn(tmp_path):
    record = recorded(tmp_path / "r", {1: [1.0] * 4, 2: [1.0] * 4})
    assert histograms(record) == fans(record) == ()
    assert histograms(read(fixtures.write(tmp_path / "s", metrics=[{"iteration": 1}]))) == ()


def test_a_fan_has_the_quantiles(tmp_path):
    values = {1: np.linspace(0, 1, 101), 5: np.linspace(0, 2, 101)}
    (found,) = fans(recorded(tmp_path / "r", values))
    assert found.last == pytest.approx(1)
    assert [t.label for t in found.x] == ["1", "5"]

    def heights(path):
        return [FLOOR - float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]

    first, last = heights(found.median)
    assert last / first == pytest.approx(2, rel=0.02)
    low, _, _, high = heights(found.half)
    assert high / low == pytest.approx(3, rel=0.05)  # at the first iteration: 0.25 and 0.75
    low, _, _, high = heights(found.most)
    assert high / low == pytest.approx(19, rel=0.1)


# -- bands and films -------------------------------------------------------------------------------


def test_a_return_has_its_spread_as_a_band():
    lines = [{"iteration": i, "return": 10.0 * i, "return_std": 2.0} for i in range(5)]
    (found,) = charts(lines)
    assert found.title == "Return of an episode"
    places = re.findall(r"([\d.]+) ([\d.]+)", found.band)
    above, below = places[:5], places[5:][::-1]
    middle = np.array(found.places)[:, 1]
    up = middle - np.array([float(y) for _, y in above])
    down = np.array([float(y) for _, y in below]) - middle
    assert up == pytest.approx(down, abs=0.2)
    assert up.min() > 1
    del lines[2]["return_std"]
    assert charts(lines)[0].band == ""


def test_the_page_shows_what_was_played(tmp_path):
    folder = tmp_path / "run"
    rows = [fixtures.row(0, ["0 ", "1 "], credit=[0.5, -1.0], coefficient=[0.5, 0.0])]
    lines = [{"iteration": i, "return": float(i), "return_std": 1.0} for i in range(3)]
    config = {"recipe": {"name": "ppo"}, "world": {"kind": "gym", "env": "<Cart>"}}
    fixtures.write(folder, config=config, metrics=lines, rows=rows)
    assert filmed(folder) is None
    assert "Played" not in render(read(folder))
    (folder / "play").mkdir()
    (folder / "play" / "film.gif").write_bytes(b"GIF89a...")
    (folder / "play" / "strip.png").write_bytes(b"\x89PNG...")
    told = {"seed": 3, "return": 7.5, "length": 9, "ended": "truncated"}
    wrong = {**told, "ended": "<script>"}
    (folder / "play" / "episodes.json").write_text(
        str({"episodes": [told, wrong, 4]}).replace("'", '"')
    )
    assert filmed(folder).episodes == (told,)
    text = render(read(folder))
    assert "Seed 3: return 7.5 in 9 decisions, truncated." in text
    assert 'src="data:image/gif;base64,R0lGODlhLi4u"' in text
    assert "in <code>&lt;Cart&gt;</code>" in text
    assert "π(action | state)" in text
    assert "How credit and coefficient are spread" in text
    (folder / "play" / "film.mp4").write_bytes(b"film")
    assert "<video" in render(read(folder))
    (folder / "play" / "episodes.json").write_text("{")
    assert filmed(folder).episodes == ()
