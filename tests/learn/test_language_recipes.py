"""Every language recipe improves on a task: the share of sevens that the policy writes."""

from __future__ import annotations

import contextlib
import time

import pytest

import logpi
import tasks

SECONDS = 60  # of processor time a recipe may take

# iterations, learning rate, and the mean reward of sampled completions that must be reached
SETTINGS = {
    "sft": (40, 1e-2, 0.6),
    "rft": (60, 1e-2, 0.2),  # the initial model's samples with a seven have little more than one
    "online_rft": (60, 1e-2, 0.6),
    "dpo": (80, 3e-3, 0.4),
    "dpo_mean": (80, 3e-3, 0.25),
    "ipo": (80, 3e-3, 0.2),
    "simpo": (80, 3e-3, 0.4),
    "grpo_process": (60, 1e-2, 0.8),  # how many of its steps have a seven
}


def measured(recipe, world, model):
    """The mean reward of sampled completions of the model in a folder."""
    made = logpi.recipe(**tasks.recipe(recipe))
    with contextlib.ExitStack() as resources:
        evaluate = world.evaluator(made, model, resources, seed=0)
        return evaluate(samples=8)["reward"]


@pytest.mark.learn
@pytest.mark.parametrize("recipe", tasks.LANGUAGE_RECIPES)
def test_the_recipe_improves(recipe, tmp_path):
    begin = time.process_time()
    iterations, rate, threshold = SETTINGS.get(recipe, (60, 1e-2, 0.8))
    folder = tasks.model(tmp_path / "model")
    world = tasks.world(recipe, folder, group_size=8, prompts_per_batch=16, eval_data=tasks.PROMPTS)
    before = measured(recipe, world, folder)
    run = logpi.train(
        recipe=tasks.recipe(recipe),
        world=world,
        iterations=iterations,
        directory=tmp_path / "run",
        optim={"lr": rate, "critic_lr": 1e-2},
        quiet=True,
    )
    after = measured(recipe, world, run.model_dir)
    print(f"{recipe}: {before:.3f} to {after:.3f}, {time.process_time() - begin:.1f} s")
    assert after >= threshold
    assert after >= 3 * before
    assert time.process_time() - begin < SECONDS


@pytest.mark.learn
@pytest.mark.parametrize(("critic", "share"), [("head", 0.08), ("model", 0.2)])
def test_the_critic_learns_what_to_expect(critic, share, tmp_path):
    """The policy stays; before a token, at most about 3/8 of the return's variance is known."""
    folder = tasks.model(tmp_path / "model")
    world = tasks.world("ppo", folder, group_size=8, prompts_per_batch=16, critic=critic)
    run = logpi.train(
        recipe="ppo",
        world=world,
        iterations=40,
        directory=tmp_path / "run",
        optim={"lr": 1e-6, "critic_lr": {"head": 1e-2, "model": 3e-3}[critic]},
        quiet=True,
    )
    explained = [metrics["explained_variance"] for metrics in run.metrics]
    print(critic, [round(x, 2) for x in explained[::5]])
    assert explained[0] == pytest.approx(0.0, abs=1e-6)
    assert sum(explained[-10:]) / 10 >= share
