"""Our side of a line, in a process of its own: one line of JSON.

python -m benchmarks.gym.side_logpi LINE SEED
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gym.lines import Line
from benchmarks.gym.measure import Judge, Stopwatch, answer

import logpi
from logpi.named import recipe_of
from logpi.train.config import build_config
from logpi.train.loop import Trainer


def settings(line: Line, seed: int) -> dict[str, Any]:
    """What `logpi.train` is told, but for where and how long."""
    rates = {"lr": line.rl, "critic_lr": line.rl, "decay": line.decay, "critic_decay": line.decay}
    clipped = {"clip": 0.5, "clip_together": True, "critic_weight": 0.5, "eps": 1e-5}
    recipe = {"name": "ppo", "lam": line.lam, "epochs": line.epochs, "normalise": True}
    played = {"num_envs": line.envs, "steps": line.steps, "mode": line.mode}
    return {
        "recipe": recipe | {"clip_decay": line.decay},
        "world": logpi.Gym(line.env, discount=line.discount, evaluate_episodes=1, **played),
        "minibatches": line.minibatches,
        "optim": rates | clipped,
        "seed": seed,
        "quiet": True,
    }


NOTHING_KEPT = {"log": {"decisions_every": 0}, "checkpoint": {"every": 0}}
"""What the other sides do not do either: records of decisions, and checkpoints."""


def timed(line: Line, seed: int) -> dict[str, Any]:
    """A run that keeps nothing, and one with the records and checkpoints of the defaults."""
    rate, share = _run(line, seed, NOTHING_KEPT)
    return {"rate": rate, "share": share, "kept": _run(line, seed, {})[0]}


def _run(line: Line, seed: int, kept: Mapping[str, Any]) -> tuple[float, float]:
    """Steps a CPU second, and the environments' share; the first and last iteration do not count.

    The last one evaluates the policy, which the other sides do not.
    """
    told: list[tuple[float, float]] = []
    watch = Stopwatch()

    def each(iteration: int, figures: Mapping[str, Any]) -> None:
        del iteration
        told.append((watch.read(), figures["seconds_environments"] / figures["seconds"]))

    with tempfile.TemporaryDirectory() as folder:
        logpi.train(
            **settings(line, seed),
            **kept,
            iterations=line.iterations + 2,
            directory=f"{folder}/run",
            callbacks=[each],
        )
    seconds = told[-2][0] - told[0][0]
    share = sum(x for _, x in told[1:-1]) / line.iterations
    return line.iterations * line.decisions / seconds, share


def learned(line: Line, seed: int) -> dict[str, Any]:
    """The loop until the policy is good enough, once environments, nets and optimizers are made."""
    told = settings(line, seed)
    world = told.pop("world")
    told.pop("quiet")
    config = build_config({**told, "world": world.model_dump(), "iterations": line.iterations})
    recipe, judge = recipe_of(config), Judge(line.env)
    with tempfile.TemporaryDirectory() as folder:
        opened = world.open("ppo", recipe, seed=seed, scratch=Path(folder))
        trainer, watch = Trainer(config, recipe, opened), Stopwatch()
        while trainer.done < line.iterations:
            trainer.iterate()
            if judge.content(trainer.done, watch, opened.policy.act):
                return {"seconds": watch.read(), "decisions": trainer.done * line.decisions}
    return {"seconds": None}


if __name__ == "__main__":
    answer(timed, learned)
