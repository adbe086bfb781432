"""The whole state of an environment that has no other way back: its attributes, as JSON."""

from __future__ import annotations

import math
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Space

from logpi.core.errors import ConfigError
from logpi.worlds.gym.recorded import packed, unpacked

__all__ = ["put_back", "snapshot"]

_CONSTANT = (
    Space,
    EnvSpec,
    Enum,
    type,
    ModuleType,
    FunctionType,
    MethodType,
    BuiltinFunctionType,
    np.dtype,
)
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def snapshot(env: Any) -> dict[str, Any]:
    """The attributes of an environment and of its wrappers, as JSON holds them.

    They are numbers, arrays, texts, random generators, or lists and dictionaries of them. Spaces,
    functions and other constants stay out. Raises `ConfigError`, naming the attribute, for
    anything else.

    >>> class Env:
    ...     def __init__(self):
    ...         self.at = np.array([0.1, 0.2])
    >>> a, b = Env(), Env()
    >>> a.at[1] = 0.7
    >>> put_back(b, snapshot(a))
    >>> b.at.tolist()
    [0.1, 0.7]
    """
    return {
        "layers": [
            {
                name: _told(value, f"{type(layer).__name__}.{name}")
                for name, value in vars(layer).items()
                if name != "env" and not _is_constant(value)
            }
            for layer in _layers(env)
        ]
    }


def put_back(env: Any, told: dict[str, Any]) -> None:
    """Give an environment the attributes that `snapshot` told of."""
    for layer, attributes in zip(_layers(env), told["layers"], strict=True):
        for name, value in attributes.items():
            setattr(layer, name, _untold(value))


def _layers(env: Any) -> list[Any]:
    layers = [env]
    while "env" in vars(layers[-1]):
        layers.append(layers[-1].env)
    return layers


def _is_constant(x: Any) -> bool:
    parts = list(x.values()) if isinstance(x, dict) else x
    if isinstance(parts, list | tuple) and parts:
        return all(_is_constant(y) for y in parts)
    return isinstance(x, _CONSTANT)


def _told(x: Any, name: str) -> Any:
    if x is None or type(x) in (bool, int, str):
        return x
    if type(x) is float:
        return x if math.isfinite(x) else {"float": repr(x)}
    if isinstance(x, np.generic) and x.dtype.kind in "biufc":
        return {"scalar": packed(np.asarray(x))}
    if type(x) is np.ndarray and x.dtype.kind in "biufcSU":
        return {"array": packed(x)}
    if isinstance(x, np.random.Generator) and type(x.bit_generator).__name__ in _GENERATORS:
        return {"generator": _told(dict(x.bit_generator.state), name)}
    if isinstance(x, list | tuple) and type(x) in (list, tuple):
        return {type(x).__name__: [_told(y, f"{name}[{i}]") for i, y in enumerate(x)]}
    if type(x) is dict and all(isinstance(k, str | int) for k in x):
        pairs = [[k, _told(y, f"{name}[{k!r}]")] for k, y in x.items()]
        return {"dict": pairs}
    raise ConfigError(
        f"this environment cannot be stored: `{name}` is a {type(x).__name__}, and only numbers, "
        "arrays, texts, random generators and lists or dictionaries of them are. Take mode=sync or "
        "mode=async, which come back by taking the same actions again."
    )


def _untold(x: Any) -> Any:
    if not isinstance(x, dict):
        return x
    ((kind, told),) = x.items()
    if kind == "generator":
        state = _untold(told)
        bits = getattr(np.random, state["bit_generator"])()
        bits.state = state
        return np.random.Generator(bits)
    return {
        "float": lambda: float(told),
        "scalar": lambda: unpacked(told)[()],
        "array": lambda: unpacked(told),
        "list": lambda: [_untold(y) for y in told],
        "tuple": lambda: tuple(_untold(y) for y in told),
        "dict": lambda: {k: _untold(y) for k, y in told},
    }[kind]()
