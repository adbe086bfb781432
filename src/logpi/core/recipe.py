"""`Recipe`: one method, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from logpi.core.aggregate import sum_tokens
from logpi.core.coefficient import plain
from logpi.core.errors import ConfigError
from logpi.core.traits import traits_of
from logpi.core.types import Aggregate, Coefficient, Credit, Data, Regulariser

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One method: a choice of data, credit, coefficient, averaging and step.

    Raises `ConfigError` where the credit reads a critic that the recipe does not have.

    >>> from logpi.core import credit
    >>> Recipe("groups", credit.leave_one_out).coefficient.__name__
    'plain'
    """

    data: Data
    credit: Credit
    coefficient: Coefficient = plain
    aggregate: Aggregate = sum_tokens
    critic: Literal["v", "q"] | None = None
    update: Literal["adam", "natural"] = "adam"
    epochs: int = 1
    regulariser: Regulariser | None = None
    # no further step on a batch once the mean KL from its sampler, by k3, is above this
    target_kl: float | None = None
    # from the share of the run that is left to the coefficient, where that changes on the way
    annealed: Callable[[float], Coefficient] | None = None
    paper: str = ""  # citation and equation number

    def __post_init__(self) -> None:
        """Check that the credit's critic is there."""
        for signal, critic in (("value", "v"), ("q", "q")):
            if signal in self.reads and self.critic != critic:
                raise ConfigError(
                    f"the credit reads `{signal}`, but the recipe's critic is {self.critic!r}: "
                    f"set critic={critic!r}, or take a credit that needs none."
                )

    @property
    def reads(self) -> frozenset[str]:
        """The signals that the credit and the coefficient read, beyond the batch itself."""
        return traits_of(self.credit).reads | traits_of(self.coefficient).reads

    def at(self, left: float) -> Recipe:
        """The recipe as it is where that share of the run is left: 1 at its start.

        >>> from logpi.core import coefficient, credit
        >>> from logpi.core.traits import name_of
        >>> r = Recipe(
        ...     "groups",
        ...     credit.leave_one_out,
        ...     annealed=lambda left: coefficient.clipped_ratio(0.2 * left, 0.2 * left),
        ... )
        >>> name_of(r.at(0.5).coefficient)
        'clipped_ratio(low=0.1, high=0.1)'
        """
        return self if self.annealed is None else replace(self, coefficient=self.annealed(left))

    @property
    def beta(self) -> float | None:
        """β, the weight of the reference policy; None where credit and coefficient read none.

        >>> from logpi.core import credit
        >>> Recipe("groups", credit.penalised(credit.leave_one_out, beta=0.2)).beta
        0.2
        """
        both = (traits_of(self.credit).beta, traits_of(self.coefficient).beta)
        return next((b for b in both if b is not None), None)

    @property
    def skips_zero_credit(self) -> bool:
        """Whether a credit of 0 makes the coefficient exactly 0, whatever the policy is."""
        return traits_of(self.coefficient).proportional and self.regulariser is None

    def live(
        self, mask: Bool[Tensor, "n t"], credit: Float[Tensor, "n t"], weight: Float[Tensor, "n t"]
    ) -> Bool[Tensor, "n t"]:
        """The decisions whose coefficient is not known to be exactly 0 before any forward pass.

        >>> import torch
        >>> from logpi.core import credit, coefficient
        >>> one = torch.ones(1, 2)
        >>> r = Recipe("groups", credit.leave_one_out, coefficient.clipped_ratio())
        >>> r.live(one.bool(), torch.tensor([[0.0, 2.0]]), one).tolist()
        [[False, True]]
        """
        counted = mask & (weight != 0)
        if not self.skips_zero_credit:
            return counted
        pushed = counted & (credit != 0)
        if traits_of(self.coefficient).whole_row:
            return counted & pushed.any(1, keepdim=True)
        return pushed
