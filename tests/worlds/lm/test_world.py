"""`LM` says what it cannot give before loading; opened, it has what the recipe reads."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import logpi
import tasks
from logpi.core.errors import ConfigError, DataError, ModelError
from logpi.worlds.lm.evaluate import Evaluator
from logpi.worlds.lm.tiny import tiny
from logpi.worlds.lm.world import OpenLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tasks.model(tmp_path_factory.mktemp("model"))


def opened(recipe, folder, tmp_path, **settings) -> OpenLM:
    world = tasks.world(recipe, folder, **settings)
    return world.open(recipe, logpi.RECIPES[recipe], seed=0, scratch=tmp_path)


@pytest.mark.parametrize(
    ("recipe", "settings", "says"),
    [
        ("grpo", {"group_size": 1}, "group_size"),
        ("rloo", {"reward": None}, "--reward"),
        ("trpo", {}, "does not run in the language world"),
        ("qac", {}, "does not run in the language world"),
        ("grpo_process", {"step_separator": None}, "step_separator"),
    ],
)
def test_what_cannot_be_given_is_said_before_loading(recipe, settings, says):
    world = tasks.world(recipe, "nowhere", **settings)
    with pytest.raises(ConfigError, match=says):
        world.check(recipe, logpi.RECIPES[recipe])


def test_a_reference_is_loaded_only_if_it_is_read(folder, tmp_path):
    with contextlib.closing(opened("rloo", folder, tmp_path)) as world:
        assert world.reference is None
        with pytest.raises(ConfigError, match="no reference policy"):
            world.reference_log_prob(None)
    with contextlib.closing(opened("dpo", folder, tmp_path)) as world:
        assert world.reference is not None
        batch = world.source.draw(world.policy, 0)
        before = world.reference_log_prob(batch.inputs)
        assert torch.equal(before, world.policy.log_prob(batch.inputs))
        with torch.no_grad():
            for _, p in world.policy.named_parameters():
                p.add_(0.1)
        assert torch.equal(before, world.reference_log_prob(batch.inputs))


def test_with_an_adapter_the_reference_is_the_model_without_it(folder, tmp_path):
    lora = {"r": 2, "targets": ["q_proj", "v_proj"]}
    with contextlib.closing(opened("dpo", folder, tmp_path, lora=lora)) as world:
        assert world.reference.lm is world.lm
        batch = world.source.draw(world.policy, 0)
        before = world.reference_log_prob(batch.inputs)
        with torch.no_grad():
            for _, p in world.policy.named_parameters():
                p.add_(0.1)
        assert torch.equal(before, world.reference_log_prob(batch.inputs))
        assert not torch.allclose(before, world.policy.log_prob(batch.inputs))
    with pytest.raises(ConfigError, match="online_rft"):
        opened("rft", folder, tmp_path, lora=lora)


@pytest.mark.parametrize("place", ["model", "reference"])
def test_errors_of_a_demo_name_it(place, folder, tmp_path, monkeypatch):
    read = AutoModelForCausalLM.from_pretrained

    def only_the_other(path, **how):
        if Path(path) == folder:
            return read(path, **how)
        raise OSError(f"nothing in {path}")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", only_the_other)
    with pytest.raises(ModelError, match=r"^'demo:arithmetic' cannot be loaded"):
        opened("dpo", folder, tmp_path, **{place: "demo:arithmetic"})


def test_a_reference_knows_every_token_of_the_model(folder, tmp_path):
    other = tiny(tmp_path / "m", alphabet="01", hidden=32, layers=1, heads=2)
    with pytest.raises(
        ConfigError, match=r"reference policy '.*' knows 4 tokens, but the model 17"
    ):
        opened("dpo", folder, tmp_path, reference=str(other))


def test_one_text_that_ends_a_completion_needs_no_list(folder):
    assert tasks.world("grpo", folder, stop="7").stop == ("7",)
    assert tasks.world("grpo", folder, stop=["7", "8"]).sampling.stop == ("7", "8")


@pytest.mark.parametrize("critic", ["head", "model"])
def test_a_critic_of_either_kind(critic, folder, tmp_path):
    with contextlib.closing(opened("ppo", folder, tmp_path, critic=critic)) as world:
        batch = world.source.draw(world.policy, 0)
        value, next_value = world.critic.values(batch.inputs)
        assert value.shape == next_value.shape == batch.mask.shape


def test_a_row_is_described_by_its_texts(folder, tmp_path):
    with contextlib.closing(opened("sft", folder, tmp_path)) as world:
        batch = world.source.draw(world.policy, 0)
        told = world.describe(batch, 0)
        assert told["completion"] == "777"
        assert told["actions"] == ["7", "7", "7", "<eos>"]
        assert told["prompt"].endswith("=")


def test_without_a_reward_likelihood_is_measured(folder, tmp_path):
    data = tasks.DEMONSTRATIONS[:3]
    told = {"reward": None, "eval_data": data}
    with contextlib.closing(opened("sft", folder, tmp_path, **told)) as world:
        assert isinstance(world.evaluate, Evaluator)
        batch = world.source.draw(world.policy, 0)
        figures = world.evaluate()
        assert figures["examples"] == 3
        assert figures["nll"] == pytest.approx(2.8, abs=0.4)  # about log 17: nothing was learnt
        assert batch.mask.all()


@pytest.mark.parametrize("recipe", ["dpo", "ipo", "simpo", "dpo_mean"])
@pytest.mark.parametrize("reward", [None, tasks.sevens])
def test_held_out_pairs_are_measured_by_their_margin(recipe, reward, folder, tmp_path):
    told = {"reward": reward, "eval_data": tasks.PAIRS[:6]}
    run = logpi.train(
        recipe=recipe,
        world=tasks.world(recipe, folder, **told),
        iterations=6,
        directory=tmp_path / "run",
        optim={"lr": 1e-2},
        evaluate={"every": 2},
        quiet=True,
    )
    before, *_, after = [line for line in run.metrics if "eval/preferred" in line]
    if recipe != "simpo":  # the policy is its own reference still: indifferent
        assert (before["eval/margin"], before["eval/preferred"]) == (0.0, 0.5)
    assert after["eval/margin"] > before["eval/margin"]
    assert after["eval/preferred"] > 0.5
    assert after["eval/examples"] == 6
    again = run.evaluate()  # the reference is opened again
    assert again["margin"] == pytest.approx(after["eval/margin"], abs=1e-5)
    assert again["preferred"] == after["eval/preferred"]
    assert set(run.evaluate(examples=2)) == {"margin", "preferred", "nll", "examples"}


def test_a_share_of_preferred_pairs_may_be_the_goal_and_the_best(folder, tmp_path):
    run = logpi.train(
        recipe="dpo",
        world=tasks.world("dpo", folder, reward=None, eval_data=tasks.PAIRS[:6]),
        iterations=9,
        directory=tmp_path / "run",
        evaluate={"every": 1, "stop_at": 0.25, "keep_best": True},
        optim={"lr": 1e-3},
        quiet=True,
    )
    assert run.done == 1
    best = json.loads((run.directory / "best" / "score.json").read_text())
    assert best["score"] == best["preferred"]


def test_a_preference_recipe_may_be_measured_by_a_reward(folder, tmp_path):
    with contextlib.closing(opened("dpo", folder, tmp_path)) as world:
        assert {"reward", "correct"} <= world.evaluate(examples=3).keys()
    with pytest.raises(DataError, match="pairs need"):
        opened("dpo", folder, tmp_path, reward=None)
