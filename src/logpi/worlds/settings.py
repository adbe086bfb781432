"""`Settings`: what a world is told, frozen, refused in our own words where it is not possible."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from logpi.core.complaint import complaint
from logpi.core.errors import ConfigError

__all__ = ["Settings"]


class Settings(BaseModel):
    """Frozen settings without unknown keys, NaN or infinity.

    >>> class World(Settings):
    ...     steps: int = 1
    >>> World(stepps=3)
    Traceback (most recent call last):
    logpi.core.errors.ConfigError: unknown key `stepps` in logpi.World(...). Did you mean `steps`?
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )

    def __init__(self, /, **told: Any) -> None:
        """The settings. Raises `ConfigError` where they are no possible ones."""
        try:
            super().__init__(**told)
        except ValidationError as error:
            kind = type(self)
            where, known = f"logpi.{kind.__name__}(...)", list(kind.model_fields)
            text = complaint(error.errors(), told, known=known, where=where)
            raise ConfigError(text) from None
