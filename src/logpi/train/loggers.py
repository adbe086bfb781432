"""Metrics for others to draw: TensorBoard event files and Weights & Biases, where asked for."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from logpi.core.errors import ConfigError
from logpi.train.config import RunConfig
from logpi.train.files import disk_full

__all__ = ["Loggers"]


class _Logger(Protocol):
    def write(self, iteration: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Loggers:
    """What `log.tensorboard` and `log.wandb` ask for; nothing, and nothing imported, by default.

    `done` iterations came before: event files are cut there, so that a resumed run draws one line.
    Raises `ConfigError` with the command to run where a package is not installed.
    """

    def __init__(self, config: RunConfig, directory: Path, *, done: int = 0) -> None:
        self._all: list[_Logger] = []
        if config.log.tensorboard:
            self._all.append(_TensorBoard(directory / "tensorboard", done))
        if config.log.wandb:
            self._all.append(_WeightsAndBiases(config, directory))

    def record(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Nothing; every finite number among the metrics was handed on."""
        if not self._all:
            return
        figures = {
            name: float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and math.isfinite(value) and name != "iteration"
        }
        for logger in self._all:
            logger.write(iteration, figures)

    def close(self) -> None:
        """Nothing; everything is written."""
        while self._all:
            self._all.pop().close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing; the loggers are closed."""
        self.close()


class _TensorBoard:
    def __init__(self, folder: Path, done: int) -> None:
        module = _needed("torch.utils.tensorboard", key="log.tensorboard", package="tensorboard")
        self._full = functools.partial(disk_full, folder, "metrics.jsonl and the checkpoints stay.")
        self._writer = module.SummaryWriter(str(folder), purge_step=done + 1 if done else 0)

    def write(self, iteration: int, figures: Mapping[str, float]) -> None:
        with self._full():
            for name, value in figures.items():
                self._writer.add_scalar(name, value, iteration)
            self._writer.flush()

    def close(self) -> None:
        with self._full():
            self._writer.close()


class _WeightsAndBiases:
    def __init__(self, config: RunConfig, directory: Path) -> None:
        wandb = _needed("wandb", key="log.wandb", package="wandb")
        self._run = wandb.init(
            project="logpi",
            name=directory.name,
            dir=str(directory),
            config=config.plain(),
            resume="allow",
        )

    def write(self, iteration: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=iteration)

    def close(self) -> None:
        self._run.finish()


def _needed(module: str, *, key: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"`{key}=true` needs the package `{package}`, which cannot be imported ({error}). "
            f"Install it with `pip install {package}`, or leave `{key}` off: metrics.jsonl is "
            "written in any case."
        ) from None
