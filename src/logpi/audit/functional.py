"""A policy as a function of its parameters, for many parameter vectors at once."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["entropy_push", "masked_tables", "parameters_of", "tables"]


class _Table(nn.Module):
    """Calling it gives the policy's table: what `functional_call` wants."""

    def __init__(self, policy: SoftmaxPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self) -> Tensor:
        return self.policy.table()


def parameters_of(policy: SoftmaxPolicy) -> Float[Tensor, " p"]:
    """All parameters as one vector, in the order of `policy.parameters()`, detached.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> parameters_of(TabularSoftmax(bandit([0.0, 1.0], policy=[0.5, 0.5]))).shape
    torch.Size([4])
    """
    return torch.cat([p.detach().flatten() for p in policy.parameters()]).double()


def tables(policy: SoftmaxPolicy, theta: Float[Tensor, "b p"]) -> Float[Tensor, "b S A"]:
    """log π(a|s) for each of b parameter vectors, with their gradient; −inf where not allowed.

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> from logpi.worlds.mdp.policy import TabularSoftmax
    >>> policy = TabularSoftmax(bandit([0.0, 1.0], policy=[0.5, 0.5]))
    >>> tables(policy, torch.zeros(3, 4, dtype=torch.float64)).shape
    torch.Size([3, 2, 2])
    """
    module = _Table(policy)
    named = dict(module.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def table(vector: Tensor) -> Tensor:
        parts = torch.split(vector, sizes)
        given = {n: part.view(p.shape) for (n, p), part in zip(named.items(), parts, strict=True)}
        return cast("Tensor", torch.func.functional_call(module, given, ()))

    return torch.func.vmap(table)(theta)


def masked_tables(policy: SoftmaxPolicy, theta: Float[Tensor, "b p"]) -> Float[Tensor, "b S A"]:
    """The tables with 0 instead of −inf where an action is not allowed."""
    return torch.where(policy.allowed, tables(policy, theta), 0.0)


def entropy_push(table: Float[Tensor, "*b S A"]) -> Float[Tensor, "*b S A"]:
    """What pushes each log-probability as one entropy does: ∇H(π(·|s)) = Σ_a −π log π · ∇log π.

    >>> entropy_push(torch.tensor([[0.5, 0.5]]).log())
    tensor([[0.3466, 0.3466]])
    """
    return -torch.where(table > -torch.inf, table.exp() * table, 0.0)
