"""`train`, and the `Run` it returns: where recipe, world, loop and run directory meet."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, Field

from logpi import played
from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.recipes import recipe as named_recipe
from logpi.session import Callback, Session
from logpi.train.config import RunConfig, build_config, check_keys, python_reward, validated
from logpi.train.loop import Trainer
from logpi.train.rundir import RunDirectory, read_config, read_metrics, refuse_existing
from logpi.worlds.settings import Settings

if TYPE_CHECKING:
    from logpi.worlds.gym.world import Gym
    from logpi.worlds.lm.world import LM
    from logpi.worlds.mdp.world import MDP

__all__ = ["Figures", "Run", "Stopped", "train", "train_config"]


_WORLDS = {"lm": "LM", "mdp": "MDP", "gym": "Gym"}
"""What `logpi` calls each kind of world: only the one that runs is imported."""


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

    def __init__(
        self,
        directory: str | Path,
        *,
        world: LM | MDP | Gym | None = None,
        best: bool = False,
    ) -> None:
        """The run at `directory`; `world` if something in it was given from Python.

        With `best` its model is the best that an evaluation found, instead of the last one.
        """
        self.directory = Path(directory)
        self._world, self._folder = world, "best" if best else "model"

    def __repr__(self) -> str:
        """The call that opens it."""
        best = ", best=True" if self._folder == "best" else ""
        return f"Run({str(self.directory)!r}{best})"

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
        return self.directory / self._folder

    @property
    def best(self) -> Run:
        """The same run with its best model, where `evaluate.keep_best` kept one."""
        return Run(self.directory, world=self._world, best=True)

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
        for name, count in (("examples", examples), ("samples", samples), ("episodes", episodes)):
            if count is not None and (not isinstance(count, Integral) or count < 1):
                raise ConfigError(f"{name} is {count!r}. Give a whole number of at least 1.")
        config = self.config
        world = self._world or world_of(config)
        self._need_model()
        with contextlib.ExitStack() as resources:
            evaluator = world.evaluator(
                recipe_of(config), self.model_dir, resources, seed=config.seed
            )
            return Figures(evaluator(examples=episodes or examples, samples=samples))

    def play(
        self,
        video: str | Path | None = None,
        *,
        strip: str | Path | None = None,
        episodes: int = 1,
        seed: int = 0,
        greedy: bool = True,
    ) -> list[dict[str, Any]]:
        """What was played and filmed: seed, return, length and end of each episode.

        The film (.mp4 or .gif) and a strip of its frames (.png) go below play/ in the run's folder,
        unless they are named. Raises `ConfigError` where there is no environment, or it cannot be
        drawn.
        """
        world, policy = self._acting("filmed")
        folder = self.directory / "play"
        told = {"video": video, "strip": strip, "episodes": episodes, "seed": seed}
        return played.film(world, policy, folder, greedy=greedy, **told)

    def export(self, path: str | Path) -> Path:
        """The file, now holding the acting policy: .onnx, or .pt for TorchScript.

        Its normaliser is inside, and it was checked to act as the policy does.
        """
        return played.export(*self._acting("exported so"), path)

    def _acting(self, what: str) -> tuple[Any, Any]:
        """The environments, and the policy that acts in them."""
        kind = self.config.world["kind"]
        if kind != "gym":
            raise ConfigError(
                f"{self.directory} is of the world `{kind}`, and only policies of environments "
                f"can be {what}. Its model is in {self.model_dir}."
            )
        return self._world or world_of(self.config), self.policy

    def _need_model(self) -> None:
        if self._folder == "best" and not self.model_dir.is_dir():
            raise ConfigError(
                f"{self.directory} kept no best model. Train with evaluate.every=10 "
                "evaluate.keep_best=true."
            )
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
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Run:
    """The finished run; `settings` are the other keys of `RunConfig`: seed, optim, log, ...

    `recipe="grpo"` takes the paper's settings, `{"name": "grpo", "beta": 0.0}` changes one. The run
    is written to `directory` (runs/RECIPE by default), which must not exist unless `resume` is set.

    In environments, with a critic, `total_steps` decisions may stand for `iterations`, rounded up.
    Each of `callbacks` is given every iteration's number and figures; a true answer ends the run.

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
    world = _given(world)
    _check_arguments(directory, callbacks)
    told = {"recipe": dict(recipe) if isinstance(recipe, Mapping) else recipe, **settings}
    check_keys(settings)
    iterations = _length(world, recipe, iterations, total_steps)
    config = build_config({**told, "world": world.model_dump(), "iterations": iterations})
    how = {"directory": directory, "resume": resume, "quiet": quiet, "callbacks": callbacks}
    return train_config(config, world=world, **how)


