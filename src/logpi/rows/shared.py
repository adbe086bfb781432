"""What several rows of the table share: an optional pull, penalty, bonus or discount."""

from __future__ import annotations

from logpi.core.coefficient import total, toward_reference
from logpi.core.credit import penalised, start_discounted, whitened
from logpi.core.regulariser import entropy_bonus
from logpi.core.types import Coefficient, Credit, Regulariser

__all__ = ["bonus", "from_start", "normalised", "with_penalty", "with_pull"]


def from_start(credit: Credit, discounted: bool) -> Credit:
    """The credit, times γ^t where the objective is the return discounted from the start.

    >>> from logpi.core.credit import total_return
    >>> from_start(total_return, False) is total_return
    True
    """
    return start_discounted(credit) if discounted else credit


def normalised(credit: Credit, asked: bool) -> Credit:
    """The credit z-scored over the whole batch, if it is asked for.

    >>> from logpi.core.credit import total_return
    >>> normalised(total_return, False) is total_return
    True
    """
    return whitened(credit) if asked else credit


def with_pull(coefficient: Coefficient, beta: float) -> Coefficient:
    """The coefficient plus a pull toward the reference policy, if beta is not 0.

    Without a pull no reference policy is needed, and a credit of 0 makes the coefficient 0.

    >>> from logpi.core.coefficient import plain
    >>> with_pull(plain, 0.0) is plain
    True
    """
    return total(coefficient, toward_reference(beta)) if beta else coefficient


def with_penalty(credit: Credit, beta: float) -> Credit:
    """The credit of rewards less a KL penalty, if beta is not 0.

    >>> from logpi.core.credit import total_return
    >>> with_penalty(total_return, 0.0) is total_return
    True
    """
    return penalised(credit, beta) if beta else credit


def bonus(beta: float) -> Regulariser | None:
    """An entropy bonus, or None if beta is 0.

    >>> bonus(0.0) is None
    True
    """
    return entropy_bonus(beta) if beta else None
