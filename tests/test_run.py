"""Whole runs in the language world: recipes, resuming, stopping, exporting, refusing."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import judges
import logpi
import tasks
from logpi.core.errors import (
    ConfigError,
    LogpiError,
    ModelError,
    NonFiniteError,
    RewardError,
    RunError,
)
from logpi.run import train_config
from logpi.worlds.lm.world import OpenLM


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tasks.model(tmp_path_factory.mktemp("model"))


def run(recipe, folder, directory, *, iterations=2, **settings):
    settings.setdefault("optim", {"lr": 1e-3})
    name = recipe if isinstance(recipe, str) else recipe["name"]
    world = settings.pop("world", None) or tasks.world(name, folder)
    return logpi.train(
        recipe=recipe,
        world=world,
        iterations=iterations,
        directory=directory,
        quiet=True,
        **settings,
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(run):
    return load_file(run.model_dir / "model.safetensors")


@pytest.mark.parametrize("recipe", tasks.LANGUAGE_RECIPES)
def test_every_language_recipe_takes_two_steps(recipe, folder, tmp_path):
    done = run(tasks.recipe(recipe), folder, tmp_path / "run", log={"decisions_every": 1})
    assert [m["iteration"] for m in done.metrics] == [1, 2]
    before, after = load_file(folder / "model.safetensors"), weights(done)
    moved = max(float((before[k] - after[k]).abs().max()) for k in before)
    assert 0 < moved < 0.1
    records = lines(done.directory / "decisions.jsonl")
    assert {r["iteration"] for r in records} == {1, 2}
    assert all(len(r["actions"]) == len(r["coefficient"]) == len(r["mask"]) for r in records)


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("grpo", {"autocast": True}), ("sft", {"autocast": True}), ("ppo", {"critic": "model"})],
)
def test_two_steps_of_another_kind(recipe, settings, folder, tmp_path):
    world = tasks.world(recipe, folder, **settings)
    told = {"optim": {"lr": 1e-3, "critic_lr": 1e-2}, "checkpoint": {"every": 1, "keep": 2}}
    done = run(recipe, folder, tmp_path / "run", world=world, **told)
    figures = [v for m in done.metrics for v in m.values() if isinstance(v, float)]
    assert all(math.isfinite(v) for v in figures)
    before, after = load_file(folder / "model.safetensors"), weights(done)
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in after.values())
    assert any(not torch.equal(before[k], after[k]) for k in before)
    if recipe == "ppo":
        first, second = (
            load_file(done.directory / "checkpoints" / k / "critic.safetensors") for k in "12"
        )
        assert any(name.startswith("trunk.") for name in first)
        assert any(not torch.equal(t, second[name]) for name, t in first.items())


def test_iterations_that_teach_nothing_are_said_once(folder, tmp_path, capsys):
    settings = {"recipe": "online_rft", "optim": {"lr": 1e-3}, "iterations": 3}
    unrewarded = tasks.world("online_rft", folder, reward=judges.nothing)
    logpi.train(world=unrewarded, directory=tmp_path / "none", **settings)
    said = capsys.readouterr().out
    assert said.count("iteration 1: every credit was 0, so there was nothing to learn.") == 1
    assert said.count("nothing to learn") == 1
    logpi.train(
        world=tasks.world("sft", folder),
        directory=tmp_path / "some",
        **settings | {"recipe": "sft"},
    )
    assert "nothing to learn" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "world",
    [
        logpi.Gym("CartPole-v1", num_envs=2, episodes=2),
        logpi.MDP("book_grid", time_limit=9),
        logpi.MDP("bandit", source="enumerated"),
    ],
    ids=["gym", "mdp", "enumerated"],
)
def test_a_run_that_is_filtered_away_is_an_error(world, tmp_path, capsys):
    told = {"recipe": {"name": "rft", "threshold": 1e6}, "world": world}
    with pytest.raises(RewardError, match=r"none of \d+ rows passed .* Lower recipe\.threshold"):
        logpi.train(**told, iterations=2, directory=tmp_path / "a")
    said = capsys.readouterr().out
    assert said.count("iteration 1: nothing passed recipe.threshold") == 1
    assert not (tmp_path / "a" / "model").exists()
    passing = {**told, "recipe": {"name": "rft", "threshold": -1e6}}
    logpi.train(**passing, iterations=2, directory=tmp_path / "b", quiet=True)


def test_tensorboard_is_written_where_it_is_asked_for(folder, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    world = logpi.MDP("book_grid")
    told = {"log": {"tensorboard": True}, "evaluate": {"every": 1}, "world": world}
    done = run("a2c", folder, tmp_path / "run", **told)
    events = EventAccumulator(str(done.directory / "tensorboard"))
    events.Reload()
    for name, first in (("eval/return", 0), ("gradient_norm", 1)):
        drawn = {e.step: e.value for e in events.Scalars(name)}
        kept = {line["iteration"]: line[name] for line in done.metrics if name in line}
        assert drawn == pytest.approx(kept, rel=1e-6)
        assert min(drawn) == first


LORA = {"r": 2, "targets": ["q_proj", "v_proj"]}
RESUMED = [
    *((recipe, stop, {}) for recipe in ("sft", "dpo", "grpo", "ppo") for stop in (1, 2)),
    ("ppo", 2, {"critic": "model"}),
    ("grpo", 2, {"lora": LORA}),
    ("dapo", 2, {}),
    ("rft", 2, {}),
    ("remax", 2, {}),
]


@pytest.mark.parametrize(("recipe", "stop", "settings"), RESUMED)
@pytest.mark.slow
def test_resuming_is_bit_exact(recipe, stop, settings, folder, tmp_path):
    told = {"world": tasks.world(recipe, folder, **settings), "iterations": 3, "minibatches": 2}
    told["checkpoint"] = {"every": 1, "keep": 9}
    recipe = tasks.recipe(recipe)
    whole = run(recipe, folder, tmp_path / "whole", **told)
    cut = tmp_path / "cut"
    shutil.copytree(whole.directory, cut)
    shutil.rmtree(cut / "model")
    for checkpoint in (cut / "checkpoints").iterdir():
        if int(checkpoint.name) > stop:
            shutil.rmtree(checkpoint)
    resumed = run(recipe, folder, cut, resume=True, **told)
    begun = load_file(folder / "model.safetensors")
    assert any(not torch.equal(tensor, begun[name]) for name, tensor in weights(whole).items())
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    newest = max((whole.directory / "checkpoints").iterdir(), key=lambda p: int(p.name)).name
    for file in (whole.directory / "checkpoints" / newest).glob("*.safetensors"):
        other = load_file(cut / "checkpoints" / newest / file.name)
        assert all(torch.equal(t, other[n]) for n, t in load_file(file).items()), file.name
    same = [{k: v for k, v in m.items() if "second" not in k} for m in whole.metrics]
    assert same == [{k: v for k, v in m.items() if "second" not in k} for m in resumed.metrics]


@pytest.mark.slow
def test_resuming_is_bit_exact_where_onednn_multiplies(tmp_path):
    wide = tasks.model(tmp_path / "model", hidden=512)
    told = {"world": tasks.world("grpo", wide), "checkpoint": {"every": 1, "keep": 9}}
    whole = run("grpo", wide, tmp_path / "whole", **told)
    cut = tmp_path / "cut"
    shutil.copytree(whole.directory, cut)
    shutil.rmtree(cut / "model")
    shutil.rmtree(cut / "checkpoints" / "2")
    resumed = run("grpo", wide, cut, resume=True, **told)
    assert all(torch.equal(t, weights(resumed)[n]) for n, t in weights(whole).items())


def test_the_same_seed_gives_the_same_run_and_another_another(folder, tmp_path):
    one, two, other = (
        run("grpo", folder, tmp_path / str(k), seed=seed) for k, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(t, weights(two)[n]) for n, t in weights(one).items())
    assert any(not torch.equal(t, weights(other)[n]) for n, t in weights(one).items())


@pytest.mark.slow
def test_a_signal_leaves_a_run_to_resume(folder, tmp_path):
    import signal
    import threading
    import time

    def stop_once_it_runs():
        while not (tmp_path / "cut" / "metrics.jsonl").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_once_it_runs, daemon=True).start()
    with pytest.raises(logpi.Stopped) as stopped:
        run("grpo", folder, tmp_path / "cut", iterations=100_000)
    done = stopped.value.run.done
    assert (tmp_path / "cut" / "checkpoints" / str(done)).is_dir()
    resumed = run("grpo", folder, tmp_path / "cut", iterations=done + 3, resume=True)
    whole = run("grpo", folder, tmp_path / "whole", iterations=done + 3)
    assert all(torch.equal(t, weights(resumed)[n]) for n, t in weights(whole).items())


def test_a_stored_configuration_trains_the_same_model(folder, tmp_path):
    first = run("grpo", folder, tmp_path / "first")
    second = train_config(
        first.config, world=tasks.world("grpo", folder), directory=tmp_path / "second", quiet=True
    )
    assert all(torch.equal(t, weights(second)[name]) for name, t in weights(first).items())


def test_the_model_loads_elsewhere(folder, tmp_path):
    done = run("sft", folder, tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(done.model_dir)
    tokenizer = AutoTokenizer.from_pretrained(done.model_dir)
    ids = tokenizer("1+1=", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, 4, len(tokenizer))
    assert torch.equal(model.state_dict()["lm_head.weight"], weights(done)["lm_head.weight"])


def test_sft_step_is_a_step_of_cross_entropy(folder, tmp_path):
    """One iteration of AdamW on the surrogate equals one on the usual loss."""
    data = tasks.DEMONSTRATIONS[:4]
    world = tasks.world("sft", folder, data=data, eval_data=None, reward=None)
    done = run(
        "sft", folder, tmp_path / "run", iterations=1, world=world, optim={"lr": 1e-2, "clip": None}
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    losses = []
    for row in data:
        prompt = tokenizer(row["prompt"]).input_ids
        ids = prompt + tokenizer(row["completion"]).input_ids + [tokenizer.eos_token_id]
        logits = model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1]
        target = torch.tensor(ids[len(prompt) :])
        losses.append(torch.nn.functional.cross_entropy(logits, target))
    torch.stack(losses).mean().backward()
    torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0).step()
    for name, tensor in weights(done).items():
        assert torch.allclose(tensor, model.state_dict()[name], atol=2e-5), name


def test_a_step_that_explodes_stops_the_run_before_the_next(folder, tmp_path):
    with pytest.raises(NonFiniteError, match="did not move") as stopped:
        run("sft", folder, tmp_path / "run", iterations=3, optim={"lr": 1e38, "clip": None})
    file = tmp_path / "run" / "nonfinite.jsonl"
    assert str(stopped.value).startswith("iteration 2: ")
    assert str(stopped.value).endswith(f"4 rows are in {file}.")
    dumped = lines(file)
    assert {row["iteration"] for row in dumped} == {2}
    assert dumped[0]["completion"] == "777"
    assert not (tmp_path / "run" / "model").exists()


def test_logits_that_explode_leave_their_prompts(folder, tmp_path):
    with pytest.raises(NonFiniteError, match=r"logits of row 0 .* 16 rows are in "):
        run("grpo", folder, tmp_path / "run", iterations=3, optim={"lr": 1e38, "clip": None})
    dumped = lines(tmp_path / "run" / "nonfinite.jsonl")
    assert [(row["iteration"], row["row"]) for row in dumped] == [(2, k) for k in range(16)]
    assert all(row["prompt"].endswith("=") for row in dumped)


def test_a_broken_checkpoint_is_not_trained(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["lm_head.weight"][5, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        run("sft", broken, tmp_path / "run")


def test_truncated_sampling_keeps_the_ratio_right(folder, tmp_path):
    world = tasks.world("rloo", folder, top_k=3)
    done = run("rloo", folder, tmp_path / "run", world=world, log={"decisions_every": 1})
    record = lines(done.directory / "decisions.jsonl")[0]
    mass = [a - b for a, b in zip(record["logp_old"], record["logp_sampler"], strict=True)]
    assert all(m <= 1e-6 for m in mass)
    for m, c, k in zip(mass, record["coefficient"], record["credit"], strict=True):
        assert c == pytest.approx(k * torch.tensor(m).exp().item(), rel=1e-5)


def test_a_missing_reward_leaves_the_batch_and_is_counted(folder, tmp_path):
    world = tasks.world(
        "grpo", folder, reward=judges.sometimes, max_missing=1.0, prompts_per_batch=32
    )
    done = run("grpo", folder, tmp_path / "run", iterations=1, world=world)
    assert done.metrics[0]["missing"] == 4 * 4
    assert done.metrics[0]["rows"] == 32 * 4 - 16


def test_too_many_missing_rewards_stop_the_run(folder, tmp_path):
    world = tasks.world(
        "grpo", folder, reward=judges.sometimes, max_missing=0.05, prompts_per_batch=32
    )
    with pytest.raises(RewardError, match="cannot judge this one"):
        run("grpo", folder, tmp_path / "run", iterations=1, world=world)


REFUSED = {
    "an unknown recipe": ({"recipe": "grop"}, {}, "grpo"),
    "an unknown constant": ({"recipe": {"name": "grpo", "bet": 0.0}}, {}, "beta"),
    "an unknown key": ({"optim": {"lrr": 1.0}}, {}, r"optim\.lr"),
    "groups of one": ({}, {"group_size": 1}, "group_size"),
    "no reward": ({}, {"reward": None}, "reward"),
    "pairs for an on-policy recipe": ({}, {"data": tasks.PAIRS}, "chosen"),
    "prompts for a recipe of pairs": ({"recipe": "dpo"}, {}, "chosen"),
    "an empty prompt": ({}, {"data": [{"prompt": "", "answer": "2"}]}, "prompt"),
    "no model": ({}, {"model": "./nowhere/at-all"}, "nowhere"),
    "a prompt beyond the context": ({}, {"data": [{"prompt": "1" * 600, "answer": "2"}]}, "512"),
    "a list without steps": ({}, {"reward": judges.lists}, "step_separator"),
    "a list of the wrong length": (
        {"recipe": "grpo_process"},
        {"reward": judges.lists, "step_separator": "="},
        "7 numbers",
    ),
    "an unknown built-in reward": ({}, {"reward": "exact_macth"}, "exact_match"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case, folder, tmp_path):
    settings, changed, says = REFUSED[case]
    recipe = settings.get("recipe", "grpo")
    given = {k: v for k, v in settings.items() if k != "recipe"}
    world = tasks.world("grpo", folder, **changed)
    with pytest.raises(LogpiError, match=says) as refused:
        run(recipe, folder, tmp_path / "run", world=world, **given)
    assert "\n\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["sft", "dpo", "grpo", "ppo"])
def test_double_precision(recipe, folder, tmp_path):
    world = tasks.world(recipe, folder, dtype="float64")
    done = run(recipe, folder, tmp_path / "run", world=world)
    assert weights(done)["lm_head.weight"].dtype == torch.float64


def test_held_out_rows_are_checked_before_training(folder, tmp_path):
    world = tasks.world("grpo", folder, eval_data=[{"prompt": "1" * 600, "answer": "2"}])
    with pytest.raises(LogpiError, match="512"):
        run("grpo", folder, tmp_path / "run", world=world)
    assert not (tmp_path / "run").exists()


def test_what_was_learned_survives_an_evaluation_that_fails(folder, tmp_path):
    """The held-out rows lack the column that the reward asks for; others are given on resuming."""
    told = {"reward": "exact_match", "eval_data": [{"prompt": "1+1="}]}
    world = tasks.world("grpo", folder, **told)
    with pytest.raises(LogpiError, match="answer"):
        run("grpo", folder, tmp_path / "run", world=world)
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    mended = tasks.world("grpo", folder, **{**told, "eval_data": tasks.PROMPTS[:4]})
    resumed = run("grpo", folder, tmp_path / "run", world=mended, resume=True)
    assert resumed.done == 2
    assert resumed.evaluate()["examples"] == 4


def test_a_run_is_never_overwritten(folder, tmp_path):
    run("sft", folder, tmp_path / "run", iterations=1)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match="resume"):
        run("sft", folder, tmp_path / "run", iterations=1)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_damaged_checkpoint_falls_back_to_the_one_before(folder, tmp_path, capsys):
    kept = {"every": 1, "keep": 2}
    whole = run("grpo", folder, tmp_path / "run", iterations=3, checkpoint=kept)
    expected = weights(whole)
    damaged = tmp_path / "run" / "checkpoints" / "3" / "policy.safetensors"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    resumed = run("grpo", folder, tmp_path / "run", iterations=3, checkpoint=kept, resume=True)
    said = capsys.readouterr().err
    assert "logpi: checkpoint 3 was skipped: policy.safetensors is not what was written" in said
    assert f"logpi: {tmp_path / 'run'} goes on after iteration 2." in said
    assert all(torch.equal(t, weights(resumed)[n]) for n, t in expected.items())


def test_what_resuming_does_is_said_where_it_is_not_what_one_expects(folder, tmp_path, capsys):
    begun = tmp_path / "begun"
    run("sft", folder, begun)
    for part in ("checkpoints", "model"):
        shutil.rmtree(begun / part)
    for name in ("metrics.jsonl", "decisions.jsonl"):
        (begun / name).unlink()
    capsys.readouterr()
    whole = run("sft", folder, begun, resume=True)
    assert whole.done == 2
    told = f"logpi: {begun} has no checkpoint to go on from: it begins anew, at iteration 1.\n"
    assert capsys.readouterr().err == told
    run("sft", folder, begun, resume=True)
    assert capsys.readouterr().err == f"logpi: {begun} is at iteration 2 of 2: nothing is left.\n"


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_that_is_no_run_is_not_resumed(made, tmp_path):
    if made:
        (tmp_path / "run").mkdir()
    world = tasks.world("sft", tmp_path / "nowhere")  # which nobody looks for
    with pytest.raises(RunError, match=r"no run directory|is not a run directory"):
        run("sft", tmp_path, tmp_path / "run", world=world, resume=True)
    assert [p.name for p in tmp_path.rglob("*")] == ["run"] * made


def test_a_disk_that_is_full_from_the_start_leaves_a_run_to_resume(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OpenLM, "export", full)
    told = {"evaluate": {"every": 1, "keep_best": True}}
    with pytest.raises(RunError, match=r"no space left to write .*best .* with --resume"):
        run("sft", folder, tmp_path / "run", **told)
    monkeypatch.undo()
    assert run("sft", folder, tmp_path / "run", resume=True, **told).done == 2


def test_evaluate_measures_the_exported_model(folder, tmp_path):
    done = run("sft", folder, tmp_path / "run", iterations=30, optim={"lr": 1e-2})
    figures = done.evaluate()
    assert figures["reward"] >= 0.7
    assert done.metrics[-1]["eval/reward"] == figures["reward"]
    assert "pass@2" in done.evaluate(examples=4, samples=2)


def test_a_reward_from_python_must_be_given_again(folder, tmp_path):
    done = run("rloo", folder, tmp_path / "run", iterations=1)
    with pytest.raises(ConfigError, match="sevens"):
        logpi.Run(done.directory).evaluate()


def test_many_rows_from_python_must_be_given_again(folder, tmp_path):
    world = tasks.world("grpo", folder, data=tasks.PROMPTS * 4, reward="exact_match")
    done = run("grpo", folder, tmp_path / "run", iterations=1, world=world)
    with pytest.raises(ConfigError, match="128 rows"):
        logpi.Run(done.directory).evaluate()
