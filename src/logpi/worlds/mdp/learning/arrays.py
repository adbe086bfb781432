"""What the compiled loops read and write: a few arrays of records, and the numbers for choices.

One set of arrays serves every method, and the same update runs on a model (a compiled loop) and on
a Gymnasium environment (a Python loop). Records, because compiled code passes a pointer for all of
their fields, where each array of its own costs seven words a call.

    K   keys: S where values of states are learned, S·A where values of actions are
    W   weights: K in a table, else the number of features; twice that for double learning
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

__all__ = [
    "BOTH",
    "FEATURE",
    "FIRST",
    "FLAGS",
    "KEY",
    "LOG",
    "NOWHERE",
    "OUTCOME",
    "ROW",
    "RUN",
    "SECOND",
    "STATE",
    "STEP",
    "WEIGHT",
    "Arrays",
    "Flags",
    "Records",
    "called",
    "compiled",
    "inlined",
]

# Nothing is allocated in compiled code, so nothing needs to be counted: with reference counts a
# step takes ten times as long. What compiled code alone calls needs no way in from Python.
_BARE = {"_nrt": False, "error_model": "numpy"}
_INNER = {**_BARE, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# For what Python calls.
compiled = njit(cache=True, **_BARE)
# For what compiled code calls; called from Python it is Python, on arrays that are np.recarrays.
called = register_jitable(**_INNER)
# Likewise, copied into its callers: with the arrays handed over on the stack a step takes thrice as
# long.
inlined = register_jitable(forceinline=True, **_INNER)

# An array of records: NumPy's types do not know the names of fields.
Records = Any


class Flags(NamedTuple):
    """The numbers that stand for a method's choices in compiled code."""

    # family: when a value is written, and from what
    one_step: int = 0  # after every step, from one reward
    n_step: int = 1  # n steps later, from n rewards
    traces: int = 2  # after every step, wherever a trace is left
    whole: int = 3  # after the episode, from the whole return
    # ahead: what follows a reward
    state: int = 0  # V(s')
    sarsa: int = 1  # Q(s', a'), a' the action that is taken next
    expected: int = 2  # Σ_a π(a|s') Q(s', a)
    greedy: int = 3  # max_a Q(s', a)
    double: int = 4  # Q₂(s', argmax_a Q₁(s', a))
    # importance: the weights of whole episodes
    plain: int = 0
    ordinary: int = 1
    weighted: int = 2
    control: int = 3  # weighted, and the target is the greedy policy
    # kinds of schedules
    constant: int = 0
    inverse: int = 1
    visits: int = 2
    linear: int = 3
    exponential: int = 4


# The one instance; compiled code takes its numbers for constants.
FLAGS = Flags()


# Sides: a table, the second of double learning, and their sum, by which actions are chosen. NumPy's
# integers, because a function that is called with a literal is compiled once more for it.
FIRST, SECOND, BOTH = np.int64(0), np.int64(1), np.int64(2)
# No successor: the episode has ended.
NOWHERE = np.int64(-1)


def _record(integers: str, floats: str, words: str = "") -> np.dtype[np.void]:
    kinds = [(integers, "i8"), (floats, "f8"), (words, "u8")]
    return np.dtype([(name, kind) for names, kind in kinds for name in names.split()], align=True)


# What a method does and where it stands. `given`: actions come from the behaviour policy, not
# ε-greedily from the table. `judged`: the target policy is given. `held`: traces that are not 0, or
# stored steps. `outside`: an environment walks, not the model; it has written what comes of the
# action, and that the next episode begins in `start`.
RUN = _record(
    "family ahead importance of_states linear by_outcome given judged exploring first_visit "
    "replacing actions width n replay limit pairs alpha_kind alpha_per_step epsilon_kind "
    "epsilon_per_step outside start begun state action time episode steps held",
    "discount lam alpha alpha_start alpha_end alpha_scale epsilon epsilon_start epsilon_end "
    "epsilon_scale",
    "random",
)
# [S] How many actions are allowed, 0 in a terminal state; the start distribution, summed.
STATE = _record("count", "cumulative")
# [S·A] Where the outcomes are; `action`: the j-th allowed action of the state, in row s·A + j;
# `pair`: the j-th allowed pair of all, where exploring starts begin; the reward; the behaviour
# policy, summed within the state, and as it is; the target policy.
ROW = _record("low high action pair allowed", "reward cumulative chance target")
# [Z] The successor, the probability summed within the row, the reward.
OUTCOME = _record("successor", "cumulative reward")
# [K] The last episode that visited; where the features are; visits, or summed importance weights.
KEY = _record("seen low high", "visits")
# [W] The value or weight; its trace; `active`: the j-th weight with a trace, in place j.
WEIGHT = _record("active", "value eligibility")
# Features that are not 0, key by key.
FEATURE = _record("weight", "value")
# The steps of an episode, the last n, or those to learn from again; `after` −1 ended the episode.
STEP = _record("pair after", "reward total ratio")
# A learning curve, one entry an episode.
LOG = _record("length truncated", "total")


class Arrays(NamedTuple):
    """Everything a compiled loop reads and writes."""

    run: Records  # [1]
    states: Records
    rows: Records
    outcomes: Records
    keys: Records
    weights: Records
    features: Records
    steps: Records
    log: Records
