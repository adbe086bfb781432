"""Every language recipe improves on a task: the share of sevens that the policy writes."""

from __future__ import annotations

import time

import pytest

import judges
import logpi
import tasks

SECONDS = 60  # of processor time a recipe may take
START = 0.1  # an untrained model writes a seven about once in 17 characters

# iterations, learning rate, and the mean reward of sampled completions that must be reached
SETTINGS = {
    "sft": (40, 1e-2, 0.6),
    "rft": (60, 1e-2, 0.2),
    "online_rft": (60, 1e-2, 0.5),
    "dpo": (80, 3e-3, 0.4),
    "dpo_mean": (80, 3e-3, 0.25),
    "ipo": (80, 3e-3, 0.2),
    "simpo": (80, 3e-3, 0.4),
    "grpo_process": (60, 1e-2, 1.0),  # steps with a seven: 0.3 before training
}


@pytest.mark.learn
@pytest.mark.parametrize("recipe", tasks.LANGUAGE_RECIPES)
def test_the_recipe_improves(recipe, tmp_path):
    begin = time.process_time()
    iterations, rate, threshold = SETTINGS.get(recipe, (60, 1e-2, 0.6))
    folder = tasks.model(tmp_path / "model")
    world = tasks.world(recipe, folder, group_size=8, prompts_per_batch=16, reward=judges.sevens)
    if recipe == "grpo_process":
        world = tasks.world(recipe, folder, group_size=8, prompts_per_batch=16)
    run = logpi.train(
        recipe=tasks.recipe(recipe),
        world=world,
        iterations=iterations,
        directory=tmp_path / "run",
        optim={"lr": rate},
        quiet=True,
    )
    measured = tasks.world(recipe, folder, data=tasks.PROMPTS)
    after = logpi.Run(run.directory, world=measured).evaluate(samples=8)["reward"]
    assert after >= threshold > START
    assert time.process_time() - begin < SECONDS
