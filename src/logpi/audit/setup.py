"""What an audit was told, checked, and put together: estimator, problem, batches and law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, Unpack

from numpy.typing import ArrayLike

from logpi.audit.estimators import Estimator, Loss, LossEstimator, RecipeEstimator
from logpi.audit.objectives import BETA
from logpi.audit.problem import AnyWorld, Law, Problem, law_of, problem_of
from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.core.traits import name_of
from logpi.core.types import Data
from logpi.recipes import RECIPES
from logpi.recipes import recipe as named_recipe
from logpi.worlds.mdp.exact.tables import AnyPolicy
from logpi.worlds.mdp.exact.units import Label, Plan, plan_of
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["LIMIT", "AnyRecipe", "Options", "Setup", "resolved", "setup_of", "setup_of_loss"]

AnyRecipe: TypeAlias = str | Mapping[str, Any] | Recipe
"""A row of the table by its name, `{"name": "grpo", "beta": 0.0}`, or a `Recipe` of one's own."""

LIMIT = 1_000_000
"""The most trajectories, and the most batches, that are enumerated unless the caller says more."""


class Options(TypedDict, total=False):
    """What every audit may be told besides its recipe and its world.

    group_size   rows from one start state, for recipes that compare them; else the world's
    rows         rows of a batch of the others (1; 2 where they are whitened together)
    groups       groups of a batch (1): an average over tokens depends on it
    steps, lr    steps on the same batch (1), each θ ← θ + lr · ĝ (0.1)
    critic       "exact", or an array V [S] or Q [S, A] to see what a wrong one does
    policy       the audited policy, or its probabilities; else the world's initial one
    reference    the reference policy; else the world's
    behaviour    who draws the rows that are not the policy's own; else the reference, or for
                 demonstrations an optimal policy
    horizon      decisions after which the task is over; else the world's
    beta         the weight of the divergence in the objectives; else the recipe's own, or 0.1
    k            rows of which the best counts in pass@k, and of its kin; else the group's size
    label        how a pair is chosen: "return" (ties dropped) or "bradley-terry"
    limit        the most trajectories and batches (1,000,000)
    """

    group_size: int
    rows: int
    groups: int
    steps: int
    lr: float
    critic: str | ArrayLike
    policy: SoftmaxPolicy | ArrayLike
    reference: AnyPolicy
    behaviour: AnyPolicy
    horizon: int
    beta: float
    k: int
    label: Label
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """An audit that is ready to run."""

    name: str
    estimator: Estimator
    has_critic: bool
    problem: Problem
    plan: Plan
    law: Law
    critic: str | ArrayLike
    beta: float
    k: int  # the number of rows that pass@k and its kin count
    steps: int
    lr: float
    limit: int

    @property
    def figures(self) -> dict[str, float | int | None]:
        """What was told, for the report."""
        return {
            "group_size": self.plan.size,
            "units": self.plan.units,
            "horizon": self.problem.horizon,
            "discount": self.problem.m.discount,
            "beta": self.beta,
            "k": self.k,
            "steps": self.steps,
            "lr": self.lr if self.steps > 1 else None,
        }


def setup_of(recipe: AnyRecipe, world: AnyWorld, **options: Unpack[Options]) -> Setup:
    """The audit of a row of the table, by its name, with other constants, or as data.

    Raises `ConfigError` for an unknown recipe or option, or a value that is impossible.
    """
    name, row = resolved(recipe)
    return _setup(
        name,
        RecipeEstimator(row),
        row.data,
        world,
        own_beta=row.beta,
        has_critic=row.critic is not None,
        across="whitened(" in name_of(row.credit),
        options=options,
    )


