"""What a run directory says, and what is said when it does not."""

import json

import pytest
from tests.views import fixtures

from logpi.core.errors import RunError
from logpi.views.reading import find, read


def test_null_and_zero_are_different(tmp_path):
    record = read(fixtures.small(tmp_path / "run"))
    first, second = record.rows
    assert [d.coefficient for d in first.decisions] == [0.7071, 0.0]
    assert [d.coefficient for d in second.decisions] == [-1.4142, -0.7071, None, 0.0]
    assert first.decisions[0].reward is None
    assert second.decisions[2].ratio is None
    assert second.decisions[0].ratio == pytest.approx(2.0)
    assert first.decisions[0].push == pytest.approx(0.7071 / 4)


def test_a_torn_last_line_is_noted_and_skipped(tmp_path):
    run = fixtures.small(tmp_path / "run")
    for name in ("metrics", "decisions"):
        path = run / f"{name}.jsonl"
        path.write_text(path.read_text() + '{"iteration": 2, "rew')
    record = read(run)
    assert len(record.metrics) == 2
    assert len(record.rows) == 2
    assert [n.split(":")[0] for n in record.notes] == ["metrics.jsonl", "decisions.jsonl"]
    assert "torn" in record.notes[0]


def test_broken_lines_are_counted_and_named(tmp_path):
    run = fixtures.small(tmp_path / "run")
    path = run / "metrics.jsonl"
    path.write_text("nonsense\n[1]\n" + path.read_text())
    (note,) = read(run).notes
    assert "2 line(s)" in note
    assert "line 1, 2" in note


@pytest.mark.parametrize("name", ["config.yaml", "env.json", "metrics.jsonl", "decisions.jsonl"])
def test_any_file_may_be_missing(tmp_path, name):
    run = fixtures.small(tmp_path / "run")
    (run / name).unlink()
    assert read(run).notes == (f"{name} is missing.",)


@pytest.mark.parametrize(("name", "text"), [("config.yaml", "a: [1"), ("env.json", "{")])
def test_a_damaged_mapping_is_noted(tmp_path, name, text):
    run = fixtures.small(tmp_path / "run")
    (run / name).write_text(text)
    (note,) = read(run).notes
    assert note.startswith(f"{name} cannot be read")


def test_an_iteration_said_twice_counts_once(tmp_path):
    metrics = [{"iteration": 1, "reward": 0.0}, {"iteration": 1, "reward": 1.0}]
    record = read(fixtures.write(tmp_path / "run", metrics=metrics, rows=[]))
    assert record.metrics == ({"iteration": 1, "reward": 1.0},)


def test_lists_of_another_length_are_noted(tmp_path):
    rows = [fixtures.row(0, ["a", "b"], logp=[-1.0]), {"iteration": 0}]
    record = read(fixtures.write(tmp_path / "run", metrics=[{"iteration": 0}], rows=rows))
    assert [d.logp for d in record.rows[0].decisions] == [-1.0, None]
    assert any("not as long" in n for n in record.notes)
    assert any("without `iteration` or `actions`" in n for n in record.notes)


def test_values_that_are_no_numbers_do_not_break_reading(tmp_path):
    rows = [fixtures.row(0, ["a"], logp=["x"], coefficient=[float("nan")], reward="?")]
    run = fixtures.write(tmp_path / "run", metrics=[{"iteration": 0}], rows=rows)
    assert "NaN" in (run / "decisions.jsonl").read_text()
    (row,) = read(run).rows
    assert row.decisions[0].logp is None
    assert row.effort == 0.0


def test_a_run_is_found_by_name_and_by_path(tmp_path):
    run = fixtures.small(tmp_path / "runs" / "first")
    assert find(run) == run
    assert find("first", tmp_path / "runs") == run


def test_a_near_miss_is_named(tmp_path):
    fixtures.small(tmp_path / "runs" / "arithmetic")
    with pytest.raises(RunError, match="Did you mean `arithmetic`"):
        find("arithmtic", tmp_path / "runs")
    with pytest.raises(RunError, match="`logpi train` makes one"):
        find("x", tmp_path / "nowhere")
    with pytest.raises(RunError, match="is a folder but no run"):
        find(tmp_path)


def test_tokens_per_second_follow_from_what_is_recorded(tmp_path):
    metrics = [{"iteration": 1, "decisions": 300.0, "seconds": 0.5}]
    record = read(fixtures.write(tmp_path / "run", metrics=metrics, rows=[]))
    assert record.metrics[0]["tokens_per_second"] == 600.0
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text()) == metrics[0]
