"""The same methods on a Gymnasium environment: it takes the steps, compiled code learns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from scipy.sparse import csr_array

from logpi.core.seeds import mix
from logpi.worlds.mdp.build import from_csr
from logpi.worlds.mdp.gymnasium_table import layout_of
from logpi.worlds.mdp.learning.arrays import FLAGS, Arrays
from logpi.worlds.mdp.learning.numbering import Numbering, numbering
from logpi.worlds.mdp.learning.walk import advance
from logpi.worlds.mdp.model import FiniteMDP, Layout

if TYPE_CHECKING:
    import gymnasium

__all__ = [
    "is_environment",
]


MOST_NAMES = 10_000


def is_environment(world: object) -> TypeGuard[gymnasium.Env[Any, Any]]:
    """Whether it is a Gymnasium environment; nobody can have one without importing Gymnasium.

    >>> is_environment("FrozenLake-v1")
    False
    """
    gym = sys.modules.get("gymnasium")
    return gym is not None and isinstance(world, gym.Env)


def form_of(env: gymnasium.Env[Any, Any]) -> FiniteMDP:
    """A model with the environment's states and actions, all allowed, but not its dynamics.

    Raises `ConfigError` where the observations or the actions are not discrete; see `numbering`.
    """
    seen = numbering(env.observation_space, "observation")
    taken = numbering(env.action_space, "action")
    states, actions = seen.size, taken.size
    rows = np.arange(states * actions)
    stays = csr_array((np.ones(len(rows)), (rows, rows // actions)), shape=(len(rows), states))
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    return from_csr(
        stays, np.zeros((states, actions)), 0.0, name=name,
        layout=_layout(env, seen, taken),
    )  # fmt: skip


def _layout(env: gymnasium.Env[Any, Any], seen: Numbering, taken: Numbering) -> Layout:
    """The grid of one of Gymnasium's own environments; what else its elements are called."""
    if _is_plain(seen) and _is_plain(taken):
        return layout_of(env.unwrapped, seen.size)
    return Layout(states=_names(seen), actions=_names(taken))


def _is_plain(numbers: Numbering) -> bool:
    return isinstance(numbers.element(0), int)


def _names(numbers: Numbering) -> tuple[str, ...]:
    """What elements of several parts are called; plain numbers, and very many, have no names."""
    if _is_plain(numbers) or numbers.size > MOST_NAMES:
        return ()
    return tuple(str(np.asarray(x).tolist() if isinstance(x, np.ndarray) else x)
                 for x in map(numbers.element, range(numbers.size)))  # fmt: skip


def walk_in(
    env: gymnasium.Env[Any, Any], seed: int, run: int
) -> Callable[[Arrays, int, int], None]:
    """A function like `walk.advance`, which it calls for each step that the environment has taken.

    The step is written where the model would be. Terminated episodes have nothing ahead of them;
    truncated ones, by a time limit, have.
    """
    number = numbering(env.observation_space, "observation").number
    element = numbering(env.action_space, "action").element
    seeds = [mix(seed, 0x6E4F, run) % 2**31]  # of the first reset alone; the rest follow from it

    def walk(x: Arrays, episodes: int, steps: int) -> None:
        # views of single fields: to look a field up in a record costs ten times as much
        episode, taken, time = x.run["episode"], x.run["steps"], x.run["time"]
        begun, start, action, limit = (x.run[f] for f in ("begun", "start", "action", "limit"))
        successor, paid, count = x.outcomes["successor"], x.outcomes["reward"], x.states["count"]
        most, actions = int(limit[0]), int(x.run["actions"][0])
        x.run["outside"] = True
        room = len(x.steps) if x.run["family"][0] == FLAGS.whole else sys.maxsize
        last = min(episodes, len(x.log))
        while episode[0] < last and taken[0] < steps:
            if not begun[0]:
                seen, _ = env.reset(seed=seeds.pop() if seeds else None)
                state = number(seen)
                start[0] = state
                count[state] = actions
                advance(x, episodes, sys.maxsize)
            if time[0] == room:
                break
            seen, reward, ended, cut, _ = env.step(element(int(action[0])))
            state = number(seen)
            successor[0], paid[0] = state, reward
            count[state] = 0 if ended else actions
            limit[0] = time[0] + 1 if cut else most
            advance(x, episodes, int(taken[0]) + 1)
        limit[0] = most

    return walk
