"""YAML as logpi reads and writes it, `key=value` overrides, and errors that name the near miss.

Reading constructs what `yaml.safe_load` constructs and nothing else: mappings, lists, strings,
numbers, booleans, null. Scalars follow YAML 1.2, because 1.1 reads `3e-4` as a string, `1:30` as 90
and `no` as false; and a key that occurs twice is an error, because YAML keeps the last one in
silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from logpi.core.errors import ConfigError
from logpi.core.nearest import nearest

__all__ = ["apply_overrides", "parse_override", "parse_yaml", "read_yaml", "write_yaml"]

_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _tag, _pattern, _first in _SCALARS:
    for _character in _first:
        _RESOLVERS.setdefault(_character, []).append((_tag, re.compile(f"^(?:{_pattern})$")))


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` with the scalars of YAML 1.2, without repeated keys."""

    yaml_implicit_resolvers = _RESOLVERS

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; raises where a key occurs twice."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key: Any = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _Refused(
                    f"the key `{key}` (line {key_node.start_mark.line + 1}) is not text", node
                )
            if key in seen:
                lines = f"lines {seen[key]} and {key_node.start_mark.line + 1}"
                raise _Refused(f"the key `{key}` is given twice, on {lines}", node)
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        """The decimal number: a leading zero makes no octal."""
        return int(str(self.construct_scalar(node)))


class _Refused(yaml.constructor.ConstructorError):
    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(None, None, problem, node.start_mark)
        self.problem_in_words = problem


class _Dumper(yaml.SafeDumper):
    """`yaml.SafeDumper` that quotes what `_Loader` would take for something else than text."""

    yaml_implicit_resolvers = _RESOLVERS

    def ignore_aliases(self, data: Any) -> bool:
        """True: the same list twice is written twice."""
        return True


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)
# A constant that NumPy computed is the number that it is: np.float64(0.5) is written 0.5.
_Dumper.add_multi_representer(np.generic, lambda dumper, x: dumper.represent_data(x.item()))


def parse_yaml(text: str, *, where: str = "the text") -> Any:
    """The value that the text holds. Raises `ConfigError` where it is not YAML or repeats a key.

    >>> parse_yaml("{lr: 3e-4, decay: no}")
    {'lr': 0.0003, 'decay': 'no'}
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except _Refused as error:
        raise ConfigError(f"{error.problem_in_words} in {where}. Keep one of them.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise ConfigError(
            f"{where} is not valid YAML{place}: {problem}. Write one `key: value` a line, indent "
            "nested keys by two spaces, and quote text that holds a colon."
        ) from None
    finally:
        loader.dispose()


def read_yaml(path: str | Path, *, where: str | None = None) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises `ConfigError` where there is none."""
    path = Path(path)
    name = where or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {name}.{_neighbour(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{name} is a folder, but a YAML file was expected.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} cannot be read as UTF-8 text: {error}.") from None
    data = parse_yaml(text, where=name)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"{name} holds a {_kind(data)}, but a configuration is a mapping: one `key: value` a "
            "line, such as `recipe: grpo`."
        )
    return data


def write_yaml(data: Mapping[str, Any]) -> str:
    """The YAML text that reads back as `data`, keys in the given order.

    >>> print(write_yaml({"lr": 0.0003, "name": "1e3"}), end="")
    lr: 0.0003
    name: '1e3'
    """
    return yaml.dump(
        dict(data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """The dotted key and the YAML-typed value of `key=value`.

    >>> parse_override("optim.lr=3e-4")
    (('optim', 'lr'), 0.0003)
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(
            f"`{text}` is not an override. Write `key=value` without spaces around `=`, such as "
            "`optim.lr=3e-4` or `recipe.beta=0.0`."
        )
    return path, parse_yaml(value, where=f"the value of `{text}`")


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`data` with each `key=value` put in its place; later ones win.

    >>> apply_overrides({"optim": {"lr": 1e-6}}, ["optim.lr=0.1", "seed=3"])
    {'optim': {'lr': 0.1}, 'seed': 3}
    """
    result = _copy(data)
    for text in overrides:
        path, value = parse_override(text)
        place = result
        for depth, part in enumerate(path[:-1], start=1):
            inner = place.setdefault(part, {})
            if inner is None:
                inner = place[part] = {}
            if not isinstance(inner, dict):
                raise ConfigError(
                    f"`{text}` looks for a key inside `{'.'.join(path[:depth])}`, which is "
                    f"{inner!r} and holds no keys."
                )
            place = inner
        place[path[-1]] = value
    return result


def _copy(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _copy(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_copy(value) for value in data]
    return data


def _kind(data: Any) -> str:
    return {list: "list", str: "line of text"}.get(type(data), type(data).__name__)


def _neighbour(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" The folder {folder} does not exist either."
    names = [entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml")]
    found = nearest(path.name, names)
    return f" Did you mean {folder / found}?" if found else " Check the path."