def resolved(recipe: AnyRecipe) -> tuple[str, Recipe]:
    """What to call a recipe, and the row itself.

    Raises `ConfigError` where it is no recipe, and for an unknown name or constant.

    >>> resolved({"name": "grpo", "beta": 0.0})[0]
    'grpo (beta=0.0)'
    >>> from logpi.core import credit
    >>> resolved(Recipe("groups", credit.group_centred))[0]
    'group_centred · plain · sum_tokens'
    """
    if isinstance(recipe, Recipe):
        printed = _printed(recipe)
        of_table = (name for name, row in RECIPES.items() if _printed(row) == printed)
        return next(of_table, " · ".join(printed[:3])), recipe
    told = {"name": recipe} if isinstance(recipe, str) else dict(_mapping(recipe))
    name = told.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"a recipe as a mapping needs its name, but {dict(_mapping(recipe))!r} has none: "
            '{"name": "grpo", "beta": 0.0}, say.'
        )
    row = named_recipe(name, **told)
    constants = ", ".join(f"{key}={value}" for key, value in told.items())
    return (f"{name} ({constants})" if constants else name), row


def _printed(recipe: Recipe) -> tuple[str, ...]:
    """What tells one row from another, as the table prints it."""
    parts = (recipe.credit, recipe.coefficient, recipe.aggregate)
    bonus = "" if recipe.regulariser is None else name_of(recipe.regulariser)
    return (*(name_of(part) for part in parts), bonus, recipe.data, recipe.update, recipe.paper)


def _mapping(recipe: object) -> Mapping[str, Any]:
    if isinstance(recipe, Mapping):
        return recipe  # pyright: ignore[reportUnknownVariableType] # of whatever keys it has
    raise ConfigError(
        f"a recipe is {type(recipe).__name__} here, but must be a name, a mapping with a name and "
        "constants, or a Recipe. A loss function goes to audit.loss."
    )


def setup_of_loss(loss: Loss, world: AnyWorld, **options: Unpack[Options]) -> Setup:
    """The audit of anyone's loss, on groups of the policy's own rows."""
    name = getattr(loss, "__name__", type(loss).__name__)
    return _setup(
        name,
        LossEstimator(loss),
        "groups",
        world,
        own_beta=None,
        has_critic=False,
        across=False,
        options=options,
    )


def _setup(
    name: str,
    estimator: Estimator,
    data: Data,
    world: AnyWorld,
    *,
    own_beta: float | None,
    has_critic: bool,
    across: bool,
    options: Options,
) -> Setup:
    _check(options)
    problem = problem_of(
        world,
        policy=options.get("policy"),
        reference=options.get("reference"),
        horizon=options.get("horizon"),
        group_size=options.get("group_size"),
    )
    plan = plan_of(
        data,
        group_size=problem.group_size,
        rows=options.get("rows", 2 if across else 1),
        groups=options.get("groups", 1),
        label=options.get("label", "return"),
    )
    return Setup(
        name=name,
        estimator=estimator,
        has_critic=has_critic,
        problem=problem,
        plan=plan,
        law=law_of(problem, data, options.get("behaviour")),
        critic=options.get("critic", "exact"),
        beta=options.get("beta", BETA if own_beta is None else own_beta),
        k=options.get("k", plan.size if plan.size > 1 else problem.group_size),
        steps=options.get("steps", 1),
        lr=options.get("lr", 0.1),
        limit=options.get("limit", LIMIT),
    )


def _check(options: Options) -> None:
    known = Options.__annotations__
    for name in options:
        if name not in known:
            raise ConfigError(
                f"an audit takes no `{name}`.{did_you_mean(name, known)} It takes "
                f"{', '.join(known)}."
            )
    for name in ("steps", "k"):
        if options.get(name, 1) < 1:
            raise ConfigError(f"{name} is {options.get(name)} but must be at least 1.")
    lr = options.get("lr", 0.1)
    if not (lr > 0 and math.isfinite(lr)):
        raise ConfigError(f"lr is {lr} but must be positive.")
    if options.get("label", "return") not in ("return", "bradley-terry"):
        raise ConfigError(
            f"label is {options.get('label')!r} but must be 'return' or 'bradley-terry'."
        )
