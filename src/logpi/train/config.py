"""`RunConfig`: everything a run is told, as frozen data read from YAML and `key=value` overrides.

Configuration is data. It never imports a class and never names a Python function: a reward of your
own comes from Python, or from `--reward file.py:function` on the command line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from logpi.core.complaint import complaint, suggest
from logpi.core.errors import ConfigError
from logpi.train.files import check_directory
from logpi.train.overrides import (
    apply_overrides,
    parse_override,
    parse_yaml,
    read_yaml,
    write_yaml,
)
from logpi.train.published import (
    CRITIC_RATES,
    ENVIRONMENTS,
    PUBLISHED,
    TABULAR,
    published_rate,
)
from logpi.train.schedule import learning_rate
from logpi.train.sections import (
    DATA,
    CheckpointConfig,
    EvaluateConfig,
    LogConfig,
    NaturalConfig,
    OptimConfig,
)

__all__ = [
    "CheckpointConfig",
    "EvaluateConfig",
    "LogConfig",
    "NaturalConfig",
    "OptimConfig",
    "RunConfig",
    "build_config",
    "check_directory",
    "check_keys",
    "describe",
    "load_config",
    "presets",
    "python_reward",
    "validated",
]

_Model = TypeVar("_Model", bound=BaseModel)


class RunConfig(BaseModel):
    """One run. `recipe` and `world` are checked by the recipe's factory and the world's own model.

    >>> RunConfig(recipe={"name": "grpo"}, world={"kind": "lm"}, iterations=3).optim.decay
    'constant'
    """

    model_config = DATA

    recipe: dict[str, Any] = Field(
        description="`name`, and the hyper-parameters that differ from the paper's"
    )
    world: dict[str, Any] = Field(
        description="`kind` (lm, mdp or gym), and that world's settings: model, data, reward, ..."
    )
    iterations: int = Field(ge=1, description="batches to draw and learn from")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random")
    directory: str | None = Field(
        default=None, description="run directory; unset: runs/RECIPE, numbered if taken"
    )
    minibatches: int = Field(
        default=1, ge=1, description="optimizer steps an epoch: the batch is split in so many"
    )
    optim: OptimConfig = Field(default_factory=OptimConfig, description="the optimizer")
    natural: NaturalConfig = Field(
        default_factory=NaturalConfig, description="the natural step, where the recipe takes one"
    )
    log: LogConfig = Field(default_factory=LogConfig, description="what is written down")
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig, description="resuming")
    evaluate: EvaluateConfig = Field(
        default_factory=EvaluateConfig, description="held-out evaluation"
    )

    @field_validator("recipe", mode="before")
    @classmethod
    def _named(cls, recipe: Any) -> Any:
        recipe = {"name": recipe} if isinstance(recipe, str) else recipe
        if not isinstance(recipe, Mapping) or not isinstance(recipe.get("name"), str):
            raise ValueError(
                'must say which recipe: a name such as `grpo`, or {"name": "grpo", "beta": 0.0}'
            )
        return recipe

    @field_validator("world")
    @classmethod
    def _has_kind(cls, world: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "lm", **world}

    @property
    def recipe_name(self) -> str:
        """The recipe's name."""
        return self.recipe["name"]

    @property
    def learning_rate(self) -> float:
        """`optim.lr`, or where that is unset the recipe's published one (finite world: ours)."""
        published = published_rate(self.recipe_name)
        if self.optim.lr is not None:
            return self.optim.lr
        of_world = {"mdp": TABULAR, "gym": ENVIRONMENTS}
        return of_world.get(self.world["kind"], published).lr

    @property
    def critic_learning_rate(self) -> float:
        """`optim.critic_lr`, or where that is unset the world's."""
        unset = CRITIC_RATES.get(self.world["kind"], 1e-3)
        return unset if self.optim.critic_lr is None else self.optim.critic_lr

    def resolved(self) -> RunConfig:
        """The same run with its learning rates written out: a later table cannot change them."""
        rates = {"lr": self.learning_rate, "critic_lr": self.critic_learning_rate}
        return self.model_copy(update={"optim": self.optim.model_copy(update=rates)})

    def plain(self) -> dict[str, Any]:
        """The run as JSON-able data; functions and long data become names: see `python_reward`."""
        return {name: _plain(value, name) for name, value in self.model_dump().items()}

    def to_yaml(self) -> str:
        """The YAML text that reads back as this run."""
        return write_yaml(self.plain())


