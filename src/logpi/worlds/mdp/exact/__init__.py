"""Exact objectives and gradients of a policy, by linear algebra and by enumeration."""

from logpi.worlds.mdp.exact.fisher import fisher, natural_gradient, score_matrix
from logpi.worlds.mdp.exact.gradient import gradient
from logpi.worlds.mdp.exact.objective import beta, objective
from logpi.worlds.mdp.exact.objectives import OBJECTIVES, Given, objective_gradient
from logpi.worlds.mdp.exact.outcomes import Outcomes, outcomes
from logpi.worlds.mdp.exact.regularised import (
    RegularisedOptimum,
    regularised_optimum,
    state_kl,
    trajectory_kl,
)
from logpi.worlds.mdp.exact.tables import flat_gradient
from logpi.worlds.mdp.exact.trajectories import (
    Trajectories,
    count_trajectories,
    longest,
    trajectories,
)

__all__ = [
    "OBJECTIVES",
    "Given",
    "Outcomes",
    "RegularisedOptimum",
    "Trajectories",
    "beta",
    "count_trajectories",
    "fisher",
    "flat_gradient",
    "gradient",
    "longest",
    "natural_gradient",
    "objective",
    "objective_gradient",
    "outcomes",
    "regularised_optimum",
    "score_matrix",
    "state_kl",
    "trajectories",
    "trajectory_kl",
]
