"""Models from a vectorised Python function: states in, successors and probabilities out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.core.errors import ModelError
from logpi.worlds.mdp.csr import Facts, allowed_mask, from_csr, wrap
from logpi.worlds.mdp.merge import merge
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["Step", "from_function"]

# step(states [n], action) -> successors [n, k], probabilities [n, k], rewards [n] or [n, k]
Step = Callable[[Int[ndarray, " n"], int], tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]]


def from_function(
    step: Step,
    states: int,
    actions: int,
    *,
    discount: float,
    chunk: int = 1 << 16,
    dtype: npt.DTypeLike = np.float64,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model that `step(states, action)` describes, asked for `chunk` states at a time.

    `step` is given state numbers [n] and one action, and returns (successors, probabilities,
    rewards): the k things that may happen, [n, k] each; k may differ between calls. Where it is
    simpler, successors may be [n] (one thing happens), probabilities [k] or a number, and rewards
    [n] or a number where they do not depend on what happens. Probabilities of 0 are dropped (their
    successors may be anything), and a successor named twice is one transition.

    It is asked for every state; what it says of terminal states and of actions that are not
    allowed is not used. The other arguments are those of `from_csr`.

    Raises `ModelError`, which names the first bad state and action.

    >>> def walk(s, a):  # a = 0 or 1: left or right, and one time in ten the other way
    ...     return np.stack([s - 1, s + 1], 1), [0.9, 0.1] if a == 0 else [0.1, 0.9], s == 5
    >>> from_function(walk, 7, 2, discount=0.9, terminal=[0, 6]).transitions.nnz
    20
    """
    name = facts.get("name", "mdp")
    if min(states, actions, chunk) < 1:
        raise ModelError(f"{name}: {states} states, {actions} actions and chunks of {chunk}.")
    allowed = allowed_mask((states, actions), facts)
    facts["allowed"], facts["terminal"] = allowed, None
    table = _Table(name, np.full(states, -1, dtype=np.int64))
    for low in range(0, states, chunk):
        here = np.arange(low, min(low + chunk, states))
        table.add([_answer(step, here, a, name) for a in range(actions)], allowed[here], low)
    t, reward, outcome = table.whole((states, actions), np.dtype(dtype))
    return from_csr(t, reward, discount, outcome_reward=outcome, **facts)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one action does to a chunk of n states; `outcome` where the reward depends on it."""

    successors: Int[ndarray, "n k"]
    probabilities: Float[ndarray, "n k"]
    reward: Float[ndarray, " n"]
    outcome: Float[ndarray, "n k"] | None


def _answer(step: Step, states: Int[ndarray, " n"], action: int, name: str) -> _Answer:
    n, told = len(states), step(states, action)
    where = f"{name}: step(states {states[0]} to {states[-1]}, action {action})"
    if not isinstance(told, tuple | list) or len(told) != 3:  # type: ignore[reportUnnecessaryComparison, reportUnnecessaryIsInstance]  # a user's function
        raise ModelError(
            f"{where} gave a {type(told).__name__}, not (successors, probabilities, rewards)."
        )
    successors, p, r = (np.asarray(x) for x in told)
    if successors.dtype.kind not in "iu":
        raise ModelError(f"{where} gave successors of {successors.dtype}; they are state numbers.")
    successors = successors[:, None] if successors.shape == (n,) else successors
    shape = successors.shape
    if len(shape) != 2 or shape[0] != n:
        raise ModelError(f"{where} gave successors {list(shape)}, not [{n}, k].")
    p = p[:, None] if p.shape == (n,) and shape[1] == 1 else p
    if p.shape not in {(), shape, shape[1:]}:
        raise ModelError(f"{where} gave probabilities {list(p.shape)}, not {list(shape)}.")
    if r.shape not in {(), (n,), shape}:
        raise ModelError(f"{where} gave rewards {list(r.shape)}, not [{n}] or {list(shape)}.")
    p = np.broadcast_to(p, shape)
    if r.ndim < 2:
        return _Answer(successors, p, np.broadcast_to(r, (n,)), None)
    return _Answer(successors, p, np.zeros(n), r)


@dataclass(slots=True)
class _Table:
    """The rows collected so far, a chunk of states at a time."""

    name: str
    unseen: Int[ndarray, " S"]
    parts: list[tuple[ndarray, ndarray, ndarray, ndarray]] = field(
        default_factory=list[tuple[ndarray, ndarray, ndarray, ndarray]]
    )
    rewards: list[Float[ndarray, "n A"]] = field(default_factory=list[ndarray])
    depends: bool = False  # whether rewards depend on the successor

    def add(self, answers: list[_Answer], allowed: Bool[ndarray, "n A"], low: int) -> None:
        """Append a chunk's rows, action by action within state by state."""
        n, A = allowed.shape
        width = max(x.successors.shape[1] for x in answers)
        depends = any(x.outcome is not None for x in answers)
        successors = np.zeros((n, A, width), dtype=np.int64)
        p, r = np.zeros((n, A, width)), np.zeros((n, A, width))
        for a, x in enumerate(answers):
            k = x.successors.shape[1]
            successors[:, a, :k], p[:, a, :k] = x.successors, x.probabilities
            if depends:
                r[:, a, :k] = x.reward[:, None] if x.outcome is None else x.outcome
        p[~allowed] = 0
        if p.size and p.min() < 0:  # merged with another of its successor it would not be seen
            s, a, k = (int(i) for i in np.argwhere(p < 0)[0])
            raise ModelError(
                f"{self.name}: state {low + s}, action {a}: the probability of state "
                f"{successors[s, a, k]} is {p[s, a, k]:g}, but must not be negative or NaN."
            )
        self.rewards.append(np.where(allowed, np.stack([x.reward for x in answers], 1), 0.0))
        successors, p, r = (x.reshape(n * A, width) for x in (successors, p, r))
        (counts, ids, p, r), bad = merge(successors, p, r, self.unseen)
        if bad >= 0:
            raise ModelError(
                f"{self.name}: state {low + bad // A}, action {bad % A}: step gave a successor "
                f"that is no state; they are 0 to {len(self.unseen) - 1}."
            )
        if self.parts and depends != self.depends:
            raise ModelError(
                f"{self.name}: step gave rewards of [n] for some states and of [n, k] for others."
            )
        self.depends = depends
        self.parts.append((counts, ids, p, r if depends else r[:0]))

    def whole(
        self, shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> tuple[csr_array, Float[ndarray, "S A"] | None, Float[ndarray, " Z"] | None]:
        """Transitions, and r(s, a), or r(s, a, s') where it depends on s'; the parts are let go."""
        counts, indices, p, r = (
            np.concatenate([part[k] for part in self.parts], dtype=kind)
            for k, kind in enumerate((None, None, dtype, dtype))
        )
        self.parts.clear()
        index = np.dtype(np.int64) if len(indices) >= 2**31 else indices.dtype
        pointers = np.concatenate([[0], np.cumsum(counts)]).astype(index)
        S, A = shape
        t = wrap(p, indices.astype(index, copy=False), pointers, (S * A, S))
        return (t, None, r) if self.depends else (t, np.concatenate(self.rewards), None)