_PYTHON = "python:"
_MANY = 100  # rows of data given from Python that config.yaml still holds
_ALIASES = {
    "learning_rate": "optim.lr",
    "steps": "iterations",
    "max_steps": "iterations",
    "total_steps": "iterations",
    "batch_size": "world.prompts_per_batch",
    "num_generations": "world.group_size",
    "name": "recipe.name",
    "beta": "recipe.beta",
    **{
        name: f"world.{name}"
        for name in ("model", "data", "reward", "group_size", "max_new_tokens", "temperature")
    },
}
_SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


def load_config(file_or_preset: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The run that a YAML file, a preset or a recipe's name describes, with `key=value` overrides.

    >>> load_config(
    ...     "grpo", ["world.model=gpt2", "world.data=train.jsonl", "iterations=5"]
    ... ).recipe_name
    'grpo'

    Raises `ConfigError`, one paragraph, where it is not a possible run.
    """
    data, where = _source(str(file_or_preset))
    data = _spread(data)
    check_keys(data, where)
    for text in overrides:
        path, value = parse_override(text)
        _check_path(path, f"the override `{text}`")
        data = _spread(apply_overrides(data, [text]))
        if path[0] in _SECTIONS and len(path) == 1 and isinstance(value, dict):
            check_keys({path[0]: value}, f"the override `{text}`")
    config = build_config(data, where=f"{where} and its overrides" if overrides else where)
    _refuse_code(config.world.get("reward"), where)
    if config.directory is not None:
        check_directory(config.directory)
    return config


def build_config(data: Mapping[str, Any], *, where: str = "the arguments") -> RunConfig:
    """The run that plain data describes. Raises `ConfigError` where it is not a possible one."""
    check_keys(_spread(dict(data)), where)
    config = validated(RunConfig, data, where=where)
    # Asked for here too, so that an impossible schedule is known before anything is written.
    learning_rate(0, config.iterations, base=0.0, warmup=config.optim.warmup)
    return config


def validated(
    model: type[_Model],
    data: Mapping[str, Any],
    *,
    prefix: str = "",
    where: str = "the arguments",
) -> _Model:
    """`model(**data)`, with pydantic's complaint turned into a `ConfigError` of one paragraph.

    >>> validated(OptimConfig, {"lrr": 1}, prefix="optim.", where="run.yaml")
    Traceback (most recent call last):
    logpi.core.errors.ConfigError: unknown key `optim.lrr` in run.yaml. Did you mean `optim.lr`?
    """
    made, given = model.__new__(model), {str(key): value for key, value in data.items()}
    known = [prefix + name for name in model.model_fields]
    try:
        # Around a world's own constructor, which knows neither the prefix nor where it was told.
        BaseModel.__init__(made, **given)
    except ValidationError as error:
        told = {"known": known, "prefix": prefix, "where": where}
        raise ConfigError(complaint(error.errors(), given, **told)) from None
    return made


def check_keys(data: Mapping[str, Any], where: str = "the arguments") -> None:
    """Nothing; raises `ConfigError`, with the near miss, where there is no such key.

    >>> check_keys({"seed": 1, "optim": {"lr": 0.1}})
    """
    for key, value in data.items():
        _check_path((str(key),), where)
        if key in _SECTIONS and isinstance(value, Mapping):
            for inner in value:
                _check_path((key, str(inner)), where)


def describe() -> list[tuple[str, str, str, str]]:
    """Every key with its type, default and meaning: what `--help-config` and the docs print.

    >>> [row for row in describe() if row[0] == "optim.warmup"][0][1:3]
    ('int', '0')
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, field in RunConfig.model_fields.items():
        section = _SECTIONS.get(name)
        fields = (
            {f"{name}.{inner}": f for inner, f in section.model_fields.items()}
            if section
            else {name: field}
        )
        for key, one in fields.items():
            default = "required" if one.is_required() else _text(one)
            rows.append((key, _type_name(one.annotation), default, one.description or ""))
    return rows


def presets() -> dict[str, str]:
    """The presets of the package and the first line of each: `grpo/arithmetic` -> what it does."""
    found: dict[str, str] = {}
    for folder in sorted(_presets().iterdir(), key=lambda entry: entry.name):
        if not folder.is_dir():
            continue
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".yaml"):
                first = file.read_text(encoding="utf-8").partition("\n")[0]
                found[f"{folder.name}/{file.name.removesuffix('.yaml')}"] = first.lstrip(
                    "# "
                ).strip()
    return found


