"""Every builder of models from arrays and functions, under one name."""

from logpi.worlds.mdp.csr import Facts, from_csr
from logpi.worlds.mdp.dense import from_dense
from logpi.worlds.mdp.function import from_function
from logpi.worlds.mdp.pairs import from_pairs
from logpi.worlds.mdp.toolbox import from_mdptoolbox

__all__ = [
    "Facts",
    "from_csr",
    "from_dense",
    "from_function",
    "from_mdptoolbox",
    "from_pairs",
]
