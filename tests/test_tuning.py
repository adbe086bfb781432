"""Searching: trials are runs, a study goes on, what falls behind is pruned."""

from __future__ import annotations

import importlib
import json

import pytest

from logpi.cli import main
from logpi.core.errors import ConfigError
from logpi.run import Run, Stopped
from logpi.train.overrides import write_yaml
from logpi.tuning import Spec, best_of, command, read_spec, search

pytest.importorskip("optuna")

LR = "optim.lr=log:1e-4..1.0"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory with a configuration whose trials take no time."""
    monkeypatch.chdir(tmp_path)
    world = {"kind": "mdp", "model": "bandit", "starts_per_batch": 4}
    told = {"recipe": "reinforce", "world": world, "iterations": 4}
    (tmp_path / "run.yaml").write_text(write_yaml(told), encoding="utf-8")
    return tmp_path


def spec(*words, **told):
    return Spec(source="run.yaml", words=words or (LR,), **told)


def test_every_trial_is_a_run_and_the_best_command_repeats_it(home):
    found = search(spec(), home / "study", trials=4)
    best = best_of(found)[0]
    assert best.score == max(t.score for t in found)
    run = Run(home / "study" / f"trial-{best.number}")
    assert run.config.optim.lr == best.values["optim.lr"]
    assert run.config.evaluate.every == 1
    assert run.metrics[-1]["eval/return"] == best.score
    words = command(spec(), best).split()
    assert words[:3] == ["logpi", "train", "run.yaml"]
    assert main([*words[1:], "--name", "again", "--quiet", "evaluate.every=1"]) == 0
    assert Run(home / "runs" / "again").metrics[-1]["eval/return"] == best.score


def test_a_study_may_be_told_the_length_of_its_trials_in_decisions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ("world.num_envs=2..3", "world.steps=4", "total_steps=24", "world.evaluate_episodes=1")
    asked = Spec(source="a2c/cartpole", words=few)
    (trial,) = search(asked, tmp_path / "study", trials=1)
    run = Run(tmp_path / "study" / "trial-0")
    assert run.done == {2: 3, 3: 2}[trial.values["world.num_envs"]]
    assert "total_steps=24" in command(asked, trial)


def test_a_study_goes_on_as_if_it_had_not_stopped(home):
    whole = search(spec(), home / "whole", trials=5)
    search(spec(), home / "parts", trials=2)
    assert search(spec(), home / "parts", trials=5) == whole
    assert len({t.values["optim.lr"] for t in whole}) == 5


def test_a_trial_that_was_stopped_goes_on(home, monkeypatch):
    import logpi.tuning as tuning

    whole = search(spec(), home / "whole", trials=2)
    real = tuning.train_config

    def stopped(config, *, callbacks, **told):
        def stop(iteration, metrics):
            return callbacks[0](iteration, metrics) or iteration == 2

        run = real(config, callbacks=[stop], **told)
        raise Stopped(run, "SIGINT")

    monkeypatch.setattr(tuning, "train_config", stopped)
    with pytest.raises(Stopped):
        search(spec(), home / "parts", trials=2)
    assert Run(home / "parts" / "trial-0").done == 2
    monkeypatch.setattr(tuning, "train_config", real)
    assert search(spec(), home / "parts", trials=2) == whole


@pytest.mark.slow
def test_what_falls_behind_is_pruned(home):
    told = spec(LR, "iterations=12", metric="learning_rate")  # a score that is known beforehand
    found = search(told, home / "study", trials=10)
    cut = [t for t in found if t.state == "pruned"]
    assert cut
    assert all(Run(home / "study" / f"trial-{t.number}").done < 12 for t in cut)
    assert best_of(found)[0].values["optim.lr"] == max(t.values["optim.lr"] for t in found)


def test_a_trial_of_several_seeds_is_worth_their_mean(home):
    found = search(spec(seeds=3), home / "study", trials=3)
    for t in found:
        runs = [Run(home / "study" / f"trial-{t.number}-seed-{seed}") for seed in range(3)]
        assert [run.config.seed for run in runs] == [0, 1, 2]
        assert t.scores == tuple(run.metrics[-1]["eval/return"] for run in runs)
        assert t.score == pytest.approx(sum(t.scores) / 3)
    assert len({score for t in found for score in t.scores}) > len(found)


def test_a_trial_of_several_seeds_goes_on_at_the_one_that_was_stopped(home, monkeypatch):
    import logpi.tuning as tuning

    whole = search(spec(seeds=2), home / "whole", trials=2)
    real = tuning.train_config

    def stopped(config, *, callbacks, **told):
        if config.seed == 0:
            return real(config, callbacks=callbacks, **told)
        stop = lambda iteration, metrics: callbacks[0](iteration, metrics) or iteration == 2  # noqa: E731 - one line says it
        raise Stopped(real(config, callbacks=[stop], **told), "SIGINT")

    monkeypatch.setattr(tuning, "train_config", stopped)
    with pytest.raises(Stopped):
        search(spec(seeds=2), home / "parts", trials=2)
    monkeypatch.setattr(tuning, "train_config", real)
    assert search(spec(seeds=2), home / "parts", trials=2) == whole


@pytest.mark.slow
def test_a_trial_is_pruned_in_any_of_its_seeds(home):
    told = spec(LR, "iterations=12", metric="learning_rate", seeds=2)
    found = search(told, home / "study", trials=10)
    cut = [t.number for t in found if t.state == "pruned"]
    runs = [p for n in cut for p in (home / "study").glob(f"trial-{n}-seed-*")]
    assert cut
    assert len(runs) == len(cut)  # the second seed was never begun
    assert all(len(t.scores) == 2 for t in found if t.state == "complete")


def test_the_least_may_be_best(home):
    found = search(spec(metric="learning_rate", minimize=True), home / "study", trials=3)
    best = best_of(found, minimize=True)[0]
    assert best.values["optim.lr"] == min(t.values["optim.lr"] for t in found)


def test_every_kind_of_dimension(home):
    words = (
        "world.starts_per_batch=1..3",
        "recipe.name=choice:reinforce,rloo",
        "world.group_size=2",
    )
    (found,) = search(spec(*words), home / "study", trials=1)
    assert found.values["world.starts_per_batch"] in (1, 2, 3)
    assert found.values["recipe.name"] in ("reinforce", "rloo")
    assert type(found.values["world.starts_per_batch"]) is int


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("optim.lr=1e-3",), "nothing to search"),
        (("optim.lrr=0.1..1.0",), "Did you mean"),
        (("recipe.gama=0.1..1.0",), "gama"),
        (("world.episode=1..2",), "Did you mean"),
    ],
)
def test_what_cannot_be_searched_writes_nothing(words, told, home):
    with pytest.raises(ConfigError, match=told):
        search(spec(*words), home / "study", trials=1)
    assert not (home / "study").exists()


def test_a_folder_of_something_else_is_left_alone(home):
    (home / "study").mkdir()
    (home / "study" / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match="something else than a study"):
        search(spec(), home / "study", trials=1)
    search(spec(), home / "other", trials=1)
    with pytest.raises(ConfigError, match="holds another study"):
        search(spec(seed=1), home / "other", trials=1)
    (home / "other" / "study.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_spec(home / "other")


def test_a_metric_that_is_not_there_ends_the_study_at_once(home, capsys):
    assert main(["tune", "run.yaml", LR, "--metric", "retrun", "--trials", "9"]) == 2
    said = capsys.readouterr().err
    assert "has `retrun`. Did you mean `return`? There are " in said
    assert len(list((home / "runs").rglob("config.yaml"))) == 1


def test_a_study_cannot_be_a_file(home):
    (home / "study").write_text("")
    with pytest.raises(ConfigError, match="something else than a study"):
        search(spec(), home / "study", trials=1)


def test_without_optuna_it_says_what_to_install(home, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'logpi\[tune\]'"):
        search(spec(), home / "study", trials=1)


def test_many_keys_are_read_whole_in_a_narrow_terminal(home, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ranges = ["optim.weight_decay=0.01..0.1", "optim.clip=0.1..1", "optim.eps=log:1e-9..1e-8"]
    ranges += [LR, "world.starts_per_batch=1..4", "minibatches=1..2", "optim.warmup=0..2"]
    assert main(["tune", "run.yaml", *ranges, "--trials", "1", "--name", "s"]) == 0
    *table, command = capsys.readouterr().out.strip().splitlines()
    assert not [line for line in table if "…" in line]
    for key in ("weight_decay", "starts_per_batch", "minibatches", "warmup"):
        assert key in "\n".join(table)
    assert command.startswith("logpi train run.yaml")


def test_from_the_command_line(home, capsys):
    assert main(["tune", "run.yaml", LR, "--trials", "2", "--name", "s"]) == 0
    told = capsys.readouterr()
    assert told.out.strip().splitlines()[-1].startswith("logpi train run.yaml optim.lr=")
    assert "trial 0 complete" in told.err
    assert main(["tune", "--resume", "s", "--trials", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [t["number"] for t in found["trials"]] == [0, 1, 2]
    assert main(["compare", "s", "--by", "recipe", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["panels"][0]["groups"][0]["runs"]) == 3
    assert main(["tune", "run.yaml", LR, "--trials", "2", "--seeds", "2", "--name", "t"]) == 0
    assert "of each seed" in capsys.readouterr().out
    assert main(["compare", "t", "--json"]) == 0
    assert [len(g["runs"]) for g in json.loads(capsys.readouterr().out)["panels"][0]["groups"]] == [
        2,
        2,
    ]
    assert main(["tune", LR]) == 2
    assert main(["tune", "--resume", "nowhere"]) == 2
    assert "there is no study" in capsys.readouterr().err
