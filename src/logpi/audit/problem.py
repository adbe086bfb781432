"""What is audited: a model, its policies and horizon, and the law that a recipe's rows follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from logpi.audit.critics import Values, exact_values, given_values
from logpi.core.errors import ConfigError
from logpi.core.types import Data
from logpi.worlds.mdp.exact.tables import AnyPolicy, log_table
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.policies import as_probabilities
from logpi.worlds.mdp.planning.solve import solve
from logpi.worlds.mdp.policy import SoftmaxPolicy, TabularSoftmax
from logpi.worlds.mdp.world import MDP

__all__ = [
    "AnyWorld",
    "FiniteWorld",
    "Law",
    "Problem",
    "greedy_law",
    "law_of",
    "problem_of",
    "values_of",
]


class FiniteWorld(Protocol):
    """What the audit reads of `logpi.MDP`."""

    @property
    def horizon(self) -> int | None:
        """Decisions after which the task is over."""
        ...

    @property
    def time_limit(self) -> int:
        """Decisions after which a sampled walk is cut."""
        ...

    @property
    def group_size(self) -> int:
        """Rows from each start state."""
        ...

    def model_of(self) -> FiniteMDP:
        """The model."""
        ...

    def policy_of(self, m: FiniteMDP) -> SoftmaxPolicy:
        """The policy that training starts from."""
        ...

    def reference_of(self, m: FiniteMDP) -> SoftmaxPolicy:
        """The frozen reference policy."""
        ...


AnyWorld: TypeAlias = FiniteWorld | FiniteMDP | str | Path
"""A `logpi.MDP`, a bare model, a name in the zoo, or a model's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A model with the policy whose gradient is estimated, and the reference it is compared to."""

    m: FiniteMDP
    policy: SoftmaxPolicy
    reference: Float[ndarray, "S A"]
    horizon: int | None
    time_limit: int  # after which a sampled walk is cut, where nothing else ends it
    group_size: int

    @property
    def probabilities(self) -> Float[ndarray, "S A"]:
        """π(a|s)."""
        return self.policy.probabilities().astype(np.float64)

    @property
    def reference_table(self) -> Float[Tensor, "S A"]:
        """log π_ref(a|s); 0 where the action is not allowed."""
        return torch.from_numpy(np.where(self.m.allowed, self.reference, 1.0)).log()

    @property
    def at_reference(self) -> bool:
        """Whether the policy is its own reference, so that no divergence has a gradient."""
        return bool(np.abs(self.probabilities - self.reference).max() <= 1e-12)


def problem_of(
    world: AnyWorld,
    *,
    policy: SoftmaxPolicy | ArrayLike | None = None,
    reference: AnyPolicy | None = None,
    horizon: int | None = None,
    group_size: int | None = None,
) -> Problem:
    """The problem that a world poses, with what is given here instead of what the world has.

    `policy` is a softmax policy, or its probabilities [S, A]. A bare `FiniteMDP` has its own
    policy, or the uniform one, groups of 4 and no horizon. Raises `ConfigError` for a world that is
    not finite.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> problem_of(bandit([0.0, 1.0], policy=[0.5, 0.5]), group_size=2).at_reference
    True
    """
    world = MDP(world) if isinstance(world, str | Path) else world
    if isinstance(world, FiniteMDP):
        m, own, frozen = world, TabularSoftmax(world), TabularSoftmax(world)
        size, time_limit = 4, 200
    else:
        _check_finite(world)
        m = world.model_of()
        own, frozen = world.policy_of(m), world.reference_of(m)
        horizon = world.horizon if horizon is None else horizon
        size, time_limit = world.group_size, world.time_limit
    if policy is not None:
        own = policy if isinstance(policy, SoftmaxPolicy) else _softmax(m, policy)
    anchor = log_table(m, frozen if reference is None else reference).detach().exp().numpy()
    return Problem(
        m=m,
        policy=own,
        reference=anchor,
        horizon=horizon,
        time_limit=time_limit,
        group_size=size if group_size is None else group_size,
    )


def _check_finite(world: object) -> None:
    if not hasattr(world, "model_of"):
        raise ConfigError(
            f"the world is {type(world).__name__}, but an audit enumerates a finite one: give a "
            "logpi.MDP, a FiniteMDP, or a name in the zoo such as 'tokens/capital'."
        )


def _softmax(m: FiniteMDP, given: ArrayLike) -> TabularSoftmax:
    pi = as_probabilities(m, given)
    if (m.allowed & ~(pi > 0)).any():
        raise ConfigError(
            "`policy` never takes an action that is allowed, so no softmax policy equals it. Give "
            "every allowed action a positive probability."
        )
    return TabularSoftmax(m, logits=np.log(np.where(m.allowed, pi, 1.0)))


@dataclass(frozen=True, slots=True)
class Law:
    """The policy that rows are drawn from."""

    name: str
    table: Float[Tensor, "S A"]  # log-probabilities, −inf where it never goes
    recorded: bool  # whether the source records them, as logp_old
    own: bool  # whether it is the audited policy

    @property
    def probabilities(self) -> Float[ndarray, "S A"]:
        """The same as probabilities."""
        return self.table.exp().numpy()


def law_of(problem: Problem, data: Data, behaviour: AnyPolicy | None = None) -> Law:
    """Who draws the rows of this kind of data.

    The policy itself; for pairs, filtered and replayed rows the reference, and for demonstrations
    an optimal policy, or `behaviour` where one is given. Raises `ConfigError` where it is given and
    rows are the policy's own.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> law_of(problem_of(bandit([0.0, 1.0], policy=[0.5, 0.5])), "replay").name
    'the reference policy'
    """
    m = problem.m
    recorded = data == "replay"
    if data not in ("demonstrations", "filtered", "pairs", "replay"):
        if behaviour is not None:
            raise ConfigError(
                f"`behaviour` draws rows that are not the policy's own, but this recipe's data are "
                f"{data!r}. Leave it out, or take a recipe of replayed or given data."
            )
        return Law("the policy itself", problem.policy.table().detach().double(), True, True)
    if behaviour is not None:
        return Law("a given policy", log_table(m, behaviour).detach(), recorded, False)
    if data == "demonstrations":
        best = as_probabilities(m, cast("ArrayLike", solve(m).policy))
        return Law("an optimal policy", log_table(m, best), False, False)
    return Law("the reference policy", log_table(m, problem.reference), recorded, False)


def greedy_law(problem: Problem) -> Law:
    """The policy that takes the audited policy's likeliest action everywhere."""
    pi = problem.probabilities
    best = np.eye(problem.m.actions)[pi.argmax(1)] * problem.m.allowed
    return Law("the greedy policy", torch.from_numpy(best).log(), False, False)


def values_of(problem: Problem, critic: str | ArrayLike, *, horizon: int | None) -> Values:
    """The critic's tables: exact for the audited policy, or the given ones."""
    if isinstance(critic, str):
        if critic != "exact":
            raise ConfigError(f'critic is {critic!r} but must be "exact", or an array V or Q.')
        return exact_values(problem.m, problem.probabilities, horizon=horizon)
    return given_values(problem.m, problem.probabilities, critic)
