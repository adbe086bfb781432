"""Which recipes run in environments, and why the others do not."""

from __future__ import annotations

from typing import Protocol

from logpi.core.errors import ConfigError
from logpi.core.recipe import Recipe

__all__ = ["check_recipe"]

_ROWS = "Take reinforce, a2c, ppo, trpo, grpo or rloo."
_REASONS = {
    "demonstrations": "learns from demonstrations that somebody wrote down, and an environment "
    f"holds none: its decisions are the policy's own. {_ROWS}",
    "pairs": "learns from preferences between two given rows, and an environment holds none: it "
    f"gives rewards. {_ROWS} grpo and rloo compare episodes that begin alike.",
}


class _Settings(Protocol):
    @property
    def group_size(self) -> int:
        """Episodes from each reset seed."""
        ...

    @property
    def normalise_rewards(self) -> bool:
        """Whether rewards are divided by the returns' spread."""
        ...

    @property
    def shared(self) -> bool:
        """Whether the critic reads the policy's own layers."""
        ...


def check_recipe(name: str, recipe: Recipe, world: _Settings) -> None:
    """Raise `ConfigError`, which names the recipe and the reason, where it cannot run.

    >>> from logpi.core import coefficient, credit
    >>> dpo = Recipe("pairs", credit.preference_sign, coefficient.preference_margin())
    >>> check_recipe("dpo", dpo, world=None)
    Traceback (most recent call last):
    logpi.core.errors.ConfigError: `dpo` learns from preferences between two given rows, ...
    """
    if recipe.data in _REASONS:
        raise ConfigError(f"`{name}` {_REASONS[recipe.data]}")
    if recipe.data in ("groups", "mixed-groups") and world.group_size < 2:
        raise ConfigError(
            f"group_size is {world.group_size}, but `{name}` compares episodes from one reset seed "
            "and needs at least 2. Set world.group_size=8."
        )
    if recipe.data == "on-policy+greedy" and world.normalise_rewards:
        raise ConfigError(
            f"`{name}` compares an episode with a greedy one, whose rewards training never sees, "
            "so their spread cannot be taken off both. Set world.normalise_rewards=false."
        )
    if world.shared and recipe.critic != "v":
        raise ConfigError(
            f"`{name}` has no critic of states that could read the policy's layers. Leave out "
            "world.shared."
        )
