"""The exact gradients that an estimator is held against: every named objective that exists here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from logpi.audit.moments import Exact
from logpi.audit.problem import Law, Problem
from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.exact.gradient import gradient
from logpi.worlds.mdp.exact.objectives import OBJECTIVES, Given
from logpi.worlds.mdp.exact.tables import flat_gradient
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["BETA", "Targets", "moved", "targets_of"]

BETA = 0.1
"""The weight of a divergence, where neither the recipe nor the caller names one."""

_BESIDES = ("discounted return from the start", "discounted return without γ^t")
_LIKELIHOOD = "likelihood of the reference"


@dataclass(frozen=True, slots=True)
class Targets:
    """The objectives that exist here, with their exact gradients; and why the others do not."""

    gradients: Mapping[str, Float[Tensor, " p"]]
    values: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])


def targets_of(problem: Problem, law: Law, *, beta: float, k: int) -> Targets:
    """Every objective's exact gradient at the policy, none of them estimated.

    Where γ is 1 the discounted ones are the return, and where the policy is its own reference no
    divergence has a gradient: those are left out, and `skipped` says so, as it does for objectives
    that this model does not have.
    """
    m, policy = problem.m, problem.policy
    found: dict[str, Tensor] = {}
    values: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for name, objective in OBJECTIVES.items():
        reason = _beside_the_point(name, problem)
        if reason is not None:
            skipped[name] = reason
            continue
        given = Given(reference=problem.reference, beta=beta, k=k, horizon=problem.horizon)
        try:
            scalar = objective(m, policy, given)
            found[name], values[name] = flat_gradient(scalar, policy), float(scalar.detach())
        except (ConfigError, ModelError) as error:
            plain = _without_enumeration(name, problem)
            if plain is None:
                skipped[name] = str(error)
            else:
                found[name] = plain
    if not law.own and law.name != "the reference policy":
        given = Given(reference=law.probabilities, horizon=problem.horizon)
        scalar = OBJECTIVES[_LIKELIHOOD](m, policy, given)
        found["likelihood of the rows"] = flat_gradient(scalar, policy)
        values["likelihood of the rows"] = float(scalar.detach())
    return Targets(found, values, skipped)


def _beside_the_point(name: str, problem: Problem) -> str | None:
    if problem.m.discount == 1 and name in _BESIDES:
        return "γ is 1: it is the return."
    if problem.at_reference and ("KL" in name or name == _LIKELIHOOD):
        return "the policy is its own reference, where no divergence has a gradient."
    return None


def _without_enumeration(name: str, problem: Problem) -> Tensor | None:
    """The returns by the theorem, whose sparse solves have no limit of size."""
    m = problem.m
    if name not in ("return", *_BESIDES):
        return None
    try:
        return gradient(
            m.having(discount=1.0) if name == "return" else m,
            problem.policy,
            how="theorem",
            start_discounted="without" not in name,
            horizon=problem.horizon,
        )
    except (ConfigError, ModelError):
        return None


def moved(m: FiniteMDP, horizon: int) -> Exact:
    """The exact push of the return, for many policies at once: by the theorem, over the horizon.

    Σ_t γ^t Pr(s_t = s) π(a|s) A_t(s, a) on each log π(a|s);   and without its γ^t

    >>> from logpi.worlds.mdp.zoo import bandit
    >>> m = bandit([0.0, 1.0], policy=[0.5, 0.5])
    >>> moved(m, 1)(torch.full((1, 2, 2), 0.5).log())["return"][0, 0].tolist()
    [-0.25, 0.25]
    """
    p, allowed, reward = m.transitions, m.allowed, np.where(m.allowed, m.reward, 0.0)

    def exact(tables: Tensor) -> dict[str, Tensor]:
        pi = np.where(allowed, np.exp(tables.numpy()), 0.0)
        batches, (states, actions) = len(pi), allowed.shape
        v, steps = np.zeros((batches, states)), []
        for _ in range(horizon):
            follow = (p @ v.T).T.reshape(batches, states, actions)
            q = np.where(allowed, reward + m.discount * follow, 0.0)
            v = (pi * q).sum(2)
            steps.append(pi * (q - v[:, :, None]))
        here = np.broadcast_to(m.start.astype(np.float64), (batches, states))
        discounted, plain = np.zeros_like(pi), np.zeros_like(pi)
        for t, step in enumerate(reversed(steps)):
            discounted += m.discount**t * here[:, :, None] * step
            plain += here[:, :, None] * step
            here = (p.T @ (here[:, :, None] * pi).reshape(batches, -1).T).T
        if m.discount == 1:
            return {"return": torch.from_numpy(plain)}
        both = zip(_BESIDES, (discounted, plain), strict=True)
        return {name: torch.from_numpy(x) for name, x in both}

    return exact
