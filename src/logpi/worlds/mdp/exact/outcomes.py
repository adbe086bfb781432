"""The returns that trajectories from each start state may have, and how probable they are, live."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact.tables import AnyPolicy, log_table
from logpi.worlds.mdp.exact.trajectories import trajectories
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["Outcomes", "outcomes", "successes"]

_SAME = 1e-9  # returns this close, relative to the largest, are one return


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The distribution of R(τ) given that τ starts in one state."""

    share: float  # start(s₀)
    returns: Float[Tensor, " n"]  # distinct, rising
    probability: Float[Tensor, " n"]  # of each, with the policy's gradient; sums to 1


def outcomes(m: FiniteMDP, policy: AnyPolicy, *, horizon: int | None = None) -> list[Outcomes]:
    """What each start state's trajectories return; start states that are terminal are left out.

    Returns that the policy never has are left out too. Raises as `trajectories` does: everything is
    enumerated.

    >>> import numpy as np
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state", discount=1.0).having(start=np.array([1.0, 0.0]))
    >>> half = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    >>> [(x.returns.tolist(), x.probability.tolist()) for x in outcomes(m, half, horizon=2)]
    [([-2.0, 0.0, 2.0], [0.25, 0.25, 0.5])]
    """
    found = trajectories(m, policy, horizon=horizon)
    decided = (found.length > 0) & (found.probability > 0)
    logp = found.log_prob(log_table(m, policy))[decided].sum(1)
    first, total = found.state[decided, 0], found.returns(m.discount)[decided]
    chance = found.environment[decided] * logp.exp()
    result: list[Outcomes] = []
    for s in first.unique():
        share = float(m.start[int(s)])
        distinct, which = _distinct(total[first == s])
        p = torch.zeros_like(distinct).index_add(0, which, chance[first == s] / share)
        result.append(Outcomes(share, distinct, p))
    return result


def _distinct(total: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The distinct returns, rising, and which of them each one is; rounding makes no new return."""
    ordered, order = total.sort()
    gap = ordered.diff() > _SAME * max(1.0, float(total.abs().max()))
    number = torch.cat([torch.zeros(1, dtype=torch.long), gap.long().cumsum(0)])
    first = torch.cat([torch.ones(1, dtype=torch.bool), gap])
    return ordered[first], torch.empty_like(number).index_copy(0, order, number)


def successes(
    m: FiniteMDP, policy: AnyPolicy, *, horizon: int | None = None
) -> tuple[Float[Tensor, " g"], Float[Tensor, " g"]]:
    """start(s₀), and the probability p(s₀) that a trajectory from there succeeds, live.

    A return of two values has a success: the greater one. Raises `ConfigError` where returns have
    another number of values than two.

    >>> import numpy as np
    >>> from logpi.worlds.mdp.zoo import make
    >>> m = make("two_state").having(start=np.array([1.0, 0.0]))
    >>> share, p = successes(m, np.array([[0.75, 0.0, 0.25], [0.0, 1.0, 0.0]]), horizon=1)
    >>> p.tolist()
    [0.25]
    """
    by_start = outcomes(m, policy, horizon=horizon)
    values, _ = _distinct(torch.cat([x.returns for x in by_start]))
    if len(values) != 2:
        some = ", ".join(f"{v:g}" for v in values[:5].tolist()) + ", ..." * (len(values) > 5)
        raise ConfigError(
            f"{m.name!r} has {len(values)} different returns ({some}): "
            "to speak of success there must be two, such as 0 and 1."
        )
    halfway = values.mean()
    share = torch.tensor([x.share for x in by_start], dtype=torch.float64)
    return share, torch.stack([x.probability[x.returns > halfway].sum() for x in by_start])
