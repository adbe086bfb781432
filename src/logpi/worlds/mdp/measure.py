"""How good a policy is, without sampling: its exact return, and how far it is from the best."""

from __future__ import annotations

from functools import cached_property

from logpi.core.errors import LogpiError
from logpi.worlds.mdp.exact import (
    RegularisedOptimum,
    objective,
    regularised_optimum,
)
from logpi.worlds.mdp.exact.tables import log_ratio, log_table
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning import finite_horizon, solve
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["Measure"]


class Measure:
    """Exact figures of a policy: called like every world's evaluation, it draws nothing.

    With a `reference` policy its divergence is one of them, and where the recipe has a weight
    `beta` for it, so is the distance to the policy that is best under both.
    """

    def __init__(
        self,
        m: FiniteMDP,
        policy: SoftmaxPolicy,
        *,
        horizon: int | None,
        reference: SoftmaxPolicy | None = None,
        beta: float | None = None,
    ) -> None:
        """The policy is read anew at every call."""
        self._m, self._policy, self._horizon = m, policy, horizon
        self._reference, self._beta = reference, beta

    @cached_property
    def optimal(self) -> float:
        """Σ_s start(s) v*(s): no policy has a greater return."""
        m = self._m
        if self._horizon is None:
            return float(m.start @ solve(m).value)
        return float(m.start @ finite_horizon(m, horizon=self._horizon).value[0])

    @cached_property
    def regularised(self) -> RegularisedOptimum | None:
        """The best policy of return − β·reverse KL; None where there is none, or no β.

        A horizon makes it depend on the time, which no policy here does.
        """
        if self._beta is None or self._reference is None or self._horizon is not None:
            return None
        try:
            return regularised_optimum(self._m, self._reference, beta=self._beta)
        except LogpiError:  # its value has no bound: training goes on all the same
            return None

    def __call__(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """`return` = Σ_s start(s) V^π(s), and `regret`, what the best policy has more.

        For recipes with a reference policy of weight β also `kl` = E_π[Σ γ^t log(π/π_ref)], and
        `shortfall`: what return − β·kl lacks of its largest value, β times the distance to π*.
        """
        del examples, samples  # nothing is sampled
        m, policy, horizon = self._m, self._policy, self._horizon
        found = float(objective(m, policy, horizon=horizon))
        figures = {"return": found, "regret": self.optimal - found}
        if self._beta is None or self._reference is None:
            return figures
        gap = log_ratio(m, log_table(m, policy).detach(), log_table(m, self._reference))
        priced = m.having(reward=gap.detach().numpy(), outcome_reward=None)
        kl = figures["kl"] = objective(priced, policy, horizon=horizon)
        if self.regularised is not None:
            best = self.regularised.objective
            figures["shortfall"] = max(0.0, best - (found - self._beta * kl))
        return figures
