"""`logpi.MDP`: the finite world as configuration, and the world at work that it opens."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy import ndarray
from pydantic import Field, field_serializer, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from logpi.core.errors import ConfigError, ModelError
from logpi.core.recipe import Recipe
from logpi.core.types import Batch, Critic, Source
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.critic import ExactCritic, TableQ, TableV
from logpi.worlds.mdp.enumerated import EnumeratedSource
from logpi.worlds.mdp.exact.units import plan_of
from logpi.worlds.mdp.files.dispatch import lacks_discount, load
from logpi.worlds.mdp.measure import Measure
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.naming import action_name, state_name
from logpi.worlds.mdp.planning import solve
from logpi.worlds.mdp.planning.policies import as_probabilities
from logpi.worlds.mdp.policy import LinearSoftmax, SoftmaxPolicy, TabularSoftmax
from logpi.worlds.mdp.source import Compare, Draw, ReplaySource, SampledSource
from logpi.worlds.mdp.steps import Steps
from logpi.worlds.settings import Settings

__all__ = ["MDP", "OpenMDP"]

_COMPARE: dict[str, Compare] = {
    "groups": "groups",
    "mixed-groups": "mixed-groups",
    "on-policy+greedy": "greedy",
    "pairs": "pairs",
}


class MDP(Settings):
    """A finite MDP, its softmax policy, and how walks are drawn.

    `starts_per_batch` start states are drawn an iteration, and `group_size` walks from each. Pairs
    are two walks of the initial policy from one state, the better return chosen; demonstrations are
    walks of an optimal policy; replayed data are stored walks of the initial policy, which is also
    the reference.

    >>> MDP("book_grid", discount=0.9).group_size
    4
    """

    kind: Literal["mdp"] = Field(default="mdp", description="the finite world")
    model: str | Path | FiniteMDP = Field(
        description="a model of the zoo (`logpi mdp list`), a file, or from Python a FiniteMDP"
    )
    options: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="options of the zoo's model: rows, slip, ..."
    )
    discount: float | None = Field(
        default=None, ge=0, le=1, description="γ; unset: the model's own"
    )
    horizon: int | None = Field(
        default=None, ge=1, description="decisions after which the task is over: nothing follows"
    )
    time_limit: int = Field(
        default=200, ge=1, description="decisions after which a walk is cut: its value goes on"
    )
    starts_per_batch: int = Field(default=8, ge=1, description="start states an iteration")
    group_size: int = Field(default=4, ge=1, description="walks from each start state")
    max_draws: int = Field(
        default=4, ge=1, description="draws at most, where only groups that differ are kept"
    )
    source: Literal["sampled", "enumerated"] = Field(
        default="sampled",
        description="walks that are drawn, or every one, every group and pair by its probability",
    )
    policy: Literal["table", "linear"] = Field(
        default="table", description="softmax of a logit for each action, or linear in `features`"
    )
    features: Any = Field(
        default=None, description="[S, A, d] array for the linear policy, from Python"
    )
    critic: Literal["learned", "exact"] = Field(
        default="learned", description="a table that is fitted, or the policy's exact values"
    )

    def __init__(self, model: str | Path | FiniteMDP | None = None, /, **told: Any) -> None:
        """The model may come first, without its name: `MDP("cliff")`."""
        super().__init__(**({"model": model} if model is not None else {}), **told)

    @field_validator("features")
    @classmethod
    def _of_numbers(cls, features: Any) -> Any:
        if features is None or isinstance(features, Tensor):
            return features
        try:
            np.asarray(features, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError("must be an array [states, actions, d] of numbers") from None
        return features

    @field_serializer("model")
    def _model_as_text(self, model: str | Path | FiniteMDP) -> str:
        if not isinstance(model, FiniteMDP):
            return str(model)
        t = model.transitions
        arrays = (t.data, t.indices, t.indptr, model.reward, model.start, model.allowed)
        return f"python:FiniteMDP {model.name}, sha256 {_digest(arrays)}"

    @field_serializer("features")
    def _features_as_text(self, features: Any) -> str | None:
        if features is None:
            return None
        x = np.asarray(features)
        return f"python:features {list(x.shape)}, sha256 {_digest((x,))}"

    def model_of(self) -> FiniteMDP:
        """The model that is named, with this world's discount."""
        if isinstance(self.model, FiniteMDP):
            m = self.model
            if self.options:
                raise ConfigError(
                    "`options` are for a model of the zoo, but `model` is a FiniteMDP already."
                )
        elif Path(str(self.model)).suffix:
            m = load(str(self.model), **self._outside())
        else:
            m = zoo.make(str(self.model), **self.options)
        return m if self.discount is None else m.having(discount=self.discount)

    def _outside(self) -> dict[str, Any]:
        """What is told of the file beside it: its options, and γ where it holds none."""
        if not lacks_discount(str(self.model)):
            return self.options
        if self.discount is None:
            raise ConfigError(
                f"{self.model}: this format holds no discount: say world.discount=0.99, from "
                "Python discount=0.99."
            )
        return {**self.options, "discount": self.discount}

    def policy_of(self, m: FiniteMDP) -> SoftmaxPolicy:
        """The policy that training starts from: the model's own where it has one, else uniform."""
        if self.policy == "table":
            return TabularSoftmax(m)
        if self.features is None:
            raise ConfigError(
                'policy="linear" needs features=... from Python: an array [states, actions, d]. '
                'Or take policy="table".'
            )
        return LinearSoftmax(m, self.features)

    def reference_of(self, m: FiniteMDP) -> SoftmaxPolicy:
        """The frozen reference policy: the initial one."""
        return self.policy_of(m).copy()

    def check(self, name: str, recipe: Recipe) -> None:
        """Raise `ConfigError` where this world cannot give the recipe what it needs."""
        if recipe.data in ("groups", "mixed-groups") and self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size}, but `{name}` compares the walks from a start "
                "state and needs at least 2. Set world.group_size=4."
            )

    def evaluator(
        self, recipe: Recipe, model: str | Path, resources: contextlib.ExitStack, *, seed: int
    ) -> Measure:
        """What measures the policy in an exported folder, exactly."""
        del resources, seed
        return self.measure_of(self.model_of(), self.policy_in(model), recipe)

    def measure_of(self, m: FiniteMDP, policy: SoftmaxPolicy, recipe: Recipe) -> Measure:
        """Exact figures of the policy: its return, and its KL where the recipe weighs one."""
        frozen = None if recipe.beta is None else self.reference_of(m)
        return Measure(m, policy, horizon=self.horizon, reference=frozen, beta=recipe.beta)

    def policy_in(self, folder: str | Path) -> SoftmaxPolicy:
        """The policy of an exported folder; raises `ModelError` where it is not of this model."""
        policy, file = self.policy_of(self.model_of()), Path(folder) / "policy.safetensors"
        try:
            policy.load_state_dict(load_file(file))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{file} holds no policy of this model that could be read ({error}). Give the "
                "folder that a run's export wrote."
            ) from error
        return policy.copy()

    def open(self, name: str, recipe: Recipe, *, seed: int, scratch: Path) -> OpenMDP:
        """This world with its model made. Raises `ConfigError` or `ModelError` where it cannot."""
        del scratch
        self.check(name, recipe)
        return OpenMDP(self, recipe, self.model_of(), seed=seed)


