"""Environments of the envpool package, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from gymnasium.vector import AutoresetMode

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean

__all__ = ["make_envpool"]


class _Pool:
    """What `Entry` reads of a vector environment, from an envpool.

    An envpool resets in the step after the last one, whose action it ignores. It cannot be reset
    with a seed, nor stored: a resumed run begins new episodes.
    """

    def __init__(self, pool: Any, num: int) -> None:
        self._pool, self.num_envs = pool, num
        self.single_observation_space = pool.observation_space
        self.single_action_space = pool.action_space
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        del seed  # given when the pool was made
        observation, info = self._pool.reset()
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self._pool.step(actions)

    def close(self) -> None:
        self._pool.close()


def make_envpool(
    env: str | Callable[..., Any], num_envs: int, *, seed: int, options: Mapping[str, Any]
) -> Any:
    """An envpool of `num_envs` environments of that id, as `Entry` reads one.

    Raises `ConfigError` where envpool is not installed or does not have the environment.
    """
    if not isinstance(env, str):
        raise ConfigError("mode=envpool needs the id of an environment. Take mode=sync.")
    try:
        envpool = importlib.import_module("envpool")
    except ImportError as error:
        raise ConfigError(
            f"mode=envpool needs the package envpool, which cannot be imported: {error}. "
            "`pip install envpool`, or take mode=sync or mode=async."
        ) from error
    known = list(envpool.list_all_envs())
    if env not in known:
        raise ConfigError(f"envpool has no `{env}`.{did_you_mean(env, known)}")
    pool = envpool.make_gymnasium(env, num_envs=num_envs, seed=seed % 2**31, **options)
    return _Pool(pool, num_envs)
