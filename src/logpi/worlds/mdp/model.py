"""`FiniteMDP`: states, actions, transitions in CSR, rewards, discount, start and terminal states.

Shapes are named once, here:

    S   states
    A   actions; a state may allow a subset
    Z   stored transitions, the non-zeros of the CSR matrix [S·A, S] whose row is s·A + a
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.validate import row_sums, validate

__all__ = ["FiniteMDP", "Layout", "check_model"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What states and actions are called, and where they lie on a grid: for people and plots alone.

    `rows` and `columns` say that state s lies in cell divmod(s, columns); `moves` gives each
    action's step as (row, column), (0, 0) for staying. `marks` names states: "forbidden",
    "target", "cliff", "start", "hole", ... to state numbers.
    """

    states: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    rows: int = 0
    columns: int = 0
    moves: tuple[tuple[int, int], ...] = ()
    marks: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    @property
    def is_grid(self) -> bool:
        """Whether states are cells of a grid."""
        return self.rows > 0 and self.columns > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process; arrays are shared with the caller, never copied.

    A terminal state allows no action and has value 0; its rows of `transitions` are not read. An
    action that is not allowed is never taken; its row may be empty. Build one with `from_dense`,
    `from_csr`, `from_pairs`, ... (see `logpi.worlds.mdp.build`).

    Raises `ModelError`, naming the first bad state and action, where a row does not sum to 1, holds
    a negative or NaN probability or an index out of range, where a reward is NaN or infinite, or
    where the discount is outside [0, 1].

    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense([[[0.2, 0.8]], [[1.0, 0.0]]], [1.0, 0.0], 0.9, name="two")
    >>> m
    FiniteMDP('two', states=2, actions=1, transitions=3, discount=0.9)
    >>> m.having(discount=0.5).discount, m.row(0, 0)[1].tolist()
    (0.5, [0.2, 0.8])
    >>> m.astype(np.float32).dtype
    dtype('float32')
    """

    transitions: csr_array  # [S·A, S], float64 or float32
    reward: Float[ndarray, "S A"]  # r(s, a), the expected reward
    discount: float
    start: Float[ndarray, " S"]  # the distribution of the first state
    allowed: Bool[ndarray, "S A"]  # no action is allowed in a terminal state
    # r(s, a, s') of each stored transition, where the reward depends on the successor
    outcome_reward: Float[ndarray, " Z"] | None = None
    # the policy that the model comes with (a language model's), where it has one
    policy: Float[ndarray, "S A"] | None = None
    layout: Layout = field(default_factory=Layout)
    name: str = "mdp"

    def __post_init__(self) -> None:
        """Check everything once; see `logpi.worlds.mdp.validate`."""
        validate(self)

    @property
    def states(self) -> int:
        """The number of states, S."""
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        """The number of actions, A."""
        return self.reward.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32: of probabilities, rewards and values."""
        return self.transitions.dtype

    @property
    def terminal(self) -> Bool[ndarray, " S"]:
        """True where no action is allowed: the episode is over and the value is 0."""
        return np.logical_not(self.allowed.any(axis=1))

    def having(self, **changed: Any) -> FiniteMDP:
        """The same model with some fields replaced: `m.having(discount=0.9)`."""
        unknown = set(changed) - set(self.__dataclass_fields__)
        if unknown:
            raise ModelError(
                f"an MDP has no field `{sorted(unknown)[0]}`. "
                f"It has {', '.join(self.__dataclass_fields__)}."
            )
        return replace(self, **changed)

    def astype(self, dtype: npt.DTypeLike) -> FiniteMDP:
        """The same model in float32 or float64.

        A row that float32 holds as a distribution sums to 1 within 1e-5; in float64 it is divided
        by its sum. Raises `ModelError` for another type.
        """
        kind = np.dtype(dtype)
        if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ModelError(f"{self.name}: a model is of float64 or float32, not {kind}.")
        cast = {
            name: x.astype(kind)
            for name in ("transitions", "reward", "start", "outcome_reward", "policy")
            if (x := getattr(self, name)) is not None
        }
        if kind.itemsize > self.dtype.itemsize:
            _divide_by_sums(cast, self.allowed)
        return replace(self, **cast)

    def row(self, state: int, action: int) -> tuple[ndarray, ndarray]:
        """The successors of an action and their probabilities."""
        row = state * self.actions + action
        here = slice(self.transitions.indptr[row], self.transitions.indptr[row + 1])
        return self.transitions.indices[here], self.transitions.data[here]

    def __repr__(self) -> str:
        """The sizes, not the arrays."""
        return (
            f"FiniteMDP({self.name!r}, states={self.states}, actions={self.actions}, "
            f"transitions={self.transitions.nnz}, discount={self.discount:g})"
        )


def _divide_by_sums(cast: dict[str, Any], allowed: Bool[ndarray, "S A"]) -> None:
    """Nothing: what float32 had rounded in these new arrays is a distribution in float64 too."""
    t = cast["transitions"]
    sums = np.where(allowed.ravel(), row_sums(t.data, t.indptr), 1.0)
    t.data /= np.repeat(sums, np.diff(t.indptr))
    cast["start"] /= cast["start"].sum()
    if "policy" in cast:
        cast["policy"] /= np.where(allowed.any(1), cast["policy"].sum(1), 1.0)[:, None]
    if "outcome_reward" in cast:
        expected = row_sums(t.data * cast["outcome_reward"], t.indptr)
        cast["reward"] = np.where(allowed, expected.reshape(allowed.shape), cast["reward"])


def check_model(given: object, taker: str) -> None:
    """Nothing; raises `ConfigError`, saying what to write instead, unless it is a `FiniteMDP`.

    >>> check_model("cliff", "solve")
    Traceback (most recent call last):
    logpi.core.errors.ConfigError: solve takes a FiniteMDP, not 'cliff'. mdp.zoo.make(...
    """
    if isinstance(given, FiniteMDP):
        return
    what = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
    name = given if isinstance(given, str) else "cliff"
    raise ConfigError(
        f"{taker} takes a FiniteMDP, not {what}. mdp.zoo.make({name!r}) makes one of the zoo's, "
        "mdp.load reads one from a file, and mdp.from_gymnasium takes an environment's."
    )
