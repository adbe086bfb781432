"""logpi: reinforcement learning as one equation, in finite MDPs, Gymnasium and language models.

    ∇J(θ) = E_data[ coefficient · ∇ log π_θ(action | state) ]

Names are imported when they are first used: `import logpi` loads neither torch nor transformers.

>>> import logpi
>>> logpi.RECIPES["dr_grpo"].data
'groups'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logpi import audit, core, mdp
    from logpi.core.errors import LogpiError
    from logpi.core.recipe import Recipe
    from logpi.recipes import RECIPES, recipe
    from logpi.run import Run, Stopped, train
    from logpi.worlds.gym.world import Gym
    from logpi.worlds.lm.world import LM
    from logpi.worlds.mdp.world import MDP

__version__ = "0.1.0"

__all__ = [
    "LM",
    "MDP",
    "RECIPES",
    "Gym",
    "LogpiError",
    "Recipe",
    "Run",
    "Stopped",
    "audit",
    "core",
    "mdp",
    "recipe",
    "train",
]

_HOME = {
    "Gym": "logpi.worlds.gym.world",
    "LM": "logpi.worlds.lm.world",
    "MDP": "logpi.worlds.mdp.world",
    "LogpiError": "logpi.core.errors",
    "RECIPES": "logpi.recipes",
    "Recipe": "logpi.core.recipe",
    "Run": "logpi.run",
    "Stopped": "logpi.run",
    "recipe": "logpi.recipes",
}
_EXTRAS = {"Gym": "gym", "LM": "lm"}  # what brings the packages that a world needs
_PACKAGES = ("audit", "core", "mdp", "train")  # `logpi.audit` and `logpi.train` can be called


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    if name in _PACKAGES:
        return import_module(f"logpi.{name}")
    if name not in _HOME:
        raise AttributeError(
            f"module 'logpi' has no attribute {name!r}. It has: {', '.join(__all__)}."
        )
    try:
        value = getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if name not in _EXTRAS:
            raise
        raise _without(name, error) from error
    globals()[name] = value
    return value


def _without(name: str, error: ModuleNotFoundError) -> Exception:
    """The error that says what brings the package that a world was not imported for."""
    from logpi.core.errors import ConfigError  # noqa: PLC0415 - comes with torch

    return ConfigError(
        f"logpi.{name} needs the package {error.name}, which is not installed. Install logpi with "
        f"its extra: `pip install 'logpi[{_EXTRAS[name]}]'`."
    )


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
