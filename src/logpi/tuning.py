"""Searching for hyper-parameters with Optuna: each trial is a run, and a study a folder of them.

    runs/<study>/
      study.json       what was asked for
      trials.jsonl     Optuna's journal: what was tried, intermediate scores, results
      trial-0/ ...     run directories; trial-0-seed-0/ ... where a trial has several seeds

A study that was stopped goes on where it was, and so does the trial that it was at.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from logpi.core.errors import ConfigError, LogpiError
from logpi.core.nearest import did_you_mean
from logpi.core.seeds import mix
from logpi.length import counted
from logpi.named import recipe_of, world_of
from logpi.run import Run, train_config
from logpi.train.best import score_of
from logpi.train.config import RunConfig, load_config
from logpi.train.files import write_text
from logpi.train.space import Dimension, rounded, split_space

__all__ = ["Spec", "Trial", "best_of", "command", "read_spec", "search"]

_SPEC, _JOURNAL = "study.json", "trials.jsonl"
_EVALUATIONS = 10  # of a trial, where the configuration does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a study was asked for: everything but how many trials."""

    source: str  # a recipe, a preset or a YAML file
    words: tuple[str, ...]  # overrides, and the ranges to search
    metric: str | None = None  # of metrics.jsonl; unset: what an evaluation is compared by
    minimize: bool = False
    seed: int = 0  # of the search
    seeds: int = 1  # runs of a trial, with the configuration's seed and the following ones

    @property
    def space(self) -> list[Dimension]:
        """What varies. Raises `ConfigError` where nothing does."""
        _, space = split_space(self.words)
        if not space:
            raise ConfigError(
                "there is nothing to search: give a range, as in optim.lr=log:1e-5..1e-2, "
                "recipe.lam=0.9..1, minibatches=1..8 or world.activation=choice:tanh,relu."
            )
        return space

    def config(self, values: Mapping[str, Any]) -> RunConfig:
        """The run of one trial. Raises `ConfigError` where it is not a possible one."""
        words = counted(self.overrides(values), partial(load_config, self.source))
        config = load_config(self.source, words)
        if config.evaluate.every:
            return config
        every = max(1, config.iterations // _EVALUATIONS)
        return load_config(self.source, [*words, f"evaluate.every={every}"])

    def runs(self, values: Mapping[str, Any], folder: Path) -> list[tuple[RunConfig, Path]]:
        """The runs of one trial, and where each is written; `folder` is that of a single one."""
        config = self.config(values)
        if self.seeds == 1:
            return [(config, folder)]
        seeds = range(config.seed, config.seed + self.seeds)
        return [
            (
                config.model_copy(update={"seed": seed}),
                folder.with_name(f"{folder.name}-seed-{seed}"),
            )
            for seed in seeds
        ]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The key=value words of one trial."""
        fixed, _ = split_space(self.words)
        return [*fixed, *(f"{key}={_word(value)}" for key, value in values.items())]

    def score(self, metrics: Mapping[str, Any]) -> float | None:
        """What this iteration's figures are worth, where they were evaluated."""
        if self.metric is not None:
            value = metrics.get(self.metric)
            return float(value) if isinstance(value, int | float) else None
        found = {k.removeprefix("eval/"): v for k, v in metrics.items() if k.startswith("eval/")}
        return score_of(found)

    def plain(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {
            "source": self.source,
            "words": list(self.words),
            "metric": self.metric,
            "minimize": self.minimize,
            "seed": self.seed,
            "seeds": self.seeds,
        }


@dataclass(slots=True)
class Trial:
    """One trial as a person reads it."""

    number: int
    state: str  # complete, pruned, fail or running
    score: float | None  # the mean over its seeds
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    scores: tuple[float, ...] = ()  # of each seed that was run to its end


def search(
    spec: Spec, folder: Path, *, trials: int, said: Callable[[Trial], None] = lambda trial: None
) -> list[Trial]:
    """All trials of the study in the folder, once `trials` of them are over.

    `said` is told of each that ends. A trial is pruned when it falls behind the median of the
    earlier ones at the same iteration; one that fails is kept as such. Raises `ConfigError` where
    Optuna is missing, where the folder holds another study, or where no trial is possible.
    """
    optuna = _optuna()
    config = spec.config(_lowest(spec))  # before anything is written
    world_of(config).check(config.recipe_name, recipe_of(config))
    _settle(spec, folder)
    study = _opened(optuna, spec, folder)
    while True:
        over = [t for t in study.trials if t.state.is_finished()]
        stale = [t for t in study.trials if not t.state.is_finished()]
        if len(over) >= trials:
            return [_told(t) for t in study.trials]
        study.sampler = optuna.samplers.TPESampler(seed=mix(spec.seed, len(over)) % 2**32)
        # A trial that a stop left behind goes on: its values are in the journal.
        trial = optuna.trial.Trial(study, stale[0]._trial_id) if stale else study.ask()
        _run(optuna, spec, study, trial, folder)
        said(_told(study.trials[trial.number]))


def best_of(trials: Sequence[Trial], *, minimize: bool = False) -> list[Trial]:
    """The trials that were not cut short, the best first.

    >>> [t.number for t in best_of([Trial(0, "complete", 1.0), Trial(1, "complete", 2.0)])]
    [1, 0]
    """
    whole = [t for t in trials if t.state == "complete" and t.score is not None]
    sign = 1 if minimize else -1
    return sorted(whole, key=lambda t: sign * (t.score or 0.0))


def command(spec: Spec, trial: Trial) -> str:
    """The command that trains what this trial trained.

    >>> spec = Spec(source="ppo/cartpole", words=("optim.lr=1e-4..1e-2",))
    >>> command(spec, Trial(3, "complete", 500.0, {"optim.lr": 0.001}))
    'logpi train ppo/cartpole optim.lr=0.001'
    """
    return shlex.join(["logpi", "train", spec.source, *spec.overrides(trial.values)])


def read_spec(folder: Path) -> Spec | None:
    """What the study in the folder was asked for, if there is one."""
    path = folder / _SPEC
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Spec(**{**told, "words": tuple(told["words"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}). Start a study elsewhere: --name NAME."
        ) from None


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise ConfigError(
            f"searching needs the package optuna, which cannot be imported ({error}). Install it "
            "with `pip install optuna`, or logpi with its extra: `pip install 'logpi[tune]'`."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _settle(spec: Spec, folder: Path) -> None:
    known = read_spec(folder)
    if known is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} holds something else than a study. Give another --name.")
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _SPEC, json.dumps(spec.plain(), indent=1) + "\n")
    elif known != spec:
        was = shlex.join([known.source, *known.words])
        raise ConfigError(
            f"{folder} holds another study, `logpi tune {was}`. Go on with it by `--resume "
            f"{folder.name}`, or give this one another --name."
        )


def _opened(optuna: Any, spec: Spec, folder: Path) -> Any:
    journal = importlib.import_module("optuna.storages.journal")
    iterations = spec.config(_lowest(spec)).iterations
    return optuna.create_study(
        study_name="logpi",
        storage=optuna.storages.JournalStorage(journal.JournalFileBackend(str(folder / _JOURNAL))),
        direction="minimize" if spec.minimize else "maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=iterations // 10),
        load_if_exists=True,
    )


class _Report:
    """Called after every iteration: hands scores to Optuna, and ends the run that fell behind.

    What Optuna sees is the mean over the seeds that are over and the one that runs. Its steps go on
    from seed to seed, so that trials are compared after equally many seeds and iterations.
    """

    def __init__(self, spec: Spec, trial: Any, known: Collection[int]) -> None:
        self.spec, self.trial, self.known = spec, trial, known
        self.over: list[float] = []  # the last score of each seed
        self.step = 0  # iterations of the seeds that are over
        self.pruned = False

    def __call__(self, iteration: int, metrics: Mapping[str, Any]) -> bool:
        score = self.spec.score(metrics)
        if score is None:
            return False
        if self.step + iteration not in self.known:  # as it is where a trial goes on
            self.trial.report(fmean([*self.over, score]), self.step + iteration)
        self.pruned = self.trial.should_prune()
        return self.pruned

    def finish(self, run: Run) -> bool:
        """Whether the run, which is over, has a score: its last one."""
        scores = [s for m in run.metrics if (s := self.spec.score(m)) is not None]
        self.over += scores[-1:]
        self.step += run.config.iterations
        return bool(scores)


def _run(optuna: Any, spec: Spec, study: Any, trial: Any, folder: Path) -> None:
    """One trial, from where it is to its end."""
    states = optuna.trial.TrialState
    values = {d.key: _suggested(trial, d) for d in spec.space}
    trial.set_user_attr("values", values)
    report = _Report(spec, trial, set(study.trials[trial.number].intermediate_values))
    try:
        for config, directory in spec.runs(values, folder / f"trial-{trial.number}"):
            resume = (directory / "config.yaml").is_file()
            told: dict[str, Any] = {"directory": directory, "resume": resume, "quiet": True}
            run = train_config(config, callbacks=[report], **told)
            if report.pruned:
                study.tell(trial, state=states.PRUNED)
                return
            if not report.finish(run):
                raise ConfigError(_without_score(spec, run))
    except LogpiError as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=states.FAIL)
        if not any(t.state.is_finished() and "error" not in t.user_attrs for t in study.trials):
            raise  # nothing has worked yet: this is what to repair first
        return
    trial.set_user_attr("scores", report.over)
    study.tell(trial, fmean(report.over))


def _without_score(spec: Spec, run: Run) -> str:
    told = {k for line in run.metrics for k, v in line.items() if isinstance(v, int | float)}
    figures = sorted(told - {"iteration"})
    if spec.metric is None:
        return (
            f"no iteration of {run.directory} was evaluated with a score. Give held-out data "
            f"(world.eval_data=...), or name a figure by --metric: {', '.join(figures)}."
        )
    return (
        f"no iteration of {run.directory} has `{spec.metric}`.{did_you_mean(spec.metric, figures)} "
        f"There are {', '.join(figures)}."
    )


def _suggested(trial: Any, d: Dimension) -> Any:
    if d.kind == "choice":
        return trial.suggest_categorical(d.key, list(d.choices))
    if d.kind == "int":
        return trial.suggest_int(d.key, int(d.low), int(d.high), log=d.log)
    return rounded(trial.suggest_float(d.key, d.low, d.high, log=d.log), d)


def _lowest(spec: Spec) -> dict[str, Any]:
    """Every dimension's first value: a trial like any other, to see whether one is possible."""

    def first(d: Dimension) -> Any:
        return d.choices[0] if d.choices else int(d.low) if d.kind == "int" else d.low

    return {d.key: first(d) for d in spec.space}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _told(trial: Any) -> Trial:
    score = trial.value
    if score is None and trial.intermediate_values:
        score = trial.intermediate_values[max(trial.intermediate_values)]
    values = trial.user_attrs.get("values", dict(trial.params))
    scores = tuple(trial.user_attrs.get("scores", ()))
    return Trial(trial.number, trial.state.name.lower(), score, dict(values), scores)
