"""`RunDirectory`: the folder of a run. One process writes it; everybody may read it.

    runs/<name>/
      config.yaml  env.json  metrics.jsonl  decisions.jsonl  model/
      checkpoints/<iteration>/   *.safetensors state.json MANIFEST.json

`iteration` is that of the last finished one, everywhere: `save_checkpoint(k, ...)` stores what
there was after the metrics of k were recorded, and a resumed run goes on with k + 1.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from logpi.core.errors import ConfigError, RunError
from logpi.train import checkpoint as store
from logpi.train.checkpoint import Checkpoint
from logpi.train.config import RunConfig, validated
from logpi.train.environment import environment
from logpi.train.files import check_directory, disk_full, folder_in_one_go, sweep, sync, write_text
from logpi.train.latest import Latest
from logpi.train.lock import Lock
from logpi.train.overrides import read_yaml
from logpi.train.records import append_lines, as_lines, cut_after, read_lines

__all__ = [
    "RunDirectory",
    "read_config",
    "read_decisions",
    "read_metrics",
    "refuse_existing",
    "run_path",
    "summary",
]

_CONFIG, _ENV, _METRICS, _DECISIONS = "config.yaml", "env.json", "metrics.jsonl", "decisions.jsonl"
_WHY = ("nonfinite.jsonl", "failure.json")  # what a run that stopped leaves to look at
_RATES = ("lr", "critic_lr")  # written out when the run began, unset where it is asked for again
_MAY_CHANGE = (
    *("iterations", "directory", "log.", "checkpoint.", "evaluate.", "world.eval_"),
    *("world.evaluate_episodes", "world.step_timeout", "world.watch"),
)


class RunDirectory:
    """A run directory that this process may write: `create` or `resume` one, and close it.

    >>> import tempfile
    >>> from logpi.train.config import RunConfig
    >>> config = RunConfig(recipe={"name": "grpo"}, world={"kind": "lm"}, iterations=3)
    >>> with RunDirectory.create(config, Path(tempfile.mkdtemp()) / "first") as run:
    ...     run.record(1, {"reward": 0.5})
    ...     run.metrics()
    [{'iteration': 1, 'reward': 0.5}]
    """

    def __init__(self, path: Path, config: RunConfig, lock: Lock) -> None:
        self.path = path
        self.config = config
        self._lock = lock

    @classmethod
    def create(cls, config: RunConfig, directory: str | Path | None = None) -> Self:
        """A new run directory: `directory`, else the configuration's, else runs/RECIPE[-2, ...].

        Raises `RunError` where it exists and is not empty: runs are never overwritten.
        """
        wanted = directory if directory is not None else config.directory
        tries = (
            [Path(wanted)] if wanted is not None else _numbered(Path("runs") / config.recipe_name)
        )
        for path in tries:
            if wanted is not None:
                refuse_existing(path)
            elif path.exists():
                continue
            stored = config.model_copy(update={"directory": str(path)}).resolved()
            if _settle(path, stored, must=wanted is not None):
                return cls(path, stored, Lock(path))
        raise RunError("no free name was found for the run directory. Give one with `directory=`.")

    @classmethod
    def resume(cls, path: str | Path, config: RunConfig | None = None) -> Self:
        """The run directory at `path`, to be written again; leftovers of a crash are swept away.

        A given `config` may differ from the stored one in how long the run is, what it logs and
        when it checkpoints; config.yaml then says so. Raises `RunError` where another process
        writes the run, where there is none, or where the configuration is of another run.
        """
        path = Path(path)
        stored = read_config(path)
        lock = Lock(path)
        try:
            for folder in (path, path / "checkpoints"):
                sweep(folder)
            told = _read_env(path)
            told.setdefault("resumed", []).append(environment())
            with disk_full(path, "The whole run survives."):
                if config is not None:
                    stored = _agreed(stored, config, path)
                    write_text(path / _CONFIG, stored.to_yaml())
                write_text(path / _ENV, json.dumps(told, indent=1) + "\n")
        except BaseException:
            lock.release()
            raise
        return cls(path, stored, lock)

    @property
    def model_dir(self) -> Path:
        """Where the trained model goes, as a Hugging Face folder."""
        return self.path / "model"

    def metrics(self) -> list[dict[str, Any]]:
        """What `record` was given, one mapping an iteration."""
        return read_metrics(self.path)

    def record(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Nothing; metrics.jsonl has one line more. NaN and infinities become null."""
        append_lines(
            self.path / _METRICS,
            [{"iteration": iteration, **{k: v for k, v in metrics.items() if k != "iteration"}}],
        )

    def record_decisions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing; decisions.jsonl has one line more for each row, which says its `iteration`."""
        if any(not isinstance(row.get("iteration"), int) for row in rows):
            raise RunError(
                "a row of decisions must say its `iteration`: resuming cuts the file back by it."
            )
        append_lines(self.path / _DECISIONS, rows)

    def dump(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """The file of this name in the run, now holding these rows alone: why the run stopped."""
        path = self.path / name
        with disk_full(path, "The records and checkpoints survive."):
            write_text(path, as_lines(rows))
        return path

    def save_checkpoint(
        self, iteration: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> Path:
        """The new checkpoint's folder; older ones beyond `checkpoint.keep` that verify are gone.

        `tensors` maps policy, critic, optimizer, critic_optimizer to named tensors. Raises
        `RunError` where the disk is full; the run can then still be resumed from what was there
        before.
        """
        for name in (_METRICS, _DECISIONS):
            if (self.path / name).exists():
                with disk_full(self.path / name, "The checkpoints survive."):
                    sync(self.path / name)  # a checkpoint stands on it: it must not be younger
        folder = store.save(self.path / "checkpoints", iteration, tensors, state)
        store.prune(self.path / "checkpoints", self.config.checkpoint.keep)
        return folder

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, with the records cut back to it; None without any.

        It may be the place that was written after an iteration, where the records reach so far.
        Metrics and decisions of later iterations are dropped: they will be made again, the same.
        `skipped` says which newer checkpoints could not be used and why. Raises `RunError` where
        there are checkpoints and none verifies.
        """
        latest = Latest(self.path / "checkpoints").read()
        if latest and latest.iteration > _recorded(self.path):
            latest = None
        found = store.newest(self.path / "checkpoints", latest)
        iteration = found.iteration if found else None
        for name in (_METRICS, _DECISIONS):
            with disk_full(self.path / name, "The records and checkpoints survive as they were."):
                cut_after(self.path / name, iteration)
        return found

    @contextlib.contextmanager
    def exporting(self) -> Iterator[Path]:
        """A temporary folder that becomes `model_dir` when the block ends without an error."""
        newest = store.checkpoints(self.path / "checkpoints")
        survives = f"The checkpoint of iteration {newest[-1][0]} survives." if newest else ""
        with disk_full(self.model_dir, survives), folder_in_one_go(self.model_dir) as folder:
            yield folder

    def discard_if_nothing_was_done(self) -> None:
        """Nothing; a run that failed before its first iteration leaves no directory behind.

        What it tells of rows that were not finite, or of an environment that failed, stays.
        """
        told = [_METRICS, _DECISIONS, *_WHY, "checkpoints", "model"]
        if not any((self.path / name).exists() for name in told):
            shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Nothing; another process may write the run now."""
        self._lock.release()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing; the run is closed."""
        self.close()


