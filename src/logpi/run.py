"""`train`, and the `Run` it returns: where recipe, world, loop and run directory meet."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from logpi.core.errors import ConfigError, LogpiError, NonFiniteError
from logpi.core.recipe import Recipe
from logpi.recipes import recipe as named_recipe
from logpi.train.config import RunConfig, build_config, python_reward, validated
from logpi.train.interrupt import Interrupt
from logpi.train.loggers import Loggers
from logpi.train.loop import Trainer
from logpi.train.progress import Reporter
from logpi.train.rundir import RunDirectory, read_config, read_metrics, refuse_existing
from logpi.worlds.lm.world import LM

__all__ = ["Run", "Stopped", "train", "train_config"]


class Stopped(Exception):  # not an error: somebody asked for it
    """A signal ended the run after a checkpoint; `signal` is its name."""

    def __init__(self, run: Run, signal: str) -> None:
        """The run as it was left, and who asked."""
        super().__init__(
            f"{signal}: stopped after iteration {run.done}; go on with `logpi train --resume "
            f"{run.directory}`."
        )
        self.run, self.signal = run, signal


class Run:
    """A run directory, finished or not: its metrics, its model, and how to measure it again.

    >>> Run("runs/none").directory.as_posix()
    'runs/none'
    """

    def __init__(self, directory: str | Path, *, world: LM | None = None) -> None:
        """The run at `directory`; `world` if its reward is a Python function."""
        self.directory = Path(directory)
        self._world = world

    @property
    def config(self) -> RunConfig:
        """What the run was told."""
        return read_config(self.directory)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One mapping for each iteration, in order."""
        return read_metrics(self.directory)

    @property
    def done(self) -> int:
        """How many iterations are recorded."""
        lines = self.metrics
        return int(lines[-1]["iteration"]) if lines else 0

    @property
    def model_dir(self) -> Path:
        """The trained model, as a Hugging Face folder."""
        return self.directory / "model"

    def evaluate(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """Held-out figures of the exported model: greedy, or of `samples` samples with pass@k.

        Raises `ConfigError` where the run has no held-out data or no model yet.
        """
        config = self.config
        world = self._world or world_of(config)
        if world.eval_data is None:
            raise ConfigError(
                f"{self.directory} has no held-out data. Train with world.eval_data=..."
            )
        if not self.model_dir.is_dir():
            raise ConfigError(
                f"{self.directory} has no model yet: it stopped at iteration {self.done} of "
                f"{config.iterations}. Go on with `logpi train --resume {self.directory}`."
            )
        with contextlib.ExitStack() as resources:
            evaluator = world.evaluator(
                recipe_of(config), self.model_dir, resources, seed=config.seed
            )
            return evaluator(examples=examples, samples=samples)


def train(
    *,
    recipe: str | Mapping[str, Any],
    world: LM | Mapping[str, Any],
    iterations: int,
    directory: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """The finished run; `settings` are the other keys of `RunConfig`: seed, optim, log, ...

    `recipe="grpo"` takes the paper's settings, `{"name": "grpo", "beta": 0.0}` changes one. The run
    is written to `directory` (runs/RECIPE by default), which must not exist unless `resume` is set.

    Raises `LogpiError` where something given cannot be used, before anything is written, and
    `Stopped` where a signal ended the run early.

    >>> import logpi, tempfile
    >>> data = [{"prompt": "1+1=", "answer": "2"}]
    >>> world = logpi.LM(model="demo:arithmetic", data=data, reward="exact_match", max_new_tokens=4)
    >>> run = train(
    ...     recipe="rloo", world=world, iterations=1, directory=tempfile.mkdtemp(), quiet=True
    ... )
    >>> run.metrics[-1]["iteration"], run.model_dir.name
    (1, 'model')
    """
    if isinstance(world, Mapping):
        world = validated(LM, {"kind": "lm", **world}, prefix="world.")
    told = {"recipe": recipe if isinstance(recipe, str) else dict(recipe), **settings}
    config = build_config({**told, "world": world.model_dump(), "iterations": iterations})
    return train_config(config, world=world, directory=directory, resume=resume, quiet=quiet)


def world_of(config: RunConfig, *, reward: Any = None) -> LM:
    """The world of a configuration; `reward` replaces a Python function, which no file holds."""
    told = dict(config.world)
    if reward is not None:
        told["reward"] = reward
    elif name := python_reward(told.get("reward")):
        raise ConfigError(
            f"this run's reward was the Python function {name}, which no file can hold. Give it "
            "again: `--reward file.py:function` on the command line, or the world from Python."
        )
    for key in ("data", "eval_data"):
        if rows := python_reward(told.get(key)):
            raise ConfigError(
                f"this run's `world.{key}` was given from Python ({rows}) and is too long for "
                "config.yaml. Give the world again from Python, or keep the rows in a file."
            )
    return validated(LM, told, prefix="world.", where="the configuration")


def recipe_of(config: RunConfig) -> Recipe:
    """The recipe that a configuration names, with its constants."""
    constants = {key: value for key, value in config.recipe.items() if key != "name"}
    return named_recipe(config.recipe_name, **constants)


def train_config(
    config: RunConfig,
    *,
    world: LM | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Run:
    """The finished run that a configuration describes; see `train`."""
    recipe = recipe_of(config)
    world = world or world_of(config)
    wanted = directory or config.directory
    if wanted is not None and not resume:
        refuse_existing(Path(wanted))  # before a model is loaded for nothing
    with contextlib.ExitStack() as resources:
        scratch = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        opened = world.open(config.recipe_name, recipe, seed=config.seed, scratch=scratch)
        resources.callback(opened.close)
        trainer = Trainer(config, recipe, opened)
        if resume:
            rundir = RunDirectory.resume(wanted or _unnamed(), config)
        else:
            rundir = RunDirectory.create(config, directory)
        resources.enter_context(rundir)
        session = _Session(trainer, rundir, quiet=quiet)
        try:
            session.run(resume=resume)
        except BaseException:
            if not resume:
                rundir.discard_if_nothing_was_done()
            raise
        return Run(rundir.path, world=world)


def _unnamed() -> Path:
    raise ConfigError("which run to resume? Give its directory.")


class _Session:
    """One process's part of a run: the loop, with its records, checkpoints and signals."""

    def __init__(self, trainer: Trainer, rundir: RunDirectory, *, quiet: bool) -> None:
        self.trainer, self.rundir, self.quiet = trainer, rundir, quiet
        self.config = rundir.config

    def run(self, *, resume: bool) -> None:
        config, trainer = self.config, self.trainer
        if resume:
            self._restore()
        if not trainer.done and config.evaluate.every:
            self.rundir.record(0, self._evaluate())
        with (
            Interrupt(quiet=self.quiet) as interrupt,
            self._reporter() as reporter,
            Loggers(config, self.rundir.path, done=trainer.done) as loggers,
        ):
            while trainer.done < config.iterations:
                metrics = self._iterate()
                self.rundir.record(trainer.done, metrics)
                loggers.record(trainer.done, metrics)
                reporter.update(trainer.done, metrics)
                if not metrics["rows"]:
                    reporter.say(f"iteration {trainer.done}: no rows were left to learn from.")
                if interrupt and trainer.done < config.iterations:
                    self._checkpoint()
                    raise Stopped(Run(self.rundir.path), str(interrupt.requested))
                if self._reached(metrics):
                    break
                if config.checkpoint.every and trainer.done % config.checkpoint.every == 0:
                    self._checkpoint()
        self._checkpoint()
        with self.rundir.exporting() as folder:
            trainer.world.export(folder)

    def _reporter(self) -> Reporter:
        return Reporter(
            self.config.iterations,
            done=self.trainer.done,
            title=self.config.recipe_name,
            quiet=self.quiet,
        )

    def _iterate(self) -> dict[str, float]:
        config, trainer = self.config, self.trainer
        log = config.log
        due = log.decisions_every and trainer.done % log.decisions_every == 0
        last = trainer.done + 1 == config.iterations
        try:
            outcome = trainer.iterate(records=log.decisions_rows if due or last else 0)
        except NonFiniteError as error:
            self._dump(error)
            raise
        self.rundir.record_decisions(outcome.decisions)
        every = config.evaluate.every
        if last or (every and trainer.done % every == 0):
            try:
                outcome.metrics.update(self._evaluate())
            except LogpiError:  # what was learned is not lost for it
                self.rundir.record(trainer.done, outcome.metrics)
                self._checkpoint()
                raise
        return outcome.metrics

    def _evaluate(self) -> dict[str, float]:
        figures = self.trainer.world.evaluate(examples=self.config.evaluate.examples)
        return {f"eval/{name}": value for name, value in figures.items()}

    def _reached(self, metrics: Mapping[str, float]) -> bool:
        target = self.config.evaluate.stop_at
        return target is not None and metrics.get("eval/reward", float("-inf")) >= target

    def _dump(self, error: NonFiniteError) -> None:
        path = self.rundir.path / "nonfinite.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in error.records), encoding="utf-8")

    def _checkpoint(self) -> None:
        trainer = self.trainer
        self.rundir.save_checkpoint(trainer.done, trainer.tensors(), trainer.state())

    def _restore(self) -> None:
        found = self.rundir.load_checkpoint()
        if found is None:
            return
        for skipped in found.skipped:
            print(f"logpi: {skipped}", file=sys.stderr)
        self.trainer.restore(found.tensors, found.state)
