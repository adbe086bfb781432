"""The examples run, and the one that needs another trainer says so where it is not there."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_the_losses_of_other_trainers(monkeypatch, capsys):
    lines = run("audit_losses.py", monkeypatch, capsys, "--smoke").splitlines()[1:]
    cosine = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert len(cosine) == 8
    assert cosine["rloo"] == cosine["dr_grpo"] == 1
    assert cosine["gspo"] == cosine["grpo"] < cosine["dapo"] < 1


def test_without_trl_it_says_so(monkeypatch, capsys):
    said = run("audit_trl.py", monkeypatch, capsys, "--trl", "/no/such/python")
    assert "has no TRL" in said
    assert "make bench" in said
