"""Several environments from a name or a function, in the mode that is asked for."""

from __future__ import annotations

import importlib
import multiprocessing
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal, get_args

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import (
    DependencyNotInstalled,
    DeprecatedEnv,
    Error,
    NamespaceNotFound,
    UnregisteredEnv,
)
from gymnasium.utils.env_checker import check_env
from gymnasium.vector.utils import CloudpickleWrapper

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.gym.entry import Entry
from logpi.worlds.gym.envpool import make_envpool
from logpi.worlds.gym.renewed import KEEPS, Renewed
from logpi.worlds.gym.vector import Sync, Vector
from logpi.worlds.gym.watched import Watched
from logpi.worlds.gym.workers import Async

__all__ = ["Mode", "findings", "make_one", "make_vector", "name_of"]

Mode = Literal["auto", "vector_entry_point", "sync", "async", "envpool"]
"""How several environments are run.

auto                 the environment's own vector form where Gymnasium has one that can be stored,
                     else sync
vector_entry_point   the environment's own vector form
sync                 one after the other, in this process
async                in processes of their own
envpool              by the envpool package
"""

_MODES = get_args(Mode)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def make_one(env: str | Callable[..., Any], options: Mapping[str, Any] | None = None) -> Any:
    """One environment, of a registered id or made by a function, with these options.

    Raises `ConfigError` where the id is unknown, something is not installed, or an option is wrong.

    >>> make_one("CartPole-v2")
    Traceback (most recent call last):
        ...
    logpi.core.errors.ConfigError: Gymnasium knows no `CartPole-v2`. Did you mean `CartPole-v1`? ...
    """
    with _explained(env):
        if callable(env):
            made = env(**(options or {}))
        else:
            made = gymnasium.make(env, disable_env_checker=True, **(options or {}))
    return _whole(env, made, ("observation_space", "action_space", "reset", "step"))


def name_of(env: str | Callable[..., Any]) -> str:
    """What an environment is called: by its id, or as the function that makes it.

    >>> name_of("CartPole-v1"), name_of(partial(gymnasium.make, "CartPole-v1"))
    ('CartPole-v1', 'make')
    """
    if isinstance(env, str):
        return env
    made = env.func if isinstance(env, partial) else env
    return getattr(made, "__name__", type(made).__name__)


def make_vector(
    env: str | Callable[..., Any],
    num_envs: int,
    mode: Mode = "auto",
    *,
    seed: int,
    options: Mapping[str, Any] | None = None,
    timeout: float = 60.0,
    renew: bool | None = None,
    watch: bool = False,
) -> Vector:
    """`num_envs` environments of that id, or made by that function, with these options.

    In mode `vector_entry_point` a function makes all of them: it is called with `num_envs` too.
    `timeout` is the most seconds that a step may take in mode `async`, and with `watch` in `sync`;
    the others cannot see a step that hangs. With `renew` each is made anew for every episode, in
    `sync` and `async`; unset, those are that need it (`renewed.KEEPS`). Raises `ConfigError` where
    the environment or its spaces cannot be had.

    >>> make_vector("CartPole-v1", 2, "sync", seed=0).reset()[0].shape
    (2, 4)
    """
    if num_envs < 1:
        raise ConfigError(f"num_envs is {num_envs}, but at least one environment is needed.")
    known = dict(options or {})
    _check_each(mode, renew=renew, watch=watch)
    one = _one_of(env, known, renew=renew)
    if mode == "envpool":
        return Entry(make_envpool(env, num_envs, options=known), seed, stored=False)
    if mode == "vector_entry_point":
        return _entry(env, num_envs, seed=seed, options=known)
    if mode == "auto" and isinstance(env, str) and not (renew or watch):
        with suppress(ConfigError):  # whatever is wrong with name or options, sync says too
            return _entry(env, num_envs, seed=seed, options=known)
    if mode == "async":
        return Async([one] * num_envs, seed, timeout=timeout)
    if mode in ("auto", "sync"):
        return Sync([partial(_watched, one, timeout) if watch else one] * num_envs, seed)
    raise ConfigError(f"unknown mode `{mode}`.{did_you_mean(mode, _MODES)} There are {_MODES}.")


def _check_each(mode: Mode, *, renew: bool | None, watch: bool) -> None:
    """Raise `ConfigError` where what is asked of each environment cannot be."""
    if (renew or watch) and mode in ("vector_entry_point", "envpool"):
        what = "made anew" if renew else "watched"
        raise ConfigError(f"in mode={mode} no environment is {what}. Take mode=sync or async.")


