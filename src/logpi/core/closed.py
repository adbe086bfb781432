"""`ClosedForm`: policy and critic whose gradients are known without autograd.

Arrays are NumPy's: at the size of a mini-batch an operation of theirs costs a fraction of a
tensor's.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from numpy import ndarray

__all__ = ["ClosedForm", "ClosedWorld", "Forward"]


class Forward(NamedTuple):
    """What a mini-batch of k decisions came to, detached."""

    logp: Float[ndarray, " k"]
    entropy: Float[ndarray, " k"] | None  # where it was asked for
    value: Float[ndarray, " k"] | None  # where there is a critic of states


@runtime_checkable
class ClosedForm(Protocol):
    """Decisions on their way through policy and critic, which differentiate themselves.

    A loss of log-probabilities, entropies and values has slopes along them; `backward` carries
    these to the parameters. A mini-batch is a slice of the order that was arranged last.
    """

    def arrange(self, order: Int[ndarray, " n"]) -> None:
        """Bring the decisions into this order: once an epoch, so that slices are cheap."""
        ...

    def forward(self, part: slice, *, entropy: bool) -> Forward:
        """Of the decisions of this slice, with the parameters as they are."""
        ...

    def backward(
        self,
        logp: Float[ndarray, " k"],
        entropy: Float[ndarray, " k"] | None,
        value: Float[ndarray, " k"] | None,
    ) -> None:
        """Write a loss's gradient over the parameters' own, given its slopes.

        They are those along what `forward` gave last.
        """
        ...


@runtime_checkable
class ClosedWorld(Protocol):
    """A world that may know the gradients of its policy and critic in closed form."""

    def closed_form(self, inputs: Any, *, entropy: bool) -> ClosedForm | None:
        """That of decisions as rows of their own; None where it is left to autograd.

        `entropy` says whether a loss reads the entropy. Every parameter that is trained must have
        a gradient to write to.
        """
        ...
