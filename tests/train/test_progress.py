"""What a run shows, in a terminal and elsewhere, and what it hands to others."""

import errno
import io
import os
import re

import pytest

from logpi.core.errors import ConfigError, RunError
from logpi.train.config import RunConfig
from logpi.train.loggers import Loggers
from logpi.train.progress import Reporter, clock, headline

METRICS = {
    "reward": 0.5,
    "kl_reference": 0.01,
    "decisions": 1000,
    "seconds": 0.5,
    "skipped": 0.75,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Latin(io.StringIO):
    encoding = "ascii"


def test_plain_lines_without_control_characters():
    stream = io.StringIO()
    with Reporter(100, title="grpo", stream=stream) as reporter:
        for iteration in range(1, 101):
            reporter.update(iteration, METRICS)
        reporter.say("saved\x1b[31m a checkpoint")
    text = stream.getvalue()
    assert all(c.isprintable() or c == "\n" for c in text)
    lines = text.splitlines()
    assert len(lines) == 3  # the first, the last, and what was said
    assert lines[0].startswith(
        "grpo iteration 1/100 · reward 0.500 · KL 0.0100 · 2,000 decisions/s ·"
    )
    assert "75% skipped" in lines[0]
    assert lines[0].endswith("left")
    assert lines[1].startswith("grpo iteration 100/100")
    assert "left" not in lines[1]


def test_a_stream_that_cannot_write_everything_gets_what_it_can():
    stream = Latin()
    Reporter(1, stream=stream).update(1, {"reward": 1.0})
    assert stream.getvalue() == "iteration 1/1 ? reward 1.000\n"


def test_a_terminal_gets_one_live_line():
    stream = Terminal()
    with Reporter(10, done=4, title="grpo [bold]", stream=stream) as reporter:
        for iteration in range(5, 11):
            reporter.update(iteration, METRICS)
        reporter.say("a [red]text[/red] of the model")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "10/10" in text
    assert "grpo [bold]" in text
    assert "a [red]text[/red] of the model" in text


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_shows_nothing(stream):
    with Reporter(2, quiet=True, stream=stream) as reporter:
        reporter.update(1, METRICS)
        reporter.say("hello")
        reporter.update(2, METRICS)
    assert stream.getvalue() == ""


def test_only_figures_that_are_there_are_shown():
    assert headline({}) == []
    assert headline({"nll": 1.5, "reward": None, "seconds": 0.0, "decisions": 5}) == ["nll 1.5000"]
    assert headline({"kl_old": 0.5, "preferred": 0.25}) == ["preferred 25%", "KL 0.5000"]


def test_missing_rewards_are_counted_along_the_run():
    stream = io.StringIO()
    before = [{"iteration": 1, "missing": 2.0, "judged": 50.0}, {"iteration": 2, "reward": 1.0}]
    with Reporter(4, done=2, before=before, stream=stream) as reporter:
        reporter.update(3, {"reward": 0.5, "missing": 1.0, "judged": 50.0})
        reporter.update(4, {"reward": 0.5, "missing": 0.0, "judged": 50.0})
    first, last = stream.getvalue().splitlines()
    assert "missing 3 (3%)" in first
    assert last == "iteration 4/4 · reward 0.500 · missing 3 (2%)"
    assert headline({"missing": 0.0, "judged": 50.0}) == []


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_narrow_terminal_shows_what_matters_and_the_time_left(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    held_out = {"eval/reward": 0.75, "missing": 12.0, "judged": 256.0}
    with Reporter(10_000, title="reinforce_pp", stream=stream) as reporter:
        reporter.update(42, {**METRICS, **held_out})
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    line = [line for line in re.split(r"[\r\n]+", text) if "42/10000" in line][-1]
    assert "reward 0.500" in line
    assert re.search(r"· \d+:\d\d left *$", line)
    assert ("missing 12 (4.7%)" in line) == (width >= 80)
    assert ("held-out reward 0.750" in line) == (width >= 120)
    assert ("75% skipped" in line) == (width >= 200)


def test_the_last_evaluation_stays_in_sight():
    stream = io.StringIO()
    with Reporter(3, stream=stream) as reporter:
        reporter.update(1, {"eval/preferred": 0.75, "eval/nll": 2.0, "eval/margin": 1.0})
        reporter.update(3, {"preferred": 0.5})
    first, last = stream.getvalue().splitlines()
    assert first.startswith("iteration 1/3 · held-out preferred 75% · ")
    assert last == "iteration 3/3 · preferred 50% · held-out preferred 75%"


def test_the_kl_is_that_of_the_natural_step_where_there_was_one():
    assert headline({"kl": 0.008, "kl_old": 1e-15}) == ["KL 0.0080"]
    assert headline({"kl_old": 0.004}) == ["KL 0.0040"]


def test_durations():
    assert [clock(s) for s in (0, 59.6, 3599, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]


def config(**log):
    return RunConfig(recipe="grpo", world={}, iterations=5, log=log)


def test_nothing_is_logged_by_default(tmp_path):
    with Loggers(config(), tmp_path) as loggers:
        loggers.record(1, METRICS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written_and_a_resumed_run_draws_one_line(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Loggers(config(tensorboard=True), tmp_path) as loggers:
        for iteration in (1, 2, 3):
            loggers.record(iteration, {"reward": iteration / 4, "nan": float("nan"), "text": "x"})
    with Loggers(config(tensorboard=True), tmp_path, done=2) as loggers:
        loggers.record(3, {"reward": 0.0})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["reward"]
    assert [(e.step, e.value) for e in events.Scalars("reward")] == [(1, 0.25), (2, 0.5), (3, 0.0)]


def test_a_logger_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"`log.wandb=true` needs .*`pip install wandb`"):
        Loggers(config(wandb=True), tmp_path)


def test_decisions_are_called_what_the_world_calls_them():
    told = {"return": 137.5, "decisions": 500, "seconds": 0.5, "skipped": 0.0}
    assert headline(told) == ["return 137.5", "1,000 decisions/s", "0% skipped"]
    assert "1,000 tokens/s" in headline(told, decisions="tokens")
    stream = io.StringIO()
    Reporter(1, decisions="tokens", stream=stream).update(1, told)
    assert "1,000 tokens/s" in stream.getvalue()


def test_a_full_disk_is_said_of_event_files_too(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    with Loggers(config(tensorboard=True), tmp_path) as loggers:

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(loggers._all[0]._writer, "flush", full)
        with pytest.raises(RunError, match=r"no space left to write .*tensorboard \(No space"):
            loggers.record(1, {"reward": 0.5})
        monkeypatch.undo()
