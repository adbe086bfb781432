"""How well a policy orders preference pairs, as the method counts it."""

from __future__ import annotations

from logpi.core.traits import traits_of
from logpi.core.types import Coefficient, Signals

__all__ = ["pair_figures"]


def pair_figures(coefficient: Coefficient, s: Signals) -> dict[str, float]:
    """`margin`, the nats by which the chosen row leads, and `preferred`, how often it does.

    A lead is what the coefficient compares: summed or mean log-probabilities, less the reference's
    where it reads one. A pair without a lead counts by half, as all of them do under the reference
    itself. Empty for a coefficient that compares none.

    >>> import torch
    >>> from logpi.core.coefficient import preference_margin
    >>> from logpi.core.examples import signals
    >>> z, a = torch.zeros(2, 2), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    >>> s = signals(credit=a, logp=torch.tensor([[-2.0, -1.0], [-1.0, -1.0]]), logp_ref=z)
    >>> pair_figures(preference_margin(), s)
    {'margin': 1.0, 'preferred': 1.0}
    """
    leads = traits_of(coefficient).margin
    if leads is None:
        return {}
    lead = leads(s)  # the same on both rows of a pair
    known = lead[~lead.isnan()]
    if not len(known):
        return {}
    preferred = (known.sign().double().mean() + 1) / 2
    return {"margin": float(known.mean()), "preferred": float(preferred)}
