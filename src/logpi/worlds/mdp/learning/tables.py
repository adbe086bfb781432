"""A task as the arrays of records that compiled code works on, and values read back from them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, NonFiniteError, ShapeError
from logpi.core.seeds import mix
from logpi.worlds.mdp.learning.arrays import (
    FEATURE,
    FLAGS,
    KEY,
    LOG,
    OUTCOME,
    ROW,
    RUN,
    STATE,
    STEP,
    WEIGHT,
    Arrays,
)
from logpi.worlds.mdp.learning.kernels import sum_rows
from logpi.worlds.mdp.learning.schedules import numbers
from logpi.worlds.mdp.learning.task import Task
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.policies import epsilon_greedy

__all__ = ["begun", "fixed", "summed", "values"]

_FOR_EVER = 2**62
_ROOM = 1024  # steps of an episode, or episodes, before the arrays grow


def fixed(task: Task) -> Arrays:
    """The arrays that all runs share, with empty ones for what each run has of its own."""
    m = task.m
    states, rows = np.zeros(m.states, STATE), np.zeros(m.states * m.actions, ROW)
    states["count"] = m.allowed.sum(1)
    states["cumulative"] = summed(m.start[None])[0]
    rows["low"], rows["high"] = m.transitions.indptr[:-1], m.transitions.indptr[1:]
    rows["reward"], rows["allowed"] = m.reward.ravel(), m.allowed.ravel()
    rows["action"] = np.argsort(~m.allowed, axis=1, kind="stable").ravel()
    pairs = np.flatnonzero(m.allowed)
    rows["pair"][: len(pairs)] = pairs
    if task.behaviour is not None:
        rows["chance"] = task.behaviour.ravel()
        rows["cumulative"] = summed(task.behaviour).ravel()
    if task.policy is not None:
        rows["target"] = task.policy.ravel()
    keys, features = _features(task)
    run, width = np.zeros(1, RUN), _width(task, features)
    for field, value in (_rule(task) | {"width": width}).items():
        run[field] = value
    if task.env is not None:  # every row is the one outcome that the environment has just shown
        rows["low"], rows["high"], run["by_outcome"] = 0, 1, True
    return Arrays(
        run=run,
        states=states,
        rows=rows,
        outcomes=_outcomes(m, rows),
        keys=keys,
        weights=_weights(task, width),
        features=features,
        steps=np.zeros(0, STEP),
        log=np.zeros(0, LOG),
    )


def summed(p: Float[ndarray, "n k"]) -> Float[ndarray, "n k"]:
    """Each row's probabilities, summed up to 1, whatever was lost to rounding; rows of 0 stay.

    >>> summed(np.array([[0.5, 0.0, 0.5]]))
    array([[0.5, 0.5, 1. ]])
    """
    total = np.cumsum(p, axis=1)
    return total / np.where(total[:, -1:] > 0, total[:, -1:], 1.0)


def _outcomes(m: FiniteMDP, rows: ndarray) -> ndarray:
    outcomes = np.zeros(m.transitions.nnz, OUTCOME)
    outcomes["successor"] = m.transitions.indices
    outcomes["cumulative"] = m.transitions.data
    if m.outcome_reward is not None:
        outcomes["reward"] = m.outcome_reward
    sum_rows(rows, outcomes)
    return outcomes


def _features(task: Task) -> tuple[ndarray, ndarray]:
    """Where each key's features are, and those that are not 0."""
    m = task.m
    keys = np.zeros(m.states if task.of_states else m.states * m.actions, KEY)
    given = task.options.get("features")
    if given is None:
        return keys, np.zeros(0, FEATURE)
    x = _checked_features(task, given)
    key, weight = np.nonzero(x.reshape(-1, x.shape[-1]))
    value = x.reshape(-1, x.shape[-1])[key, weight]
    if x.ndim == 2 and not task.of_states:  # of states: each action has weights of its own
        action = np.tile(np.arange(m.actions), len(key))
        key, weight, value = (np.repeat(part, m.actions) for part in (key, weight, value))
        key, weight = key * m.actions + action, weight + action * x.shape[-1]
        order = np.argsort(key, kind="stable")
        key, weight, value = key[order], weight[order], value[order]
    ends = np.searchsorted(key, np.arange(len(keys) + 1))
    keys["low"], keys["high"] = ends[:-1], ends[1:]
    features = np.zeros(len(key), FEATURE)
    features["weight"], features["value"] = weight, value
    return keys, features


def _checked_features(task: Task, given: ArrayLike) -> Float[ndarray, "..."]:
    m = task.m
    x = np.asarray(given, dtype=np.float64)
    right = x.ndim == 2 and x.shape[0] == m.states
    right |= not task.of_states and x.ndim == 3 and x.shape[:2] == m.reward.shape
    if not right or 0 in x.shape:
        also = "" if task.of_states else f", or [{m.states}, {m.actions}, d]"
        raise ShapeError(f"features are {list(x.shape)} but must be [{m.states}, d]{also}.")
    if not np.isfinite(x).all():
        raise ConfigError("a feature is NaN or infinite.")
    if task.options.get("traces") == "replacing" and not np.isin(x, (0, 1)).all():
        raise ConfigError(
            "replacing traces ask for features that are 0 or 1 (one_hot, tiles): "
            "with others, use traces='accumulating'."
        )
    return x


