"""`train`, and the `Run` it returns: where recipe, world, loop and run directory meet."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logpi import played
from logpi.core.errors import ConfigError, RunError
from logpi.length import how_long
from logpi.named import given_world, recipe_of, world_of
from logpi.session import Callback, Session
from logpi.train.config import RunConfig, build_config, check_keys
from logpi.train.files import disk_full
from logpi.train.loop import Trainer
from logpi.train.rundir import RunDirectory, read_config, read_metrics, refuse_existing

if TYPE_CHECKING:
    from logpi.worlds.gym.world import Gym
    from logpi.worlds.lm.world import LM
    from logpi.worlds.mdp.world import MDP

__all__ = ["Figures", "Run", "Stopped", "train", "train_config"]


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
        self,
        *,
        examples: int | None = None,
        samples: int = 1,
        episodes: int | None = None,
        seed: int | None = None,
    ) -> Figures:
        """Figures of the exported model. In the finite world they are exact.

        Of a language model on held-out data: greedy, or of `samples` samples with pass@k. In
        environments, of `episodes` greedy episodes: `run.evaluate(episodes=100).mean_return`.

        What is drawn follows from `seed`, the run's own by default: then the first episodes are
        those that the run measured itself by, and its best policy was chosen by. Another seed
        plays others. Raises `ConfigError` where the run has no held-out data or no model yet.
        """
        told = {"examples": examples, "samples": samples, "episodes": episodes, "seed": seed}
        for name, count in told.items():
            least = int(name != "seed")
            if count is not None and (not isinstance(count, Integral) or count < least):
                raise ConfigError(f"{name} is {count!r}. Give a whole number of at least {least}.")
        config = self.config
        world = self._world or world_of(config)
        self._need_model()
        with contextlib.ExitStack() as resources:
            seed = config.seed if seed is None else seed
            evaluator = world.evaluator(recipe_of(config), self.model_dir, resources, seed=seed)
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
    world = given_world(world)
    _check_arguments(directory, callbacks)
    told = {"recipe": dict(recipe) if isinstance(recipe, Mapping) else recipe, **settings}
    check_keys(settings)
    iterations = how_long(world, recipe, iterations, total_steps)
    config = build_config({**told, "world": world.model_dump(), "iterations": iterations})
    how = {"directory": directory, "resume": resume, "quiet": quiet, "callbacks": callbacks}
    return train_config(config, world=world, **how)


def _check_arguments(directory: Any, callbacks: Any) -> None:
    is_path = directory is None or isinstance(directory, str | PathLike)
    if not is_path or (directory is not None and not Path(directory).name):
        raise ConfigError(f"`directory` is {directory!r}. Give a path, such as runs/first.")
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise ConfigError(
            f"`callbacks` is {callbacks!r}. Give a list of functions, each to be called with the "
            "number and the figures of an iteration."
        )


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
    _refuse_early(config, wanted, resume=resume)
    with contextlib.ExitStack() as resources:
        scratch = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        with disk_full(scratch, "Nothing was written.", "begin again"):
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
        except BaseException as error:
            if not resume and not isinstance(error, RunError):  # else a full disk: to be resumed
                rundir.discard_if_nothing_was_done()
            raise
        run = Run(rundir.path, world=world)
        if signal is not None:
            raise Stopped(run, signal)
        return run


def _refuse_early(config: RunConfig, wanted: str | Path | None, *, resume: bool) -> None:
    """Raise before a model is loaded for nothing."""
    if resume:
        read_config(wanted or _unnamed())
        return
    if wanted is not None:
        refuse_existing(Path(wanted))
    if config.evaluate.stop_at is not None and not config.evaluate.every:
        raise ConfigError("evaluate.stop_at needs evaluations to stop at: set evaluate.every=10.")


def _unnamed() -> Path:
    raise ConfigError("which run to resume? Give its directory.")
