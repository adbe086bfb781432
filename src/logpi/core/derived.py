"""Credits made of another one: whitened, with a penalty in the reward, discounted from the start.

And what the critic of a credit is fitted to.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from logpi.core.returns import discount_to_here
from logpi.core.traits import factory, made_of, traits_of
from logpi.core.types import Credit, Signals

__all__ = ["credit_and_target", "critic_target", "penalised", "start_discounted", "whitened"]


@factory()
def whitened(credit: Credit, epsilon: float = 1e-8) -> Credit:
    """Another credit, z-scored over the batch's decisions: REINFORCE++, arXiv 2501.03262, sec. 3.

    Decisions count by their row's weight. The statistics are those of the whole batch, so rows
    influence each other; where all credits are equal it is 0.

    >>> from logpi.core.credit import total_return
    >>> from logpi.core.examples import signals
    >>> whitened(total_return, epsilon=0.0)(signals()).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    def scaled(s: Signals, x: Tensor) -> Tensor:
        weight = s.mask * s.weight[:, None]
        mass = weight.sum()
        if mass == 0:
            return torch.zeros_like(x)
        mean = (weight * x).sum() / mass
        spread = ((weight * (x - mean) ** 2).sum() / mass).sqrt()
        counted = x[weight > 0]
        if (counted == counted[0]).all():
            return torch.zeros_like(x)
        return torch.where(s.mask, (x - mean) / (spread + epsilon), 0.0)

    # The scale is the step's, not the values'.
    return made_of(credit, scaled)


@factory(reads=("logp_old", "logp_ref"))
def penalised(credit: Credit, beta: float = 0.05) -> Credit:
    """Another credit, of rewards r_t − β (logp_old − logp_ref): the reference inside the reward.

    InstructGPT (arXiv 2203.02155), eq. 2; this is the only form that keeps how an action changes
    later states, and its expectation is β times the reverse KL of the whole trajectory.

    >>> import torch
    >>> from logpi.core.credit import reward_to_go
    >>> from logpi.core.examples import signals
    >>> s = signals(logp_old=torch.zeros(2, 2), logp_ref=torch.full((2, 2), -1.0))
    >>> penalised(reward_to_go(), beta=0.5)(s).tolist()
    [[0.0, 0.5], [1.0, 1.5]]
    """

    def of_penalised(s: Signals) -> Tensor:
        penalty = beta * (s.need("logp_old") - s.need("logp_ref"))
        return credit(s.having(reward=s.reward - torch.where(s.mask, penalty, 0.0)))

    return of_penalised


@factory()
def start_discounted(credit: Credit) -> Credit:
    """Another credit times γ^t: its mean is the gradient of the discounted return from the start.

    Sutton & Barto, section 13.3. Without it the mean is no gradient of a discounted objective.

    >>> from logpi.core.credit import reward_to_go
    >>> from logpi.core.examples import signals
    >>> start_discounted(reward_to_go())(signals()).tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """
    # γ^t weighs decisions, not values.
    return made_of(credit, lambda s, x: discount_to_here(s.discount, s.end) * x)


def critic_target(credit: Credit, s: Signals) -> Float[Tensor, "n t"]:
    """What the critic of a credit is fitted to: value + credit, unless the credit says otherwise.

    That is G_t for the baselined return, r + γV(s') for the TD error, the λ-return for GAE. V-trace
    has its own v_t, and an action value the Sarsa target r + γQ(s', a').

    >>> from logpi.core.credit import td_error
    >>> from logpi.core.examples import signals
    >>> s = signals()
    >>> critic_target(td_error, s).tolist() == (s.value + td_error(s)).tolist()
    True
    """
    return credit_and_target(credit, s)[1]


def credit_and_target(
    credit: Credit, s: Signals
) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
    """What decisions earned, and the `critic_target`; what both are made of is computed once.

    >>> from logpi.core.credit import td_error
    >>> from logpi.core.examples import signals
    >>> earned, target = credit_and_target(whitened(td_error), s := signals())
    >>> target.tolist() == critic_target(td_error, s).tolist()
    True
    """
    known = traits_of(credit)
    if known.made_of is not None:
        base, change = known.made_of
        earned, target = credit_and_target(base, s)
        return change(s, earned), target
    earned = credit(s)
    return earned, s.need("value") + earned if known.target is None else known.target(s)
