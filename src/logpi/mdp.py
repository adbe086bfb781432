"""Finite MDPs, in the open: models, the zoo, planning, learning, exact gradients.

A model comes from the zoo, a file, arrays, a function or Gymnasium; `solve` plans in it, `learn`
learns in it or in an environment, and `exact` has gradients without sampling.

>>> from logpi import mdp
>>> solution = mdp.solve(mdp.zoo.make("book_grid"), tolerance=1e-9)
>>> round(float(solution.value[0]), 1)
5.8
"""

from __future__ import annotations

from logpi.worlds.mdp import exact, zoo
from logpi.worlds.mdp.build import (
    from_csr,
    from_dense,
    from_function,
    from_mdptoolbox,
    from_pairs,
)
from logpi.worlds.mdp.epsilon_soft import epsilon_soft
from logpi.worlds.mdp.files.dispatch import load, save
from logpi.worlds.mdp.gymnasium_table import from_gymnasium
from logpi.worlds.mdp.learning import (
    METHODS,
    Learned,
    batch_mc,
    batch_td,
    constant,
    exponential,
    features,
    inverse,
    learn,
    linear,
    visits,
)
from logpi.worlds.mdp.learning.stochastic_approximation import (
    importance_sampled,
    mean_estimates,
    robbins_monro,
)
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.naming import action_name, state_name
from logpi.worlds.mdp.planning import (
    Solution,
    action_values,
    advantages,
    as_probabilities,
    backup,
    epsilon_greedy,
    evaluate,
    greedy,
    solve,
    stationary,
    uniform,
    visitation,
)
from logpi.worlds.mdp.planning.average import gain_and_bias
from logpi.worlds.mdp.policy import LinearSoftmax, TabularSoftmax
from logpi.worlds.mdp.rollout import Rollout, rollout, stored
from logpi.worlds.mdp.world import MDP

__all__ = [
    "MDP",
    "METHODS",
    "FiniteMDP",
    "Layout",
    "Learned",
    "LinearSoftmax",
    "Rollout",
    "Solution",
    "TabularSoftmax",
    "action_name",
    "action_values",
    "advantages",
    "as_probabilities",
    "backup",
    "batch_mc",
    "batch_td",
    "constant",
    "epsilon_greedy",
    "epsilon_soft",
    "evaluate",
    "exact",
    "exponential",
    "features",
    "from_csr",
    "from_dense",
    "from_function",
    "from_gymnasium",
    "from_mdptoolbox",
    "from_pairs",
    "gain_and_bias",
    "greedy",
    "importance_sampled",
    "inverse",
    "learn",
    "linear",
    "load",
    "mean_estimates",
    "robbins_monro",
    "rollout",
    "save",
    "solve",
    "state_name",
    "stationary",
    "stored",
    "uniform",
    "visitation",
    "visits",
    "zoo",
]