class OpenMDP:
    """The finite world at work: policy, source, reference policy, critic, evaluation, export."""

    def __init__(self, config: MDP, recipe: Recipe, m: FiniteMDP, *, seed: int) -> None:
        """Make the policy, its critic and its source."""
        self.config, self.recipe, self.m = config, recipe, m
        self.policy = config.policy_of(m)
        self.reference = config.reference_of(m)
        self.critic = self._open_critic()
        self.source = self._open_source(seed)
        self.evaluate = config.measure_of(m, self.policy, recipe)

    def _open_critic(self) -> Critic | None:
        kind = self.recipe.critic
        if kind is None:
            return None
        if self.config.critic == "exact":
            horizon = self.config.horizon
            return ExactCritic(self.m, self.policy, of_actions=kind == "q", horizon=horizon)
        return TableQ(self.m, self.policy) if kind == "q" else TableV(self.m)

    def _open_source(self, seed: int) -> Source:
        c, m, data = self.config, self.m, self.recipe.data
        behaviour = self._behaviour()
        if c.source == "enumerated":
            plan = None if data == "on-policy" else plan_of(data, group_size=c.group_size)
            return EnumeratedSource(
                m,
                horizon=c.horizon,
                plan=plan,
                behaviour=behaviour,
                recorded=data == "replay",
            )
        draw = Draw(
            c.starts_per_batch,
            2 if data == "pairs" else c.group_size,
            c.time_limit if c.horizon is None else min(c.horizon, c.time_limit),
            horizon=c.horizon,
            max_draws=c.max_draws,
        )
        if data == "replay":
            return ReplaySource(m, draw, self.reference.probabilities(), seed=seed)
        compare = _COMPARE.get(data, "none")
        return SampledSource(m, draw, seed=seed, compare=compare, behaviour=behaviour)

    def _behaviour(self) -> ndarray | None:
        """[S, A] who draws the rows, where it is not the policy as it is."""
        if self.recipe.data == "demonstrations":
            return as_probabilities(self.m, solve(self.m).policy)
        if self.recipe.data in ("filtered", "pairs", "replay"):
            return self.reference.probabilities()
        return None

    def reference_log_prob(self, inputs: Steps) -> Tensor:
        """[n, t] log-probabilities under the frozen reference policy."""
        return self.reference.log_prob(inputs)

    def describe(self, batch: Batch, row: int) -> dict[str, Any]:
        """A row in words, for the record: where it began, how it went, and each decision."""
        inputs: Steps = batch.inputs
        length = int(batch.mask[row].sum())
        states = [state_name(self.m, int(s)) for s in inputs.state[row, :length]]
        actions = [action_name(self.m, int(a)) for a in inputs.action[row, :length]]
        last = state_name(self.m, int(inputs.next_state[row, length - 1])) if length else ""
        return {
            "prompt": f"{states[0]}: " if states else "",
            "completion": f"{' '.join(actions)} to {last}" if last else "",
            "actions": [f"{s} {a} " for s, a in zip(states, actions, strict=True)],
        }

    def export(self, folder: Path) -> Path:
        """The folder, now holding the policy: its parameters, and its table of probabilities."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: p.detach().contiguous() for n, p in self.policy.named_parameters()}
        save_file(tensors, folder / "policy.safetensors")
        np.save(folder / "probabilities.npy", self.policy.probabilities(), allow_pickle=False)
        told = {"world": self.config.model_dump(mode="json"), "policy": type(self.policy).__name__}
        (folder / "policy.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return folder

    def close(self) -> None:
        """Nothing was opened that must be given back."""


def _digest(arrays: tuple[Any, ...]) -> str:
    digest = hashlib.sha256()
    for x in arrays:
        digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()[:16]
