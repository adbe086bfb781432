"""Planning in a known finite MDP: Bellman's equations, and every way of solving them."""

from logpi.worlds.mdp.planning.bellman import backup, greedy
from logpi.worlds.mdp.planning.evaluate import (
    action_values,
    advantages,
    evaluate,
    is_proper,
    stationary,
    visitation,
)
from logpi.worlds.mdp.planning.finite_horizon import FiniteHorizon, finite_horizon
from logpi.worlds.mdp.planning.policies import (
    as_probabilities,
    deterministic,
    epsilon_greedy,
    uniform,
)
from logpi.worlds.mdp.planning.solve import METHODS, solve
from logpi.worlds.mdp.solution import Iterate, Solution

__all__ = [
    "METHODS",
    "FiniteHorizon",
    "Iterate",
    "Solution",
    "action_values",
    "advantages",
    "as_probabilities",
    "backup",
    "deterministic",
    "epsilon_greedy",
    "evaluate",
    "finite_horizon",
    "greedy",
    "is_proper",
    "solve",
    "stationary",
    "uniform",
    "visitation",
]
