"""How good a policy is, without sampling: its exact return, and the best one."""

from __future__ import annotations

from functools import cached_property

from logpi.worlds.mdp.exact import objective
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning import finite_horizon, solve
from logpi.worlds.mdp.policy import SoftmaxPolicy

__all__ = ["Measure"]


class Measure:
    """Exact figures of a policy: called like every world's evaluation, it draws nothing."""

    def __init__(self, m: FiniteMDP, policy: SoftmaxPolicy, *, horizon: int | None) -> None:
        """The policy is read anew at every call."""
        self._m, self._policy, self._horizon = m, policy, horizon

    @cached_property
    def optimal(self) -> float:
        """Σ_s start(s) v*(s): no policy has a greater return."""
        m = self._m
        if self._horizon is None:
            return float(m.start @ solve(m).value)
        return float(m.start @ finite_horizon(m, horizon=self._horizon).value[0])

    def __call__(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """`return` = Σ_s start(s) V^π(s), and `regret`, what the best policy has more."""
        del examples, samples  # nothing is sampled
        found = float(objective(self._m, self._policy, horizon=self._horizon))
        return {"return": found, "regret": self.optimal - found}
