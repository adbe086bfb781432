"""One process's part of a run: the loop, with its records, evaluations, checkpoints and signals."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from logpi.core.errors import EnvironmentFailure, LogpiError, NonFiniteError, RewardError, RunError
from logpi.train.best import GOALS, Best
from logpi.train.interrupt import Interrupt
from logpi.train.latest import Latest
from logpi.train.loggers import Loggers
from logpi.train.loop import Trainer
from logpi.train.progress import Reporter
from logpi.train.rundir import RunDirectory, read_metrics

__all__ = ["Callback", "Session"]

Callback = Callable[[int, Mapping[str, Any]], Any]
"""Called after every iteration with its number and figures; a true answer ends the run there."""


class Session:
    """The turns of the loop from where the run is to where it ends, and what is kept of them."""

    def __init__(
        self,
        trainer: Trainer,
        rundir: RunDirectory,
        *,
        quiet: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Nothing has happened yet."""
        self.trainer, self.rundir, self.quiet = trainer, rundir, quiet
        self.config, self.callbacks = rundir.config, callbacks
        self._why: str | None = None
        self._failure = rundir.path / "failure.json"
        self._latest = Latest(rundir.path / "checkpoints")
        self._best = Best(rundir.path / "best") if self.config.evaluate.keep_best else None

    def run(self, *, resume: bool) -> str | None:
        """The signal that ended the run early, after a checkpoint; None once it is finished."""
        config, trainer = self.config, self.trainer
        if resume:
            self._restore()
        with (
            Interrupt(quiet=self.quiet) as interrupt,
            self._reporter() as reporter,
            Loggers(config, self.rundir.path, done=trainer.done) as loggers,
        ):
            if not trainer.done and config.evaluate.every:
                figures = self._evaluate()
                self.rundir.record(0, figures)
                loggers.record(0, figures)
            while trainer.done < config.iterations:
                metrics = self._iterate()
                self.rundir.record(trainer.done, metrics)
                loggers.record(trainer.done, metrics)
                reporter.update(trainer.done, metrics)
                if idle := self._idle(metrics):
                    reporter.say(f"iteration {trainer.done}: {idle}.")
                if interrupt and trainer.done < config.iterations:
                    self._checkpoint()
                    return str(interrupt.requested)
                if self._enough(metrics):
                    break
                if config.checkpoint.every:
                    self._keep()
        self._checkpoint()
        self._latest.remove()
        self._failure.unlink(missing_ok=True)  # what failed once has gone well
        self._refuse_fruitless()
        with self.rundir.exporting() as folder:
            trainer.world.export(folder)
        return None

    def _reporter(self) -> Reporter:
        return Reporter(
            self.config.iterations,
            done=self.trainer.done,
            before=read_metrics(self.rundir.path),
            title=self.config.recipe_name,
            decisions="tokens" if self.config.world["kind"] == "lm" else "decisions",
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
            raise self._dumped(error) from error
        except EnvironmentFailure as error:
            self._tell(error)
            if trainer.done:
                self._checkpoint()
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

    def _idle(self, metrics: Mapping[str, float]) -> str | None:
        """Why nothing was learned, said of the first of several such iterations alone."""
        before, self._why = self._why, None
        if not metrics["rows"]:
            self._why = "no rows were left to learn from"
        elif metrics.get("skipped") == 1.0 and self.trainer.recipe.data == "filtered":
            self._why = "nothing passed recipe.threshold, so there was nothing to learn"
        elif metrics.get("skipped") == 1.0:
            self._why = "every credit was 0, so there was nothing to learn"
        return self._why if self._why != before else None

    def _refuse_fruitless(self) -> None:
        """Raise `RewardError` where a whole run was filtered away."""
        trainer, config = self.trainer, self.config
        if trainer.recipe.data != "filtered" or trainer.done < config.iterations:
            return
        lines = [line for line in read_metrics(self.rundir.path) if "rows" in line]
        if not lines or any(line["skipped"] < 1 for line in lines):
            return
        mean = lines[-1].get("return", lines[-1].get("reward", math.nan))
        raise RewardError(
            f"none of {sum(line['rows'] for line in lines):.0f} rows passed the filter (the mean "
            f"return of the last iteration was {mean:.4g}), and the policy that they are drawn "
            "from does not change: nothing was learned. Lower recipe.threshold, or take online_rft."
        )

    def _evaluate(self) -> dict[str, float]:
        trainer = self.trainer
        try:
            figures = trainer.world.evaluate(examples=self.config.evaluate.examples)
        except EnvironmentFailure as error:
            self._tell(error)
            raise
        if self._best is not None:
            self._best.consider(trainer.done, figures, trainer.world.export)
        return {f"eval/{name}": value for name, value in figures.items()}

    def _enough(self, metrics: Mapping[str, float]) -> bool:
        """Whether the goal was reached, or a callback says that it is enough."""
        try:
            told = [bool(callback(self.trainer.done, metrics)) for callback in self.callbacks]
        except Exception:  # what was learned is not lost for it
            self._checkpoint()
            raise
        target = self.config.evaluate.stop_at
        goals = (f"eval/{name}" for name in GOALS)
        reached = next((metrics[name] for name in goals if name in metrics), -math.inf)
        return any(told) or (target is not None and reached >= target)

    def _dumped(self, error: NonFiniteError) -> NonFiniteError:
        """The same error, which says where its rows are to be seen."""
        text, count = f"iteration {self.trainer.done + 1}: {error}", len(error.records)
        if count:
            some = "row is" if count == 1 else "rows are"
            of = "" if error.rows is None or len(error.rows) == count else f" of {len(error.rows)}"
            try:
                path = self.rundir.dump("nonfinite.jsonl", error.records)
                text += f" {count}{of} {some} in {path}."
            except RunError as full:  # what is not finite is the news
                text += f" And {full}"
        told = NonFiniteError(text, error.rows)
        told.records = error.records
        return told

    def _tell(self, error: EnvironmentFailure) -> None:
        """Keep how to see the failure again, and say so."""
        told = {key: getattr(error, key) for key in ("environment", "seed", "step", "actions")}
        held = "the actions that lead here"
        if error.actions is None:  # of a vector that cannot say which environment it was
            held = "no actions: world.mode=sync keeps them"
        shown = f"; {self._failure} holds {held}."
        try:
            self.rundir.dump(self._failure.name, [{"what": str(error), **told}])
        except RunError as full:  # the failure is the news
            shown = f". And {full}"
        error.args = (
            f"{error} Repair the environment, then go on with `logpi train --resume "
            f"{self.rundir.path}`{shown}",
        )

    def _keep(self) -> None:
        """What this iteration left: on the disk for certain, or at least out of this process."""
        trainer = self.trainer
        if trainer.done % self.config.checkpoint.every == 0:
            self._checkpoint()
        elif self._latest.due():
            self._latest.write(trainer.done, trainer.tensors(), trainer.state())

    def _checkpoint(self) -> None:
        trainer = self.trainer
        self.rundir.save_checkpoint(trainer.done, trainer.tensors(), trainer.state())

    def _restore(self) -> None:
        """Go on from where the run is, and say what of it is not as one would expect."""
        found, path = self.rundir.load_checkpoint(), self.rundir.path
        if found is None:
            _say(f"{path} has no checkpoint to go on from: it begins anew, at iteration 1.")
            return
        for skipped in found.skipped:
            _say(f"{skipped}.")
        if found.skipped:
            _say(f"{path} goes on after iteration {found.iteration}.")
        self.trainer.restore(found.tensors, found.state)
        if (done := self.trainer.done) >= self.config.iterations:
            _say(f"{path} is at iteration {done} of {self.config.iterations}: nothing is left.")


def _say(line: str) -> None:
    print(f"logpi: {line}", file=sys.stderr)
