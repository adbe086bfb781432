"""Finite MDPs, in the open: models, the zoo, planning, learning, exact gradients.

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
from logpi.worlds.mdp.files.dispatch import load, save
from logpi.worlds.mdp.gymnasium_table import from_gymnasium
from logpi.worlds.mdp.learning import (
    METHODS,
    Learned,
    constant,
    exponential,
    inverse,
    learn,
    linear,
    visits,
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
from logpi.worlds.mdp.policy import LinearSoftmax, TabularSoftmax
from logpi.worlds.mdp.world import MDP

__all__ = [
    "MDP",
    "METHODS",
    "FiniteMDP",
    "Layout",
    "Learned",
    "LinearSoftmax",
    "Solution",
    "TabularSoftmax",
    "action_name",
    "action_values",
    "advantages",
    "as_probabilities",
    "backup",
    "constant",
    "epsilon_greedy",
    "evaluate",
    "exact",
    "exponential",
    "from_csr",
    "from_dense",
    "from_function",
    "from_gymnasium",
    "from_mdptoolbox",
    "from_pairs",
    "greedy",
    "inverse",
    "learn",
    "linear",
    "load",
    "save",
    "solve",
    "state_name",
    "stationary",
    "uniform",
    "visitation",
    "visits",
    "zoo",
]
