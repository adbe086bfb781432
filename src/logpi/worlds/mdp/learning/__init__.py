"""Learning from experience: Monte Carlo and temporal differences, on a model or an environment."""

from logpi.worlds.mdp.learning import features
from logpi.worlds.mdp.learning.batch import batch_mc, batch_td
from logpi.worlds.mdp.learning.learned import Learned
from logpi.worlds.mdp.learning.learner import learn
from logpi.worlds.mdp.learning.methods import METHODS, Method
from logpi.worlds.mdp.learning.schedules import (
    Schedule,
    constant,
    exponential,
    inverse,
    linear,
    visits,
)

__all__ = [
    "METHODS",
    "Learned",
    "Method",
    "Schedule",
    "batch_mc",
    "batch_td",
    "constant",
    "exponential",
    "features",
    "inverse",
    "learn",
    "linear",
    "visits",
]
