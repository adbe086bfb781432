"""The errors that logpi raises: what was given, what was expected, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "DataError",
    "EnvironmentFailure",
    "GroupError",
    "LogpiError",
    "ModelError",
    "NonFiniteError",
    "PairError",
    "RewardError",
    "RunError",
    "ShapeError",
    "TrajectoryError",
]


class LogpiError(Exception):
    """The base of every error that logpi raises on purpose."""


class ShapeError(LogpiError, ValueError):
    """A tensor does not have the shape or dtype that its name promises."""


class GroupError(LogpiError, ValueError):
    """A credit that compares the rows of a group was given a group that cannot be compared."""


class PairError(LogpiError, ValueError):
    """A preference recipe was given rows that do not form a chosen and a rejected one."""


class TrajectoryError(LogpiError, ValueError):
    """A credit of whole trajectories was given a row that holds several of them, or none."""


class ConfigError(LogpiError, ValueError):
    """A recipe, key or value of the configuration is unknown or impossible."""


class DataError(LogpiError, ValueError):
    """A row of a data file cannot be used."""


class EnvironmentFailure(LogpiError, RuntimeError):
    """An environment raised, hung, or gave a number that is NaN or infinite.

    `environment` is its number, None where a vector of them cannot say which; `actions` are what
    it was asked to do since `reset(seed=seed)`, the last of them at that `step`.
    """

    def __init__(self, message: str) -> None:
        """The message; whoever knows the environment says more."""
        super().__init__(message)
        self.environment: int | None = None
        self.seed = self.step = 0
        self.actions: list[object] | None = None


class ModelError(LogpiError, ValueError):
    """A model or tokenizer is missing, or cannot do what the run needs."""


class RewardError(LogpiError, ValueError):
    """A reward function returned something that is not a reward, or failed too often."""


class RunError(LogpiError, RuntimeError):
    """A run directory cannot be written, read or resumed."""


class NonFiniteError(LogpiError, ArithmeticError):
    """A loss, reward or gradient is NaN or infinite; the optimizer has not moved.

    `rows` are the numbers of the rows that it comes from, None where all may have a part in it;
    `records` holds what is known of them, for the file that the run leaves behind.
    """

    def __init__(self, message: str, rows: Sequence[int] | None = None) -> None:
        """The message; whoever knows the rows adds their records."""
        super().__init__(message)
        self.rows = rows
        self.records: list[dict[str, object]] = []