def run_path(name: str, root: str | Path = "runs") -> Path:
    """Where the run of this name lives. Raises `ConfigError` where the name leaves `root`.

    >>> run_path("first").as_posix()
    'runs/first'
    """
    return Path(root) / check_directory(name)


def read_config(path: str | Path) -> RunConfig:
    """The configuration of a run directory. Raises `RunError` where there is none."""
    path = Path(path)
    file = path / _CONFIG
    if not path.is_dir():
        raise RunError(
            f"there is no run directory {path}. `logpi train` makes one; look in runs/ for others."
        )
    if not file.is_file():
        raise RunError(f"{path} is not a run directory: it has no {_CONFIG}.")
    try:
        return validated(RunConfig, read_yaml(file), where=str(file))
    except ConfigError as error:
        raise RunError(
            f"{error} The run cannot be resumed until its {_CONFIG} is repaired."
        ) from None


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """What was recorded at each iteration of the run."""
    return list(read_lines(Path(path) / _METRICS))


def read_decisions(path: str | Path) -> Iterator[dict[str, Any]]:
    """The sampled rows of the run, one after the other: the file may be large."""
    return read_lines(Path(path) / _DECISIONS)


def summary(path: str | Path) -> str:
    """What there is in a folder, in a few words: recipe, iterations done, last checkpoint."""
    path = Path(path)
    try:
        config = read_config(path)
    except RunError:
        return "something that is not a run"
    done = _recorded(path)
    found = store.checkpoints(path / "checkpoints")
    last = (
        f"its last checkpoint is of iteration {found[-1][0]}" if found else "it has no checkpoint"
    )
    return f"a {config.recipe_name} run, at iteration {done} of {config.iterations}; {last}"


