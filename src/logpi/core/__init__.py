"""Pure functions on tensors: the equation, credits, coefficients, averaging, divergences, returns.

Imports torch and nothing of logpi outside this package.
"""

from logpi.core import aggregate, coefficient, credit, divergence, errors, regulariser, returns
from logpi.core.recipe import Recipe
from logpi.core.surrogate import surrogate
from logpi.core.types import (
    Aggregate,
    Batch,
    Coefficient,
    Credit,
    Critic,
    Part,
    Policy,
    Regulariser,
    Signals,
    Source,
    StepwisePolicy,
    TrustPolicy,
)

__all__ = [
    "Aggregate",
    "Batch",
    "Coefficient",
    "Credit",
    "Critic",
    "Part",
    "Policy",
    "Recipe",
    "Regulariser",
    "Signals",
    "Source",
    "StepwisePolicy",
    "TrustPolicy",
    "aggregate",
    "coefficient",
    "credit",
    "divergence",
    "errors",
    "regulariser",
    "returns",
    "surrogate",
]