def python_reward(value: Any) -> str | None:
    """The name of what was given from Python and could not be stored, a function or rows; or None.

    >>> python_reward("python:rewards.brief")
    'rewards.brief'
    """
    return (
        value.removeprefix(_PYTHON)
        if isinstance(value, str) and value.startswith(_PYTHON)
        else None
    )


def _source(name: str) -> tuple[dict[str, Any], str]:
    if Path(name).suffix in (".yaml", ".yml") or Path(name).is_file():
        return read_yaml(name), name
    if name in PUBLISHED:
        return {"recipe": {"name": name}, "world": {"kind": "lm"}}, f"the recipe `{name}`"
    known = presets()
    if name in known:
        file = _presets().joinpath(f"{name}.yaml")
        return parse_yaml(
            file.read_text(encoding="utf-8"), where=f"preset {name}"
        ), f"preset {name}"
    raise ConfigError(
        f"`{name}` is neither a recipe, a preset nor a YAML "
        f"file.{suggest(name, [*PUBLISHED, *known])} `logpi recipes` lists the recipes and `logpi "
        "train --list` the presets; a file's name ends in .yaml."
    )


def _presets() -> Any:
    return resources.files("logpi").joinpath("presets")


def _spread(data: Mapping[str, Any]) -> dict[str, Any]:
    recipe = data.get("recipe")
    return {**data, "recipe": {"name": recipe}} if isinstance(recipe, str) else dict(data)


def _known() -> list[str]:
    return [row[0] for row in describe()]


def _check_path(path: tuple[str, ...], where: str) -> None:
    key = ".".join(path)
    free = path[0] in ("recipe", "world")
    if free or key in _SECTIONS or key in _known():
        return
    if key.rpartition(".")[0] in _known():
        raise ConfigError(f"unknown key `{key}` in {where}: `{'.'.join(path[:-1])}` holds no keys.")
    alias = _ALIASES.get(key) or _ALIASES.get(path[-1])
    there = [*_known(), *_SECTIONS, "total_steps"]  # which stands for iterations
    hint = f" Did you mean `{alias}`?" if alias else suggest(key, there)
    raise ConfigError(f"unknown key `{key}` in {where}.{hint}")


def _refuse_code(reward: Any, where: str) -> None:
    items = reward if isinstance(reward, list) else [reward]
    for item in items:
        name = item.get("name") if isinstance(item, Mapping) else item
        if isinstance(name, str) and re.search(r"\.py\b|^[\w./]+:\w+$", name):
            raise ConfigError(
                f"`world.reward` in {where} is `{name}`, which names a Python function. A "
                "configuration is data and never runs code, so that a file from elsewhere is safe "
                f"to try. Say `--reward {name if '.py' in name else 'file.py:function'}` on the "
                "command line, or pass the function from Python."
            )


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > _MANY and all(isinstance(row, Mapping) for row in value):
            digest = hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]
            return f"{_PYTHON}{len(value)} rows, sha256 {digest}"
        return [_plain(inner, key) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        owner = getattr(value, "__module__", None) or "?"
        return f"{_PYTHON}{owner}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    raise ConfigError(
        f"`{key}` is a {type(value).__name__}, which cannot be written to config.yaml. Use text, "
        "numbers, lists and mappings."
    )


def _text(field: FieldInfo) -> str:
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return json.dumps(value)


def _type_name(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    choices = re.fullmatch(r"typing\.Literal\[(.*)\]", text)
    return (
        choices[1].replace("'", "").replace(", ", " | ") if choices else text.replace("typing.", "")
    )
