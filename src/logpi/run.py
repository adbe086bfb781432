"""`train`, and the `Run` it returns: where recipe, world, loop and run directory meet."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logpi.core.errors import ConfigError, EnvironmentFailure, LogpiError, NonFiniteError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.recipes import recipe as named_recipe
from logpi.train.config import RunConfig, build_config, python_reward, validated
from logpi.train.interrupt import Interrupt
from logpi.train.loggers import Loggers
from logpi.train.loop import Trainer
from logpi.train.progress import Reporter
from logpi.train.rundir import RunDirectory, read_config, read_metrics, refuse_existing

if TYPE_CHECKING:
    from logpi.worlds.gym.world import Gym
    from logpi.worlds.lm.world import LM
    from logpi.worlds.mdp.world import MDP

__all__ = ["Figures", "Run", "Stopped", "train", "train_config"]


_WORLDS = {
    "lm": ("logpi.worlds.lm.world", "LM"),
    "mdp": ("logpi.worlds.mdp.world", "MDP"),
    "gym": ("logpi.worlds.gym.world", "Gym"),
}
"""Where each kind of world is defined: only the one that runs is imported."""


class Stopped(Exception):  # not an error: somebody asked for it
    """A signal ended the run after a checkpoint; `signal` is its name."""

    def __init__(self, run: Run, signal: str) -> None:
        """The run as it was left, and who asked."""
        super().__init__(
            f"{signal}: stopped after iteration {run.done}; go on with `logpi train --resume "
            f"{run.directory}`."
        )
        self.run, self.signal = run, signal


class Figures(dict[str, float]):
    """What an evaluation found, by name.

    >>> Figures({"return": 1.5}).mean_return
    1.5
    """

    @property
    def mean_return(self) -> float:
        """The mean return of its episodes, or an MDP's exact one."""
        return self["return"]


class Run:
    """A run directory, finished or not: its metrics, its model, and how to measure it again.

    >>> Run("runs/none").directory.as_posix()
    'runs/none'
    """

    def __init__(self, directory: str | Path, *, world: LM | MDP | Gym | None = None) -> None:
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
        """The trained model: a Hugging Face folder, or a policy's parameters and table."""
        return self.directory / "model"

    @property
    def policy(self) -> Any:
        """The trained policy: `act(observation)` in environments, `probabilities()` of an MDP.

        Raises `ConfigError` where there is none yet, and of a language model, whose folder
        transformers reads.
        """
        world = self._world or world_of(self.config)
        self._need_model()
        opened = getattr(world, "policy_in", None)
        if opened is None:
            raise ConfigError(
                f"a language model is read by transformers: "
                f"AutoModelForCausalLM.from_pretrained({str(self.model_dir)!r})."
            )
        return opened(self.model_dir)

    def evaluate(
        self, *, examples: int | None = None, samples: int = 1, episodes: int | None = None
    ) -> Figures:
        """Figures of the exported model. In the finite world they are exact.

        Of a language model on held-out data: greedy, or of `samples` samples with pass@k. In
        environments, of `episodes` greedy episodes: `run.evaluate(episodes=100).mean_return`.
        Raises `ConfigError` where the run has no held-out data or no model yet.
        """
        config = self.config
        world = self._world or world_of(config)
        self._need_model()
        with contextlib.ExitStack() as resources:
            evaluator = world.evaluator(
                recipe_of(config), self.model_dir, resources, seed=config.seed
            )
            return Figures(evaluator(examples=episodes or examples, samples=samples))

    def _need_model(self) -> None:
        if not self.model_dir.is_dir():
            raise ConfigError(
                f"{self.directory} has no model yet: it stopped at iteration {self.done} of "
                f"{self.config.iterations}. Go on with `logpi train --resume {self.directory}`."
            )


def train(
    *,
    recipe: str | Mapping[str, Any],
    world: LM | MDP | Gym | Mapping[str, Any],
    iterations: int | None = None,
    total_steps: int | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """The finished run; `settings` are the other keys of `RunConfig`: seed, optim, log, ...

    `recipe="grpo"` takes the paper's settings, `{"name": "grpo", "beta": 0.0}` changes one. The run
    is written to `directory` (runs/RECIPE by default), which must not exist unless `resume` is set.

    In environments `total_steps` may stand for `iterations`: so many decisions in all, at least.

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
        world = _validated(world, where="the arguments")
    told = {"recipe": recipe if isinstance(recipe, str) else dict(recipe), **settings}
    if iterations is None:
        iterations = _iterations(world, total_steps)
    config = build_config({**told, "world": world.model_dump(), "iterations": iterations})
    return train_config(config, world=world, directory=directory, resume=resume, quiet=quiet)


def _iterations(world: LM | MDP | Gym, total_steps: int | None) -> int:
    a_turn = getattr(world, "steps_an_iteration", None)
    if total_steps is None or a_turn is None:
        raise ConfigError(
            "how long shall it train? Say iterations=100, or in environments total_steps=100_000."
        )
    return max(1, -(-total_steps // a_turn))


def _validated(told: Mapping[str, Any], *, where: str) -> LM | MDP | Gym:
    kind = told.get("kind", "lm")
    if kind not in _WORLDS:
        raise ConfigError(
            f"`world.kind` in {where} is {kind!r}.{did_you_mean(str(kind), _WORLDS)} "
            f"It is {' or '.join(_WORLDS)}."
        )
    module, name = _WORLDS[kind]
    world = getattr(import_module(module), name)
    return validated(world, {**told, "kind": kind}, prefix="world.", where=where)


def world_of(config: RunConfig, *, reward: Any = None) -> LM | MDP | Gym:
    """The world of a configuration; `reward` replaces a Python function, which no file holds."""
    told = dict(config.world)
    if reward is not None:
        told["reward"] = reward
    elif name := python_reward(told.get("reward")):
        raise ConfigError(
            f"this run's reward was the Python function {name}, which no file can hold. Give it "
            "again: `--reward file.py:function` on the command line, or the world from Python."
        )
    for key in ("data", "eval_data", "model", "features", "env"):
        if given := python_reward(told.get(key)):
            raise ConfigError(
                f"this run's `world.{key}` was given from Python ({given}) and is no text for "
                "config.yaml. Give the world again from Python, or keep it in a file."
            )
    return _validated(told, where="the configuration")


def recipe_of(config: RunConfig) -> Recipe:
    """The recipe that a configuration names, with its constants."""
    constants = {key: value for key, value in config.recipe.items() if key != "name"}
    return named_recipe(config.recipe_name, **constants)


def train_config(
    config: RunConfig,
    *,
    world: LM | MDP | Gym | None = None,
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
        except EnvironmentFailure as error:
            self._leave(error)
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
        reached = metrics.get("eval/reward", metrics.get("eval/return", float("-inf")))
        return target is not None and reached >= target

    def _dump(self, error: NonFiniteError) -> None:
        path = self.rundir.path / "nonfinite.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in error.records), encoding="utf-8")

    def _leave(self, error: EnvironmentFailure) -> None:
        """Keep what was learned, and how to see the failure again."""
        told = {key: getattr(error, key) for key in ("environment", "seed", "step", "actions")}
        path = self.rundir.path / "failure.json"
        path.write_text(json.dumps({"what": str(error), **told}) + "\n", encoding="utf-8")
        if self.trainer.done:
            self._checkpoint()

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