def _recorded(path: Path) -> int:
    lines = read_metrics(path)
    return lines[-1].get("iteration", len(lines)) if lines else 0


def _numbered(stem: Path) -> Iterator[Path]:
    yield stem
    for number in itertools.count(2):
        yield stem.with_name(f"{stem.name}-{number}")


def refuse_existing(path: Path) -> None:
    """Nothing; raises `RunError` where something is in the way of a new run directory.

    >>> refuse_existing(Path("runs/a name that is free"))
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        what = f"it holds {summary(path)}" if path.is_dir() else "it is a file"
        raise RunError(
            f"{path} already exists: {what}. Runs are never overwritten. Go on with it with "
            "--resume (`resume=True` from Python), or choose another name."
        )


def _settle(path: Path, config: RunConfig, *, must: bool) -> bool:
    """Whether the directory was made. It appears with its files in it: nobody sees half of one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the run directory {path} cannot be made: {error}.") from error
    try:
        whole = folder_in_one_go(path, replace=False)
        with disk_full(path, "Nothing was written.", "begin again"), whole as folder:
            (folder / _CONFIG).write_text(config.to_yaml(), encoding="utf-8")
            env = json.dumps(environment(), indent=1) + "\n"
            (folder / _ENV).write_text(env, encoding="utf-8")
    except FileExistsError:
        if not must:
            return False
        refuse_existing(path)
        raise
    except OSError as error:
        raise RunError(
            f"the run directory {path} cannot be made: {error.strerror or error}."
        ) from error
    return True


def _read_env(path: Path) -> dict[str, Any]:
    try:
        told = json.loads((path / _ENV).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _agreed(stored: RunConfig, given: RunConfig, path: Path) -> RunConfig:
    unset = {n: getattr(stored.optim, n) for n in _RATES if getattr(given.optim, n) is None}
    given = given.model_copy(update={"optim": given.optim.model_copy(update=unset)})
    old, new = _flat(stored.plain()), _flat(given.plain())
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    wrong = [key for key in changed if not key.startswith(_MAY_CHANGE)]
    if wrong:
        told = "; ".join(
            f"`{key}` was {old.get(key)!r} and is {new.get(key)!r}" for key in wrong[:3]
        )
        raise RunError(
            f"{path} holds another run than the one to resume: {told}. A resumed run may change "
            "`iterations`, `log`, `checkpoint`, `evaluate`, the held-out data, and how long a step "
            "of an environment may take; for anything else start a new run."
        )
    if given.iterations < (done := _recorded(path)):
        raise RunError(
            f"{path} is at iteration {done} already, and `iterations` is {given.iterations}. Give "
            "at least as many, or leave it out."
        )
    return given.model_copy(update={"directory": stored.directory})


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict):
        return {
            k: v
            for name, inner in data.items()
            for k, v in _flat(inner, f"{prefix}{name}.").items()
        }
    return {prefix.removesuffix("."): data}