def _width(task: Task, features: ndarray) -> int:
    given = task.options.get("features")
    if given is None:
        return task.m.states * (1 if task.of_states else task.m.actions)
    x = np.asarray(given)
    return x.shape[-1] * (task.m.actions if x.ndim == 2 and not task.of_states else 1)


def _weights(task: Task, width: int) -> ndarray:
    """The weights before any step: 0 for features, else the initial value."""
    double = 1 + (task.method.ahead == "double")
    weights = np.zeros(width * double, WEIGHT)
    if task.options.get("features") is None:
        start = np.full(width, task.options.get("initial_value", 0.0))
        if not task.of_states:
            start[~task.m.allowed.ravel()] = -np.inf  # never the largest, never chosen
        weights["value"] = np.tile(start, double)
    return weights


def begun(task: Task, shared: Arrays, run: int) -> Arrays:
    """The arrays of a run that has taken no step; what `run` says, its random numbers follow."""
    x = shared._replace(
        run=shared.run.copy(),
        states=shared.states.copy(),
        keys=shared.keys.copy(),
        weights=shared.weights.copy(),
        steps=np.zeros(_steps(task), STEP),
        log=np.zeros(task.length.episodes or _ROOM, LOG),
    )
    x.run["random"] = mix(task.seed, 0x1EA2, run)
    return x


def _steps(task: Task) -> int:
    if task.options.get("replay"):
        return task.options["capacity"]
    return task.options.get("n") or _ROOM


def _rule(task: Task) -> dict[str, float]:
    """What the method does, as the numbers that compiled code reads."""
    options, method, m = task.options, task.method, task.m
    alpha, epsilon = options.get("alpha"), options.get("epsilon")
    importance = "plain"
    if method.family == "whole" and "behaviour" in options:
        importance = options.get("importance", "control")
    rule: dict[str, float] = {
        "family": getattr(FLAGS, method.family, FLAGS.whole),  # a batch is made of whole episodes
        "ahead": getattr(FLAGS, method.ahead),
        "importance": getattr(FLAGS, importance),
        "of_states": task.of_states,
        "linear": options.get("features") is not None,
        "by_outcome": m.outcome_reward is not None,
        "given": task.behaviour is not None,
        "judged": task.policy is not None,
        "exploring": options.get("exploring_starts", False),
        "first_visit": options.get("first_visit", False),
        "replacing": options.get("traces") == "replacing",
        "actions": m.actions,
        "pairs": int(m.allowed.sum()),
        "n": options.get("n", 1),
        "replay": options.get("replay", 0),
        "limit": task.length.limit or _FOR_EVER,
        "discount": task.discount,
        "lam": options.get("lam", 0.0),
    }
    for name, schedule in (("alpha", alpha), ("epsilon", epsilon)):
        if schedule is not None:
            parts = dict(zip(("kind", "start", "end", "scale"), numbers(schedule), strict=True))
            rule |= {f"{name}_{part}": number for part, number in parts.items()}
            rule[f"{name}_per_step"] = schedule.per == "step"
    return rule


def values(task: Task, x: Arrays) -> tuple[Float[ndarray, " S"], Float[ndarray, "S A"] | None]:
    """V, 0 in terminal states, and Q, −∞ where an action is not allowed, as learned so far.

    Raises `NonFiniteError` where learning has diverged.
    """
    m = task.m
    w = x.weights["value"].reshape(-1, int(x.run[0]["width"])).mean(0)
    if task.options.get("features") is not None:
        key = np.repeat(np.arange(len(x.keys)), x.keys["high"] - x.keys["low"])
        w = np.bincount(key, w[x.features["weight"]] * x.features["value"], len(x.keys))
    live = ~m.terminal if task.of_states else m.allowed.ravel()
    if not np.isfinite(w[live]).all():
        raise NonFiniteError(
            f"`{task.name}` has diverged after {int(x.run[0]['steps'])} steps: a value is NaN or "
            "infinite. A smaller alpha may do; off-policy with features, none may."
        )
    if task.of_states:
        return np.where(m.terminal, 0.0, w), None
    q = np.where(m.allowed, w.reshape(m.reward.shape), -np.inf)
    return _state_values(task, q, float(x.run[0]["epsilon"])), q


def _state_values(task: Task, q: Float[ndarray, "S A"], epsilon: float) -> Float[ndarray, " S"]:
    """V of the policy whose value Q is: v(s) = Σ_a π(a|s) q(s, a)."""
    m = task.m
    best, finite = np.where(m.terminal, 0.0, q.max(1)), np.where(m.allowed, q, 0.0)
    if task.policy is not None:
        return (task.policy * finite).sum(1)
    if task.method.judges == "greedy":
        return best
    return (1 - epsilon) * best + epsilon * finite.sum(1) / np.maximum(m.allowed.sum(1), 1)


def policy_of(
    task: Task, q: Float[ndarray, "S A"] | None, epsilon: float
) -> Float[ndarray, "S A"] | Int[ndarray, " S"]:
    """The policy that was judged, or the one that was learned: [S] where it is greedy."""
    if task.policy is not None:
        return task.policy
    assert q is not None, "a method without a policy learns Q"
    if task.method.judges == "greedy":
        return np.where(task.m.terminal, -1, q.argmax(1))
    return epsilon_greedy(task.m, q, epsilon)
