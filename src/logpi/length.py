"""How long a run is: iterations, or the decisions that come to so many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from logpi.core.errors import ConfigError
from logpi.named import world_of
from logpi.recipes import recipe as named_recipe
from logpi.train.config import RunConfig, validated
from logpi.train.overrides import parse_override

if TYPE_CHECKING:
    from logpi.worlds.gym.world import Gym
    from logpi.worlds.lm.world import LM
    from logpi.worlds.mdp.world import MDP

__all__ = ["counted", "how_long", "iterations_of"]

_HOW_LONG = "how long shall it train? Say iterations=100, or in environments total_steps=100_000."


def how_long(
    world: LM | MDP | Gym, recipe: str | Mapping[str, Any], iterations: Any, total_steps: Any
) -> Any:
    """The iterations that were asked for, or those that so many decisions come to.

    Raises `ConfigError` where neither was told, or both.

    >>> import logpi
    >>> how_long(logpi.MDP("cliff"), "trpo", 50, None)
    50
    """
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


def counted(words: Sequence[str], config_of: Callable[[list[str]], RunConfig]) -> list[str]:
    """The words, where `total_steps=N` among them is put as the iterations that it comes to.

    `config_of` makes the configuration of such words.

    >>> from functools import partial
    >>> from logpi.train.config import load_config
    >>> counted(["seed=1", "total_steps=1000"], partial(load_config, "ppo/cartpole"))
    ['seed=1', 'iterations=4']
    """
    keys = [word.partition("=")[0].strip() for word in words]
    told = dict(zip(keys, words, strict=True))
    if "total_steps" not in told:
        return list(words)
    others = [word for key, word in zip(keys, words, strict=True) if key != "total_steps"]
    # A length that stands for any: of this only world and recipe are read.
    of_any_length = config_of([*others, "iterations=1", "optim.warmup=0"])
    count = iterations_of(
        world_of(of_any_length),
        of_any_length.recipe,
        parse_override(told["total_steps"])[1],
        iterations=told.get("iterations"),
    )
    return [*others, f"iterations={count}"]
