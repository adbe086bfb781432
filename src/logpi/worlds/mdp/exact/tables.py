"""Policies as live tables: log-probabilities that carry a gradient, and sums of them that do."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor, nn

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.policies import as_probabilities

__all__ = ["AnyPolicy", "TabularPolicy", "flat_gradient", "log_ratio", "log_table", "parameters"]


class TabularPolicy(Protocol):
    """A policy of a finite MDP that says all its log-probabilities at once."""

    def table(self) -> Float[Tensor, "S A"]:
        """log π(a|s), with gradient; −inf where an action is not allowed."""
        ...


AnyPolicy: TypeAlias = TabularPolicy | ArrayLike
"""A policy with a table, or [S, A] probabilities, or [S] actions: these carry no gradient."""


def log_table(m: FiniteMDP, policy: AnyPolicy) -> Float[Tensor, "S A"]:
    """log π(a|s) in float64, with the policy's gradient; −inf where π is 0.

    Raises `ShapeError` where the policy was made for a model of another size; see also
    `planning.policies.as_probabilities`.

    >>> from logpi.worlds.mdp.zoo import make
    >>> log_table(make("two_state"), [2, 1]).exp().tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    table = getattr(policy, "table", None)
    if table is None:
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(as_probabilities(m, policy)))  # pyright: ignore[reportArgumentType] # no table: an array
    logp: Tensor = table().to("cpu", torch.float64)
    if logp.shape != m.reward.shape:
        raise ShapeError(
            f"the policy's table is {list(logp.shape)} but the model's states and actions are "
            f"{list(m.reward.shape)}. Was the policy made for another model?"
        )
    return logp


def log_ratio(
    m: FiniteMDP, table: Float[Tensor, "S A"], other: Float[Tensor, "S A"]
) -> Float[Tensor, "S A"]:
    """log π(a|s) − log π'(a|s), with both gradients; 0 where π never takes the action.

    Raises `ConfigError` where π may take an action that π' never takes: there the divergence is
    infinite.

    >>> from logpi.worlds.mdp.zoo import make
    >>> m, half = make("two_state"), np.array([[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    >>> log_ratio(m, log_table(m, [2, 1]), log_table(m, half)).exp().tolist()
    [[1.0, 1.0, 2.0], [1.0, 2.0, 1.0]]
    """
    taken = torch.from_numpy(m.allowed) & (table > -torch.inf)
    never = taken & (other == -torch.inf)
    if never.any():
        state, action = never.nonzero()[0].tolist()
        raise ConfigError(
            f"one policy may take action {action} in state {state} and the other never does: the "
            "KL divergence between them is infinite. Give every action of the other a probability."
        )
    # Filled before subtracting: −inf minus −inf would send a NaN back through both tables.
    return table.masked_fill(~taken, 0) - other.masked_fill(~taken, 0)


def parameters(policy: object) -> list[nn.Parameter]:
    """The policy's parameters that take a gradient, in their order; raises `ConfigError` if none.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> [list(p.shape) for p in parameters(TabularSoftmax(make("two_state")))]
    [[2, 3]]
    """
    found = list(policy.parameters()) if isinstance(policy, nn.Module) else []
    live = [p for p in found if p.requires_grad]
    if not live:
        what = "all its parameters are frozen" if found else f"it is a {type(policy).__name__}"
        raise ConfigError(
            f"this policy has no gradient: {what}. Use a TabularSoftmax or a LinearSoftmax, and "
            "not its frozen `copy()`."
        )
    return live


def flat_gradient(scalar: Float[Tensor, ""], policy: object) -> Float[Tensor, " P"]:
    """∇scalar for all of the policy's parameters, flat and in their order, in float64.

    The scalar can be differentiated again. Raises `ConfigError` where it carries no gradient.

    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> from logpi.worlds.mdp.zoo import make
    >>> policy = TabularSoftmax(make("two_state"))
    >>> flat_gradient(policy.table()[1, 0].exp() * 9, policy).tolist()
    [0.0, 0.0, 0.0, 2.0, -1.0, -1.0]
    """
    live = parameters(policy)
    if not scalar.requires_grad:
        raise ConfigError(
            "this scalar carries no gradient: it was detached, or computed under torch.no_grad()."
        )
    found = torch.autograd.grad(
        scalar, live, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.to("cpu", torch.float64).flatten() for g in found])
