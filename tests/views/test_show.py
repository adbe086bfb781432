"""A rollout in the terminal."""

import io
import re

import pytest
from rich.console import Console
from tests.views import fixtures

from logpi.core.errors import RunError
from logpi.views.reading import read
from logpi.views.show import choose, console, show

PLAIN = """\
run  grpo, iteration 0  (recorded: 0)

row 0  group 0  reward 1  2 decisions
2+2=4<eos>
   token   logp  ratio  logp_ref  reward  credit  coefficient  weight  clipped
0  4       -0.5      1        -1       –  +0.707       +0.707    0.25           ++
1  <eos>  -0.25      1     -0.25      +1  +0.707            0    0.25  clipped  0

row 1  group 0  reward 0  4 decisions
2+2=5 ↵
<eos>
   token  logp  ratio  credit  coefficient  weight  clipped
0  5        -2      2  -0.707        -1.41   0.125           -----
1  ␣        -1      1  -0.707       -0.707   0.125           --
2  ↵         –      –       –            –   0.125           –
3  <eos>  -0.1      1  -0.707            0   0.125           0

coefficient  -1.41  -0.707  -0.141  0  +0.141  +0.707  +1.41   – not assigned
"""


def shown(run, **given) -> str:
    file = io.StringIO()
    to = Console(file=file, highlight=False, width=100, **given) if given else console(file)
    record = read(run)
    show(record, choose(record), to)
    return file.getvalue()


def test_outside_a_terminal_it_is_plain(tmp_path, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    text = shown(fixtures.small(tmp_path / "run"))
    assert "\n".join(line.rstrip() for line in text.splitlines()) + "\n" == PLAIN


def test_no_color_is_plain_in_a_terminal_too(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in shown(fixtures.small(tmp_path / "run"))


def test_colours_say_the_sign_and_zero_has_none(tmp_path):
    run = fixtures.small(tmp_path / "run")
    text = shown(run, force_terminal=True, color_system="truecolor", no_color=False)
    assert "48;2;190;60;10m5" in text  # the strongest push down, in full vermilion
    assert re.search(r"48;2;\d+;\d+;1\d\dm4", text)  # up, in blue
    assert not re.search(r"48;2;[\d;]+m<eos>", text)  # 0 has no colour
    assert "\x1b[2;3m↵" in text  # not assigned: dim and italic


@pytest.mark.parametrize("colour", [True, False])
def test_what_a_model_wrote_reaches_the_terminal_as_text(tmp_path, colour):
    run = fixtures.hostile(tmp_path / "run")
    given = {"force_terminal": True, "color_system": "truecolor"} if colour else {}
    text = re.sub(r"\x1b\[[\d;]*m", "", shown(run, **given))  # only rich's own colours
    assert not set(text) & {"\x1b", "\u2028", "\u2029", "\u202e", "\ud800", "\r", "\x07"}
    assert "[bold red]not markup[/]" in text
    assert "␛[31mred␛[0m" in text
    assert "⟨U+202E⟩evil" in text
    assert "👩‍🚀" in text
    assert "⟨U+D800⟩" in text
    text.encode()


def test_what_is_recorded_is_named(tmp_path):
    record = read(fixtures.long(tmp_path / "run", iterations=12))
    assert len(choose(record)) == 24
    assert [r.row for r in choose(record, iteration=5, row=3)] == [3]
    with pytest.raises(RunError, match="nearest is --iteration 5"):
        choose(record, iteration=6)
    with pytest.raises(RunError, match="no recorded row 99"):
        choose(record, row=99)


def test_nothing_recorded_says_why(tmp_path):
    record = read(fixtures.write(tmp_path / "run", metrics=[{"iteration": 0}]))
    with pytest.raises(RunError, match=r"decisions\.jsonl is missing"):
        choose(record)


def test_a_row_without_decisions_is_shown(tmp_path):
    run = fixtures.write(tmp_path / "run", metrics=[], rows=[fixtures.row(0, [])])
    assert "0 decisions" in shown(run)


def wide(tmp_path):
    """A run with every column, and tokens and figures that take all the room they can."""
    told = {n: [-12.3456789] * 2 for n in ("logp", "logp_ref", "value", "rewards", "credit")}
    row = fixtures.row(
        0,
        ["<a rather long token that no column holds>", "x"],
        **told,
        logp_old=[-12.3] * 2,
        coefficient=[-0.00123, 1.234e-5],
        weight=[1.234e-5] * 2,
        clipped=[True, False],
    )
    return fixtures.write(tmp_path / "run", metrics=[], rows=[row])


@pytest.mark.parametrize("width", [72, 80, 100, 200])
def test_a_narrow_terminal_keeps_the_columns_that_matter(tmp_path, width):
    file = io.StringIO()
    record = read(wide(tmp_path))
    show(record, choose(record), Console(file=file, width=width, force_terminal=True))
    text = re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())
    head, first = text.splitlines()[4:6]
    assert head.split()[:3] == ["token", "logp", "ratio"]
    assert "credit  coefficient" in head
    assert "-12.3  0.955" in first
    assert "-12.3     -0.00123" in first
    assert ("Left out at this width: weight, logp_ref" in text) == (width < 150)
    assert max(map(len, text.splitlines())) <= width


def test_into_a_pipe_every_column_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    text = shown(wide(tmp_path))
    assert "logp_ref" in text
    assert "Left out" not in text
