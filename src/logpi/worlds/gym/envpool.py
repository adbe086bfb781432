"""Environments of the envpool package, where it is installed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from gymnasium.vector import AutoresetMode

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean

__all__ = ["make_envpool"]


class _Pool:
    """What `Entry` reads of a vector environment, from an envpool.

    An envpool resets in the step after the last one, whose action it ignores. It has the seed that
    it was made with, so every reset makes another. It cannot be stored: a stream that is resumed
    begins new episodes.
    """

    def __init__(self, make: Callable[..., Any], spec: Any, num: int) -> None:
        self._make, self.num_envs = make, num
        self._pool: Any = None
        with _rounded_bounds():
            self.single_observation_space = spec.gymnasium_observation_space
            self.single_action_space = spec.gymnasium_action_space
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        self.close()
        with _rounded_bounds():
            self._pool = self._make(seed=seed)
            observation, info = self._pool.reset()
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self._pool.step(actions)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


@contextmanager
def _rounded_bounds() -> Iterator[None]:
    """Let nothing be said of bounds in float64 that become those of a space in float32."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*precision lowered")
        yield


def make_envpool(
    env: str | Callable[..., Any], num_envs: int, *, options: Mapping[str, Any]
) -> Any:
    """An envpool of `num_envs` environments of that id, as `Entry` reads one.

    Raises `ConfigError` where envpool is not installed, does not have the environment, or does not
    take an option.
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
    for name in ("num_envs", "batch_size", "seed", "env_seed"):
        if name in options:
            raise ConfigError(
                f"option `{name}` is not the environment's: all are stepped at once, and the "
                "run says how many and from which seed. Set world.num_envs or seed."
            )
    try:
        spec = envpool.make_spec(env, num_envs=num_envs, **options)
    except (AssertionError, ImportError, RuntimeError, TypeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise ConfigError(f"envpool cannot make `{env}` with {dict(options)}: {said}") from error
    if spec.config.max_num_players > 1:
        raise ConfigError(f"`{env}` is a game of several players, and this world has one policy.")
    return _Pool(partial(envpool.make_gymnasium, env, num_envs=num_envs, **options), spec, num_envs)
