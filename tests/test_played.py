"""What a trained policy does: films, exports, the best of several, callbacks."""

from __future__ import annotations

import importlib.util
import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.worlds.gym.test_film import Drawn
from torch import nn

import logpi
from logpi.cli import main
from logpi.core.errors import ConfigError, RunError
from logpi.train.best import Best, best_score, score_of
from worlds.gym.scripted import Masked

HAS_ONNX = all(importlib.util.find_spec(m) for m in ("onnx", "onnxscript", "onnxruntime"))


def trained(path, *, env="CartPole-v1", iterations=2, world=None, **told):
    given = {"num_envs": 2, "steps": 16, "evaluate_episodes": 2, **(world or {})}
    return logpi.train(
        recipe="ppo",
        world=logpi.Gym(env, **given),
        iterations=iterations,
        directory=path / "runs" / "run",
        quiet=True,
        **{"optim": {"lr": 3e-3}, **told},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that others only read, whose statistics have moved."""
    return trained(tmp_path_factory.mktemp("a"), world={"normalise_observations": True})


def test_a_run_is_filmed_where_the_report_finds_it(tmp_path):
    run = trained(tmp_path, env=Drawn)
    found = run.play(episodes=2, seed=4)
    assert [e["seed"] for e in found] == [4, 5]
    assert all((e["length"], e["ended"]) == (5, "truncated") for e in found)
    names = {p.name for p in (run.directory / "play").iterdir()}
    assert {"strip.png", "episodes.json"} < names
    assert any(name.startswith("film.") for name in names)
    named = run.play(tmp_path / "a.gif", strip=tmp_path / "a.png")
    assert named[0]["return"] == found[0]["return"]
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 6
    with pytest.raises(RunError, match="already exists"):
        run.play(tmp_path / "a.gif")
    for wrong in ({"episodes": 0}, {"seed": -1}):
        with pytest.raises(ConfigError, match="Play at least one episode"):
            run.play(tmp_path / "b.gif", **wrong)


def test_play_from_the_command_line(run, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(run.directory.parents[1])
    film = str(tmp_path / "film.gif")
    assert main(["play", "run", "--video", film, "--seed", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["video"] == film
    assert told["episodes"][0]["return"] == told["episodes"][0]["length"] > 5
    assert main(["play", "run", "--video", film]) == 2
    assert "already exists" in capsys.readouterr().err


def test_only_environments_are_filmed(tmp_path):
    run = logpi.train(
        recipe="a2c", world=logpi.MDP("cliff"), iterations=1, directory=tmp_path / "r", quiet=True
    )
    with pytest.raises(ConfigError, match="world `mdp`, and only policies of environments"):
        run.play()
    with pytest.raises(ConfigError, match="world `mdp`"):
        run.export(tmp_path / "policy.pt")


def actions(run):
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    return x, np.array([run.policy.act(row) for row in x])


def test_torchscript_of_a_run_acts_as_it_does(run, tmp_path, capsys):
    path = tmp_path / "policy.pt"
    told = ["--format", "torchscript", "--out", str(path)]
    assert main(["export", str(run.directory), *told]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export
        script = torch.jit.load(str(path))
    x, wanted = actions(run)
    assert np.array_equal(script(torch.from_numpy(x)).numpy(), wanted)
    with pytest.raises(RunError, match="already exists"):
        run.export(path)
    with pytest.raises(ConfigError, match="no name for an acting policy"):
        run.export(tmp_path / "policy.bin")
    with pytest.raises(RunError, match="cannot be written"):
        run.export(path / "below-a-file.pt")


def test_a_policy_of_environments_with_masks_is_exported_with_them(tmp_path):
    run = trained(tmp_path, env=Masked)
    path = run.export(tmp_path / "policy.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(str(path))
    x = torch.zeros(3, 4)
    assert script(x, torch.eye(3, dtype=torch.bool)).tolist() == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="needs onnx, onnxscript and onnxruntime")
def test_onnx_of_a_run_acts_as_it_does(run, tmp_path):
    import onnxruntime

    path = run.export(tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x, wanted = actions(run)
    assert np.array_equal(session.run(None, {"observation": x})[0], wanted)


def many(num_envs):
    import gymnasium

    return gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")


def test_environments_that_are_made_at_once_have_a_policy_too(tmp_path):
    run = trained(tmp_path, env=many, world={"mode": "vector_entry_point"})
    assert run.policy.act(np.zeros(4)) in (0, 1)
    with pytest.raises(ConfigError, match="could not be made"):
        run.play()


# -- the best of several ---------------------------------------------------------------------------


def test_the_best_policy_is_kept_with_its_score(tmp_path):
    keep = {"every": 1, "keep_best": True}
    run = trained(tmp_path, iterations=6, evaluate=keep)
    scores = [m["eval/return"] for m in run.metrics]
    told = best_score(run.directory / "best")
    assert told["score"] == max(scores)
    assert told["iteration"] == [m["iteration"] for m in run.metrics][int(np.argmax(scores))]
    assert run.best.evaluate()["return"] == max(scores)
    assert run.evaluate()["return"] == scores[-1]


def test_a_resumed_run_keeps_the_best_of_both_parts(tmp_path):
    keep = {"every": 1, "keep_best": True}
    whole = trained(tmp_path / "whole", iterations=6, evaluate=keep)
    trained(tmp_path / "parts", iterations=3, evaluate=keep)
    parts = trained(tmp_path / "parts", iterations=6, evaluate=keep, resume=True)
    a, b = (best_score(r.directory / "best") for r in (whole, parts))
    assert a == b
    x, y = (load_file(r.best.model_dir / "policy.safetensors") for r in (whole, parts))
    assert all((x[name] == y[name]).all() for name in x)


def test_without_a_best_one_it_says_how(run):
    with pytest.raises(ConfigError, match=r"evaluate\.keep_best=true"):
        _ = run.best.policy
    with pytest.raises(ConfigError, match="keep_best needs evaluations"):
        trained(run.directory / "no", evaluate={"keep_best": True})
    with pytest.raises(ConfigError, match="stop_at needs evaluations"):
        trained(run.directory / "no", evaluate={"stop_at": 475})


def test_a_run_says_how_it_is_opened(run):
    assert repr(run) == f"Run({str(run.directory)!r})"
    assert repr(run.best) == f"Run({str(run.directory)!r}, best=True)"


def test_equals_do_not_replace_what_is_there(tmp_path):
    best = Best(tmp_path / "best")
    assert best.consider(1, {"nll": 2.0}, lambda folder: None)
    assert not best.consider(2, {"nll": 2.0}, lambda folder: None)
    assert not best.consider(3, {}, lambda folder: None)
    again = Best(tmp_path / "best")
    assert again.score == score_of({"nll": 2.0}) == -2.0
    assert score_of({"margin": 3.0, "preferred": 0.75, "nll": 2.0}) == 0.75
    assert again.consider(4, {"nll": 1.0}, lambda folder: None)
    assert best_score(tmp_path / "best")["iteration"] == 4


def test_a_damaged_score_is_none(tmp_path):
    (tmp_path / "score.json").write_text("{")
    assert best_score(tmp_path) is None


# -- callbacks -------------------------------------------------------------------------------------


def test_a_callback_sees_every_iteration_and_may_end_the_run(tmp_path):
    seen = []

    def enough(iteration, metrics):
        seen.append((iteration, metrics["rows"]))
        return iteration == 3

    run = trained(tmp_path, iterations=9, callbacks=[enough])
    assert seen == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert run.done == 3
    assert run.policy.act(np.zeros(4)) in (0, 1)


def test_a_callback_that_fails_loses_nothing(tmp_path):
    def fail(iteration, metrics):
        if iteration == 2:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        trained(tmp_path, iterations=4, callbacks=[fail])
    resumed = trained(tmp_path, iterations=4, resume=True)
    whole = trained(tmp_path / "whole", iterations=4)
    a, b = (load_file(r.model_dir / "policy.safetensors") for r in (resumed, whole))
    assert all((a[name] == b[name]).all() for name in a)


# -- nets of one's own -----------------------------------------------------------------------------


def own():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Linear(8, 2))


def test_a_net_of_ones_own_is_trained_and_given_again(tmp_path):
    net = own()
    before = [p.clone() for p in net.parameters()]
    whole = trained(tmp_path / "whole", iterations=4, world={"policy": net})
    assert all(p.equal(q) for p, q in zip(net.parameters(), before, strict=True))
    trained(tmp_path / "parts", iterations=2, world={"policy": net})
    parts = trained(tmp_path / "parts", iterations=4, world={"policy": own()}, resume=True)
    a, b = (load_file(r.model_dir / "policy.safetensors") for r in (whole, parts))
    assert all((a[name] == b[name]).all() for name in a)
    assert whole.config.world["policy"] == "python:torch.nn.modules.container.Sequential"
    with pytest.raises(ConfigError, match="Give the world again from Python"):
        _ = logpi.Run(whole.directory).policy
    again = logpi.Run(whole.directory, world=logpi.Gym("CartPole-v1", policy=own()))
    x = np.array([0.1, -0.2, 0.3, 0.4], np.float32)
    assert again.policy.act(x) == whole.policy.act(x)


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.BatchNorm1d(8)])
def test_layers_that_change_by_themselves_are_refused(layer, tmp_path):
    net = nn.Sequential(nn.Linear(4, 8), layer, nn.Linear(8, 2))
    with pytest.raises(ConfigError, match="would not begin at 1"):
        trained(tmp_path, world={"policy": net})
    still = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(0.0), nn.Linear(8, 2))
    trained(tmp_path, iterations=1, world={"policy": still})


def test_a_net_by_name_is_no_net(tmp_path):
    with pytest.raises(ConfigError, match=r"`world.policy` .* instance of Module"):
        logpi.train(
            recipe="ppo", world={"kind": "gym", "env": "CartPole-v1", "policy": "a.b"}, iterations=1
        )