_HOW_LONG = "how long shall it train? Say iterations=100, or in environments total_steps=100_000."


def _length(world: Any, recipe: Any, iterations: Any, total_steps: Any) -> Any:
    if total_steps is None:
        if iterations is None:
            raise ConfigError(_HOW_LONG)
        return iterations
    return iterations_of(world, recipe, total_steps, iterations=iterations)


class _Length(BaseModel):
    total_steps: int = Field(ge=1)


def iterations_of(
    world: LM | MDP | Gym,
    recipe: str | Mapping[str, Any],
    total_steps: Any,
    *,
    iterations: Any = None,
) -> int:
    """How many iterations take so many decisions, rounded up.

    >>> import logpi
    >>> iterations_of(logpi.Gym("CartPole-v1", num_envs=8, steps=128), "ppo", 10_000)
    10

    Raises `ConfigError` where nobody can count them beforehand, or `iterations` were told as well.
    """
    if iterations is not None:
        raise ConfigError(
            "`iterations` and `total_steps` both say how long it trains. Leave one of them out."
        )
    a_turn = getattr(world, "steps_an_iteration", None)
    if a_turn is None:
        raise ConfigError(_HOW_LONG)
    constants = dict(recipe) if isinstance(recipe, Mapping) else {"name": recipe}
    name = constants.pop("name", "")
    if named_recipe(name, **constants).critic is None:
        raise ConfigError(
            f"`{name}` learns from whole episodes, whose decisions nobody can count beforehand. "
            "Say iterations=100 instead of total_steps."
        )
    count = validated(_Length, {"total_steps": total_steps}).total_steps
    return -(-count // a_turn)


def _given(world: Any) -> LM | MDP | Gym:
    if isinstance(world, Mapping):
        return _validated(world, where="the arguments")
    if not isinstance(world, Settings):
        raise ConfigError(
            f"`world` is {world!r}. Give logpi.LM(...), logpi.MDP(...) or logpi.Gym(...), or a "
            'mapping that says which: {"kind": "gym", "env": "CartPole-v1"}.'
        )
    return cast("LM | MDP | Gym", world)


def _check_arguments(directory: Any, callbacks: Any) -> None:
    is_path = directory is None or isinstance(directory, str | PathLike)
    if not is_path or (directory is not None and not Path(directory).name):
        raise ConfigError(f"`directory` is {directory!r}. Give a path, such as runs/first.")
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise ConfigError(
            f"`callbacks` is {callbacks!r}. Give a list of functions, each to be called with the "
            "number and the figures of an iteration."
        )


def _validated(told: Mapping[str, Any], *, where: str) -> LM | MDP | Gym:
    kind = told.get("kind", "lm")
    if "env" in told and kind == "lm":  # which it is where nobody says
        raise ConfigError(f"`world.env` in {where} is of environments: add `world.kind=gym`.")
    if not isinstance(kind, str) or kind not in _WORLDS:
        raise ConfigError(
            f"`world.kind` in {where} is {kind!r}.{did_you_mean(str(kind), _WORLDS)} "
            f"It is {' or '.join(_WORLDS)}."
        )
    world = getattr(import_module("logpi"), _WORLDS[kind])
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
    for key in ("data", "eval_data", "model", "features", "env", "policy"):
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
    callbacks: Sequence[Callback] = (),
) -> Run:
    """The finished run that a configuration describes; see `train`."""
    recipe = recipe_of(config)
    world = world or world_of(config)
    wanted = directory or config.directory
    if wanted is not None and not resume:
        refuse_existing(Path(wanted))  # before a model is loaded for nothing
    if config.evaluate.stop_at is not None and not (config.evaluate.every or resume):
        raise ConfigError("evaluate.stop_at needs evaluations to stop at: set evaluate.every=10.")
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
        session = Session(trainer, rundir, quiet=quiet, callbacks=callbacks)
        try:
            signal = session.run(resume=resume)
        except BaseException:
            if not resume:
                rundir.discard_if_nothing_was_done()
            raise
        run = Run(rundir.path, world=world)
        if signal is not None:
            raise Stopped(run, signal)
        return run


def _unnamed() -> Path:
    raise ConfigError("which run to resume? Give its directory.")
