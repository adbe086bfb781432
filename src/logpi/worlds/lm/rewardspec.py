"""What names a reward: a builtin with options, a Python function, or file.py:function."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.lm.graders import BUILTINS, COLUMNS, NEEDS

__all__ = ["RewardSpec", "load_function", "pickled", "resolve"]

RewardSpec = str | Mapping[str, Any] | Callable[..., Any]
"""A builtin's name, {"name": ..., **options}, or reward(prompt, completion, **columns)."""


def load_function(spec: str) -> Callable[..., Any]:
    """Return the function that `file.py:function` names, as the command line writes it.

    Raises `ConfigError` where the file or the function does not exist, or the file cannot be run.
    """
    written, colon, name = spec.rpartition(":")
    file = Path(written).expanduser()
    if not colon or not name.isidentifier() or file.suffix != ".py":
        raise ConfigError(
            f"{spec!r} does not name a reward function. Write it as path/to/file.py:function."
        )
    if not file.is_file():
        beside = [p.name for p in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise ConfigError(
            f"there is no file {written!r} to take a reward from.{did_you_mean(file.name, beside)}"
        )
    module = _module(file.resolve())
    function = getattr(module, name, None)
    if function is None:
        known = [
            n for n, x in vars(module).items() if inspect.isroutine(x) and not n.startswith("_")
        ]
        listed = f" It defines {', '.join(known)}." if known else ""
        raise ConfigError(
            f"{written} has no function {name!r}.{did_you_mean(name, known) or listed}"
        )
    if not callable(function):
        raise ConfigError(f"{name!r} in {written} is {type(function).__name__}, not a function.")
    return function


def _module(file: Path) -> ModuleType:
    # Not where it is: a run may go on elsewhere, and its config.yaml names the module.
    name = "reward_file_" + re.sub(r"\W", "_", file.stem)
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(
            str(file.parent)
        )  # what lies beside the file can be imported, as in a script
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{file} could not be run: {type(error).__name__}: {error}") from error
    return module


def resolve(spec: RewardSpec) -> tuple[str, Any, frozenset[str] | None]:
    """Return a reward's name, its function, and the columns it may see (None: all).

    Raises `ConfigError` for what is no reward, and for options that a builtin does not have.

    >>> resolve({"name": "regex", "pattern": "a+"})[0]
    'regex'
    """
    if callable(spec):
        return getattr(spec, "__name__", type(spec).__name__), spec, None
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):  # type: ignore[redundant-expr]  # a user's
        raise ConfigError(
            f"{spec!r} is no reward. Give a function, one of {', '.join(BUILTINS)}, or such a name "
            "with options: {'name': 'regex', 'pattern': '...'}."
        )
    options = dict(spec)
    name = options.pop("name")
    if name not in BUILTINS:
        raise ConfigError(
            f"there is no reward {name!r}.{did_you_mean(name, BUILTINS)} There are "
            f"{', '.join(BUILTINS)}; a reward of your own is a Python function, on the command "
            "line --reward file.py:function."
        )
    _check_options(name, options)
    return name, functools.partial(BUILTINS[name], **options), COLUMNS


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(BUILTINS[name]).parameters.values()
    keyword = {
        p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in COLUMNS
    }
    for option in options:
        if option not in keyword:
            raise ConfigError(
                f"the reward `{name}` has no option `{option}`.{did_you_mean(option, keyword)} It "
                f"has {', '.join(keyword)}."
            )
    absent = [
        n
        for n, default in keyword.items()
        if default is inspect.Parameter.empty and n not in options
    ]
    if absent:
        raise ConfigError(
            f"the reward `{name}` needs {', '.join(absent)}: "
            f"{{'name': '{name}', '{absent[0]}': ...}}."
        )
    if name in NEEDS and importlib.util.find_spec(NEEDS[name][0]) is None:
        raise ConfigError(
            f"the reward `{name}` needs the package {NEEDS[name][1]}: pip install {NEEDS[name][1]}"
        )
    _check_values(name, options)


def _check_values(name: str, options: Mapping[str, Any]) -> None:
    for option, least in _LEAST.items():
        value = options.get(option, 0)
        real = isinstance(value, Real) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or value < least:
            what = "a number of at least 0" if least == 0 else "a finite number"
            raise ConfigError(f"the reward `{name}` has {option}={value!r}. Give {what}.")
    if name == "regex":
        try:
            re.compile(options["pattern"])
        except (re.error, TypeError) as error:
            raise ConfigError(
                f"the pattern {options['pattern']!r} is no regular expression: {error}."
            ) from error
    if name == "overlong" and not 0 < options["cache_tokens"] <= options["max_tokens"]:
        raise ConfigError(
            f"overlong has cache_tokens={options['cache_tokens']} and "
            f"max_tokens={options['max_tokens']}. "
            "It needs 0 < cache_tokens <= max_tokens."
        )
    if name == "step_match" and not isinstance(options["separator"], str):
        raise ConfigError(
            f"step_match has separator={options['separator']!r}, which is no text. Give the "
            'world\'s step_separator, such as "\\n"; "" makes every character a step.'
        )


_LEAST = {
    **dict.fromkeys(("right", "wrong"), -math.inf),
    **dict.fromkeys(("tolerance", "cache_tokens", "max_tokens"), 0),
}


def pickled(name: str, function: Callable[..., Any]) -> bytes:
    """Return the function as bytes for a worker: by value where the worker could not import it.

    Raises `ConfigError` where it holds what cannot be sent, such as an open file or a lock.

    >>> len(pickled("double", lambda prompt, completion: 2.0)) > 0
    True
    """
    module = sys.modules.get(getattr(function, "__module__", None) or type(function).__module__)
    by_value = module is not None and module.__name__ != "__main__" and not _importable(module)
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        try:
            return cloudpickle.dumps(function)
        finally:
            if by_value:
                cloudpickle.unregister_pickle_by_value(module)
    except Exception as error:  # pickling runs whatever the objects define
        raise ConfigError(
            f"the reward `{name}` cannot be sent to a worker process: {error}. Create what it "
            "needs (files, locks, models, clients) when it is first called, not before."
        ) from error


def _importable(module: ModuleType) -> bool:
    # Not importlib.util.find_spec: it asks sys.modules first, where a module loaded by hand is
    # known as well.
    top = module.__name__.partition(".")[0]
    return (
        top in sys.builtin_module_names or importlib.machinery.PathFinder.find_spec(top) is not None
    )
