"""What an audit was told, checked, and put together: estimator, problem, batches and law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict, Unpack

from numpy.typing import ArrayLike

from logpi.audit.batches import Label, Plan, plan_of
from logpi.audit.estimators import Estimator, Loss, LossEstimator, RecipeEstimator
from logpi.audit.objectives import BETA, beta_of
from logpi.audit.problem import FiniteWorld, Law, Problem, law_of, problem_of
from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.core.recipe import Recipe
from logpi.core.types import Data
from logpi.recipes import recipe as named_recipe
from logpi.worlds.mdp.exact.tables import AnyPolicy
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["LIMIT", "Options", "Setup", "resolved", "setup_of", "setup_of_loss"]

LIMIT = 1_000_000
"""The most trajectories, and the most batches, that are enumerated unless the caller says more."""


class Options(TypedDict, total=False):
    """What every audit may be told besides its recipe and its world.

    group_size   rows from one start state, for recipes that compare them; else the world's
    rows         rows of a batch of the others (1)
    groups       groups of a batch (1): an average over tokens depends on it
    steps, lr    steps on the same batch (1), each θ ← θ + lr · ĝ (0.1)
    critic       "exact", or an array V [S] or Q [S, A] to see what a wrong one does
    policy       the audited policy, or its probabilities; else the world's initial one
    reference    the reference policy; else the world's
    behaviour    who draws the rows that are not the policy's own; else the reference, or for
                 demonstrations an optimal policy
    horizon      decisions after which the task is over; else the world's
    beta         the weight of the divergence in the objectives; else the recipe's own, or 0.1
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
    steps: int
    lr: float
    limit: int

    @property
    def k(self) -> int:
        """The number of rows that pass@k and its kin count."""
        return self.plan.size if self.plan.size > 1 else self.problem.group_size

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


def setup_of(
    recipe: str | Recipe, world: FiniteWorld | FiniteMDP, **options: Unpack[Options]
) -> Setup:
    """The audit of a row of the table, by its name or as data.

    Raises `ConfigError` for an unknown recipe or option, or a value that is impossible.
    """
    row = resolved(recipe)
    name = recipe if isinstance(recipe, str) else "a recipe"
    return _setup(
        name,
        RecipeEstimator(row),
        row.data,
        world,
        own_beta=beta_of(row),
        has_critic=row.critic is not None,
        options=options,
    )


def resolved(recipe: str | Recipe) -> Recipe:
    """The row of the table of that name, or the row itself.

    >>> resolved("rloo").data
    'groups'
    """
    return named_recipe(recipe) if isinstance(recipe, str) else recipe


def setup_of_loss(loss: Loss, world: FiniteWorld | FiniteMDP, **options: Unpack[Options]) -> Setup:
    """The audit of anyone's loss, on groups of the policy's own rows."""
    name = getattr(loss, "__name__", type(loss).__name__)
    return _setup(
        name,
        LossEstimator(loss),
        "groups",
        world,
        own_beta=None,
        has_critic=False,
        options=options,
    )


def _setup(
    name: str,
    estimator: Estimator,
    data: Data,
    world: FiniteWorld | FiniteMDP,
    *,
    own_beta: float | None,
    has_critic: bool,
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
        rows=options.get("rows", 1),
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
    if options.get("steps", 1) < 1:
        raise ConfigError(f"steps is {options.get('steps')} but must be at least 1.")
    lr = options.get("lr", 0.1)
    if not (lr > 0 and math.isfinite(lr)):
        raise ConfigError(f"lr is {lr} but must be positive.")
    if options.get("label", "return") not in ("return", "bradley-terry"):
        raise ConfigError(
            f"label is {options.get('label')!r} but must be 'return' or 'bradley-terry'."
        )
