"""The report: one valid, offline HTML file in which a model's text stays text."""

import base64
import hashlib
import html
import html.parser
import json
import re
import stat

import pytest
from tests.views import fixtures

from logpi.core.errors import RunError
from logpi.views.reading import read
from logpi.views.report import data_block, render, write

VOID = {"meta", "input", "br", "line", "circle", "path", "link", "img", "col", "hr"}


class Page(html.parser.HTMLParser):
    """Tags that balance, the attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.scripts, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert tag not in VOID
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(params=[fixtures.small, fixtures.hostile, fixtures.long, fixtures.capital])
def page(request, tmp_path):
    text = render(read(request.param(tmp_path / "run")))
    return text, Page(text)


def test_it_is_well_formed_and_loads_nothing(page):
    text, parsed = page
    assert text.startswith("<!DOCTYPE html>")
    assert not {a for _, a, _ in parsed.attributes} & {"src", "href", "srcset", "action"}
    assert not re.search(r"url\(|@import|https?:|//[a-z]+\.", text)
    assert not [a for _, a, _ in parsed.attributes if a.startswith("on")]
    ids = [v for _, a, v in parsed.attributes if a == "id"]
    assert len(ids) == len(set(ids))


def test_only_its_own_script_may_run(page):
    _, parsed = page
    data, code = parsed.scripts
    assert data[0]["type"] == "application/json"
    digest = base64.b64encode(hashlib.sha256(code[1].encode()).digest()).decode()
    policy = next(v for t, a, v in parsed.attributes if t == "meta" and v and "script-src" in v)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert json.loads(data[1])["iterations"]


def test_what_a_model_wrote_stays_text(tmp_path):
    text = render(read(fixtures.hostile(tmp_path / "run")))
    parsed = Page(text)
    assert len(parsed.scripts) == 2
    assert text.lower().count("<!--") == 0
    assert not set(text) & {"\x1b", "\u2028", "\u2029", "\u202e", "\ud800"}
    rows = json.loads(parsed.scripts[0][1])["iterations"][0]["groups"][0]["rows"]
    tokens = [row["token"][0] for row in rows]
    assert "</script><script>alert(1)</script>" in tokens
    assert "{{ 7 * 7 }} {% raw %}" in tokens
    assert "␛[31mred␛[0m" in tokens
    assert "</script><script>alert(1)</script>" in parsed.text  # the samples, read back as text
    text.encode()


def test_null_zero_and_nan_stay_apart(tmp_path):
    nan = fixtures.row(2, ["x"], coefficient=[float("nan")], weight=[0.5])
    run = fixtures.small(tmp_path / "run")
    with (run / "decisions.jsonl").open("a") as file:
        file.write(json.dumps(nan) + "\n")
    rows = json.loads(Page(render(read(run))).scripts[0][1])["iterations"][0]["groups"][0]["rows"]
    assert rows[1]["coefficient"] == [-1.4142, -0.7071, None, 0.0]
    assert rows[2]["coefficient"] == ["NaN"]
    assert "credit" not in rows[2]  # a column that nobody assigned takes no room


def test_figures_and_settings_are_there(tmp_path):
    text = html.unescape(render(read(fixtures.long(tmp_path / "run"))))
    for expected in ("Held-out correct", "Learning rate", "optim.lr", "2.13.0+cpu", "Figure 2."):
        assert expected in text
    assert "demo:arithmetic/train" in text


def test_a_long_run_is_thinned_and_says_so(tmp_path):
    metrics = [{"iteration": k, "reward": float(k)} for k in range(1000)]
    rows = [fixtures.row(0, ["a"], iteration=k) for k in range(0, 1000, 10)]
    text = render(read(fixtures.write(tmp_path / "run", metrics=metrics, rows=rows)))
    data = json.loads(Page(text).scripts[0][1])
    assert len(data["charts"]["reward"]["x"]) <= 400
    assert data["charts"]["reward"]["mean"] == 3
    kept = [i["iteration"] for i in data["iterations"]]
    assert kept[0] == 0
    assert kept[-1] == 990
    assert "60 further recorded iterations" in text


def test_metrics_alone_or_rollouts_alone_are_enough(tmp_path):
    metrics = [{"iteration": 0, "reward": 0.0}, {"iteration": 1, "reward": None}]
    Page(render(read(fixtures.write(tmp_path / "a", metrics=metrics))))
    Page(render(read(fixtures.write(tmp_path / "b", rows=[fixtures.row(0, ["a"])]))))
    with pytest.raises(RunError, match="no metrics and no rollouts"):
        render(read(fixtures.write(tmp_path / "c")))


def test_it_is_written_whole_or_not_at_all(tmp_path):
    record = read(fixtures.small(tmp_path / "run"))
    path = write(record, tmp_path / "deep" / "report.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--out FILE"):
        write(record, tmp_path / "file" / "report.html")


def test_data_block_survives_a_round_trip():
    value = {text: [None, 0.0] for text in fixtures.HOSTILE}
    block = str(data_block(value))
    assert not re.search(r"[<>&\u2028\u2029]", block)
    assert json.loads(block) == value


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        ([(0, "a"), (0, "a"), (1, "b")], [2, 1]),  # groups, as the source made them
        ([(0, "a"), (1, "b"), (2, "a")], [2, 1]),  # groups of one: the same prompt goes together
        ([(None, "a"), (None, "b")], [2]),  # nothing is shared: all side by side
    ],
)
def test_rows_that_share_something_stand_side_by_side(tmp_path, rows, sizes):
    lines = [fixtures.row(i, ["x"], group=g, prompt=p) for i, (g, p) in enumerate(rows)]
    text = render(read(fixtures.write(tmp_path / "run", rows=lines)))
    groups = json.loads(Page(text).scripts[0][1])["iterations"][0]["groups"]
    assert [len(g["rows"]) for g in groups] == sizes


def test_held_out_reward_is_not_said_twice(tmp_path):
    metrics = [{"iteration": k, "eval/reward": k / 4, "eval/correct": k / 4} for k in range(1, 4)]
    text = render(read(fixtures.write(tmp_path / "run", metrics=metrics)))
    assert "Held-out share correct" in text
    assert "Held-out reward" not in text


def test_missing_rewards_and_held_out_pairs_are_on_top(tmp_path):
    lines = [
        {"iteration": k, "reward": 0.5, "missing": 2.0 * k, "judged": 40.0, "kl_reference": 0.1 * k}
        | {"skipped": 0.1, "completion_tokens": 4.0, "eval/preferred": 0.5 + k / 10}
        | {"preferred": 0.5, "nll": 1.0, "margin": 0.1}
        for k in (1, 2)
    ]
    text = render(read(fixtures.write(tmp_path / "run", metrics=lines, rows=[])))
    plain = re.sub(r"<[^>]+>|\s+", " ", text)
    assert re.search(r"Rewards missing +6 \(7\.5%\)", plain)
    assert "Held-out pairs preferred" in plain
    assert "Held-out share of pairs preferred" in plain