def _one_of(
    env: str | Callable[..., Any], options: Mapping[str, Any], *, renew: bool | None
) -> Callable[[], Any]:
    """What makes one of several environments, which may renew itself."""
    one = partial(make_one, env, options)
    if renew is None:
        renew = isinstance(env, str) and env in KEEPS
    return partial(Renewed, one) if renew else one


def _watched(one: Callable[[], Any], timeout: float) -> Watched:
    return Watched(one(), timeout=timeout)


def findings(
    env: str | Callable[..., Any],
    options: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
) -> list[str]:
    """What Gymnasium's `env_checker` finds fault with, as sentences.

    With a `timeout` it looks in a process of its own, and says where that takes longer.

    >>> findings("Acrobot-v1")
    []
    """
    if timeout is None:
        return _findings(env, options)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    here, there = context.Pipe()
    look: Any = partial(_findings, env, options)
    process = context.Process(target=_tell, args=(there, CloudpickleWrapper(look)), daemon=True)
    process.start()
    there.close()
    try:
        if here.poll(timeout):
            return here.recv()
        return [f"the checker took longer than {timeout:g} s: a reset or a step hangs"]
    except EOFError:
        return ["a reset or a step ended the checker's process"]
    finally:
        process.kill()
        process.join()
        here.close()


def _tell(pipe: Connection, look: Callable[[], list[str]]) -> None:
    try:
        pipe.send(look())
    except ConfigError as error:  # whoever makes the environments will say it too
        pipe.send([str(error)])


def _findings(env: str | Callable[..., Any], options: Mapping[str, Any] | None) -> list[str]:
    one = make_one(env, options).unwrapped
    wrong = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(one, skip_render_check=True)
        except Exception as error:
            wrong = " ".join(str(error).split()) or type(error).__name__
    one.close()
    told = [_COLOUR.sub("", str(w.message)).removeprefix("WARN: ") for w in caught]
    return list(dict.fromkeys([*told, *([wrong] if wrong else [])]))


def _entry(
    env: str | Callable[..., Any], num_envs: int, *, seed: int, options: Mapping[str, Any]
) -> Entry:
    """The environment's own vector form, once it is known that it can be stored."""
    with _explained(env):
        if callable(env):
            many = env(num_envs=num_envs, **options)
            parts = ("single_observation_space", "single_action_space", "num_envs", "reset", "step")
            many = _whole(env, many, parts)
        elif _spec_of(env).vector_entry_point is None:
            raise ConfigError(f"`{env}` has no vector form of its own. Take mode=sync.")
        else:
            many = gymnasium.make_vec(
                env, num_envs, vectorization_mode="vector_entry_point", **options
            )
    found = Entry(many, seed)
    try:
        found.reset()
        found.mark()
    except BaseException:
        found.close()
        raise
    return found


def _whole(env: str | Callable[..., Any], made: Any, parts: Sequence[str]) -> Any:
    """What was made, which has these parts."""
    if missing := [name for name in parts if not hasattr(made, name)]:
        raise ConfigError(
            f"`{name_of(env)}` made a {type(made).__name__}, which is no environment of "
            f"Gymnasium: it has no {', no '.join(missing)}. Return a gymnasium.Env."
        )
    return made


def _spec_of(env: str) -> EnvSpec:
    """What is registered under an id, which may name the module that registers it."""
    module, _, name = env.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(name)


@contextmanager
def _explained(env: str | Callable[..., Any]) -> Iterator[None]:
    """Gymnasium's errors as ours, with what to do next."""
    name = name_of(env)
    try:
        yield
    except NamespaceNotFound as error:
        raise ConfigError(
            f"Gymnasium knows no `{name}`: nothing has registered its namespace. Install and name "
            f"the package that does, as in `ale_py:ALE/Pong-v5`. {error}"
        ) from error
    except UnregisteredEnv as error:
        ids = list(gymnasium.registry)
        raise ConfigError(
            f"Gymnasium knows no `{name}`.{did_you_mean(name, ids)} {error}"
        ) from error
    except DeprecatedEnv as error:
        raise ConfigError(f"`{name}` is no longer there. {error}") from error
    except DependencyNotInstalled as error:
        raise ConfigError(f"`{name}` needs what is not installed. {error}") from error
    except ImportError as error:
        raise ConfigError(
            f"`{name}` needs what cannot be imported: {error} Install it, or the extra of "
            "gymnasium that has it."
        ) from error
    except (Error, TypeError) as error:
        raise ConfigError(f"`{name}` could not be made: {error}") from error
