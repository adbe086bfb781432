"""The zoo: models that books print numbers for, and models of any size, by name.

`make("book_grid", discount=0.9)` builds one; `names()` lists them. Every entry is also a function
of this package, with its dynamics and its source in the docstring.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo.bandits import bandit
from logpi.worlds.mdp.zoo.berkeley import berkeley_grid
from logpi.worlds.mdp.zoo.blackjack import blackjack, blackjack_state
from logpi.worlds.mdp.zoo.book import book_grid, importance_sampling, two_state
from logpi.worlds.mdp.zoo.cars import jacks_cars
from logpi.worlds.mdp.zoo.examples import (
    access_control,
    baird,
    gambler,
    infinite_variance,
    maximisation_bias,
    recycling_robot,
    short_corridor,
)
from logpi.worlds.mdp.zoo.mazes import frozen_lake, maze, russell_norvig
from logpi.worlds.mdp.zoo.operations import forest, inventory, machine_replacement
from logpi.worlds.mdp.zoo.racing import racetrack
from logpi.worlds.mdp.zoo.random import garnet, slip_grid
from logpi.worlds.mdp.zoo.sentences import tokens_capital, tokens_choice, tokens_lengths
from logpi.worlds.mdp.zoo.small import (
    apple,
    dice_coin,
    puterman_two_state,
    reward_process,
    student,
    student_process,
    taxicab,
    toymaker,
)
from logpi.worlds.mdp.zoo.sutton import cliff, gridworld, random_walk, terminal_grid, windy
from logpi.worlds.mdp.zoo.tokens import tokens

_ENTRIES: dict[str, Callable[..., FiniteMDP]] = {
    f.__name__.replace("tokens_", "tokens/"): f
    for f in (
        book_grid, two_state, importance_sampling, apple, dice_coin, reward_process,
        gridworld, terminal_grid, cliff, windy, random_walk, maze, russell_norvig,
        berkeley_grid, frozen_lake, racetrack, gambler, jacks_cars, blackjack, short_corridor,
        infinite_variance, maximisation_bias, recycling_robot, baird, access_control, student,
        student_process, puterman_two_state, toymaker, taxicab, forest, inventory,
        machine_replacement, garnet, slip_grid, bandit, tokens, tokens_capital, tokens_lengths,
        tokens_choice,
    )
}  # fmt: skip

__all__ = [
    "access_control",
    "apple",
    "baird",
    "bandit",
    "berkeley_grid",
    "blackjack",
    "blackjack_state",
    "book_grid",
    "cliff",
    "dice_coin",
    "forest",
    "frozen_lake",
    "gambler",
    "garnet",
    "gridworld",
    "importance_sampling",
    "infinite_variance",
    "inventory",
    "jacks_cars",
    "machine_replacement",
    "make",
    "maximisation_bias",
    "maze",
    "names",
    "puterman_two_state",
    "racetrack",
    "random_walk",
    "recycling_robot",
    "reward_process",
    "russell_norvig",
    "short_corridor",
    "slip_grid",
    "student",
    "student_process",
    "taxicab",
    "terminal_grid",
    "tokens",
    "tokens_capital",
    "tokens_choice",
    "tokens_lengths",
    "toymaker",
    "two_state",
    "windy",
]


def make(name: str, **options: Any) -> FiniteMDP:
    """Return the model of that name; options are the keyword arguments of its function.

    >>> make("book_grid", r_forbidden=-10, discount=0.9)
    FiniteMDP('book_grid', states=25, actions=5, transitions=125, discount=0.9)

    Raises `ConfigError`, with the nearest name, where the name or an option is unknown, and where
    an option's value is none that it can have.
    """
    if name not in _ENTRIES:
        near = did_you_mean(str(name), _ENTRIES)
        raise ConfigError(f"the zoo has no `{name}`.{near} It has {', '.join(_ENTRIES)}.")
    known = inspect.signature(_ENTRIES[name]).parameters
    for option in options:
        if option not in known:
            raise ConfigError(
                f"`{name}` has no option `{option}`.{did_you_mean(option, known)} "
                f"It has {', '.join(known)}."
            )
    try:
        return _ENTRIES[name](**options)
    except (TypeError, ValueError) as error:  # a word for a number, a row that is shorter, ...
        if not options:
            raise
        told = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise ConfigError(
            f"`{name}` cannot be made with {told}: {str(error).rstrip('.')}."
        ) from error


def names() -> dict[str, str]:
    """Return what there is: each name with the first line of its description.

    >>> names()["two_state"]
    'Return the two cells side by side of Zhao, section 4.2.3: left, stay, right; target at s2.'
    """
    return {name: inspect.getdoc(f).splitlines()[0] for name, f in _ENTRIES.items()}  # type: ignore[union-attr]  # every entry has a docstring; a test asks
