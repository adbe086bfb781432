"""`from_csr`, through which every model is built, and the parts that all builders share."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.sparse import csr_array, issparse, sparray, spmatrix

from logpi.core.errors import ModelError
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.validate import TOLERANCE, row_blocks, row_sums

__all__ = ["Facts", "Sparse", "allowed_mask", "as_csr", "floats", "from_csr", "shape_of", "wrap"]

# Any of SciPy's sparse containers, old or new
Sparse = sparray | spmatrix


class Facts(TypedDict, total=False):
    """What every builder takes besides transitions, rewards and discount; see `from_csr`."""

    allowed: npt.ArrayLike | None
    terminal: npt.ArrayLike | None
    start: npt.ArrayLike | int | None
    policy: npt.ArrayLike | None
    layout: Layout | None
    name: str


def from_csr(
    transitions: Sparse,
    reward: npt.ArrayLike | None,
    discount: float,
    *,
    outcome_reward: npt.ArrayLike | None = None,
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model whose row s·A + a of `transitions` [S·A, S] is p(·|s, a); CSR is not copied.

    `reward` is [S, A] or [S·A], or [S] where it belongs to the state that is left. With
    `outcome_reward` [Z], r(s, a, s') in the order of `transitions.data`, it may be None, and is
    then Σ_s' p(s'|s, a) r(s, a, s'); a matrix whose rows are not sorted is then copied.

    `terminal` (state numbers, or a mask [S]) ends the episode: no action is allowed there and the
    value is 0. `allowed` [S, A] says which actions exist; by default all, but in terminal states.
    `start` is a state or a distribution [S]; by default uniform over the states that are not
    terminal. float32 transitions make a float32 model.

    Raises `ModelError`, which names the first bad state and action.

    >>> stay_or_go = csr_array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    >>> from_csr(stay_or_go, [[0, 1], [0, 0]], 0.9, terminal=[1])
    FiniteMDP('mdp', states=2, actions=2, transitions=2, discount=0.9)
    """
    t = as_csr(transitions)
    name = facts.get("name", "mdp")
    shape = _states_and_actions(t, name)
    if outcome_reward is None:
        return _finish(t, _reward(reward, shape, t.dtype, name), discount, None, facts)
    if getattr(transitions, "format", "") != "csr":
        raise ModelError(
            f"{name}: `outcome_reward` is in the order of CSR's data, but `transitions` is no CSR."
        )
    outcome = _outcome(outcome_reward, t, name)
    r = _expected(t, outcome) if reward is None else reward
    t, outcome = _in_order(t, outcome)
    return _finish(t, _reward(r, shape, t.dtype, name), discount, outcome, facts)


# -- the parts -------------------------------------------------------------------------------------


def _states_and_actions(t: csr_array, name: str) -> tuple[int, int]:
    rows, S = shape_of(t)
    if not S or not rows or rows % S:
        raise ModelError(
            f"{name}: `transitions` is [{rows}, {S}] but must be [states·actions, states], "
            "with at least one of each; row s·A + a is action a in state s."
        )
    return S, rows // S


def _outcome(given: npt.ArrayLike, t: csr_array, name: str) -> Float[ndarray, " Z"]:
    outcome = floats(given, t.dtype)
    if outcome.shape != t.data.shape:
        raise ModelError(
            f"{name}: `outcome_reward` is {list(outcome.shape)} but must be [{len(t.data)}], one "
            "for each stored transition."
        )
    return outcome


def _in_order(
    t: csr_array, outcome: Float[ndarray, " Z"]
) -> tuple[csr_array, Float[ndarray, " Z"]]:
    """Successors sorted in each row, and each named once, with their rewards.

    SciPy sorts and merges a matrix in place when it likes (`abs(t)` does): only in this order does
    it leave `outcome_reward` in step.
    """
    if t.has_canonical_format:
        return t, outcome
    shape = shape_of(t)
    places: Any = wrap(np.arange(len(t.data)), t.indices.copy(), t.indptr, shape)
    places.sort_indices()
    p, r, successors = t.data[places.data], outcome[places.data], places.indices
    rows = np.repeat(np.arange(shape[0]), np.diff(t.indptr))
    new = np.ones(len(p), dtype=np.bool_)
    new[1:] = (successors[1:] != successors[:-1]) | (rows[1:] != rows[:-1])
    if not new.all():
        first = np.flatnonzero(new)
        total = np.add.reduceat(p, first)
        earned = np.add.reduceat(p * r, first)
        r = np.divide(earned, total, out=r[first], where=total > 0)
        p, successors = total, successors[first]
    lengths = np.bincount(rows[new], minlength=shape[0])
    pointers = np.concatenate([[0], np.cumsum(lengths)]).astype(t.indptr.dtype)
    return wrap(p, successors, pointers, shape), r


def _finish(
    t: csr_array,
    reward: Float[ndarray, "S A"],
    discount: float,
    outcome: Float[ndarray, " Z"] | None,
    facts: Facts,
) -> FiniteMDP:
    unknown = set(facts) - Facts.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"a model takes no {sorted(unknown)}; it takes {sorted(Facts.__annotations__)}"
        )
    allowed = allowed_mask(reward.shape, facts)
    if not allowed.all() and not np.isfinite(reward[~allowed]).all():
        # -inf is how some libraries mark what is not allowed; here `allowed` does
        reward = np.where(allowed, reward, reward.dtype.type(0))
    policy = facts.get("policy")
    return FiniteMDP(
        transitions=t,
        reward=reward,
        discount=_number(discount, facts.get("name", "mdp")),
        start=_start(facts.get("start"), allowed, t.dtype),
        allowed=allowed,
        outcome_reward=outcome,
        policy=None if policy is None else floats(policy, t.dtype),
        layout=facts.get("layout") or Layout(),
        name=facts.get("name", "mdp"),
    )


def _number(discount: object, name: str) -> float:
    if isinstance(discount, bool) or not isinstance(discount, int | float | np.number):
        raise ModelError(f"{name}: discount is {discount!r} but must be a number in [0, 1].")
    return float(discount)


def allowed_mask(shape: tuple[int, ...], facts: Facts) -> Bool[ndarray, "S A"]:
    """Which actions `allowed` and `terminal` leave, [S, A].

    >>> allowed_mask((2, 2), {"terminal": [1]}).tolist()
    [[True, True], [False, False]]
    """
    name = facts.get("name", "mdp")
    given, terminal = facts.get("allowed"), facts.get("terminal")
    if given is None:
        allowed = np.ones(shape, dtype=np.bool_)
    else:
        allowed = np.ascontiguousarray(given, dtype=np.bool_)
        if allowed.shape != shape:
            raise ModelError(
                f"{name}: `allowed` is {list(allowed.shape)} but must be {list(shape)}."
            )
    if terminal is None:
        return allowed
    ends = np.asarray(terminal)
    if ends.dtype == np.bool_ and ends.shape == shape[:1]:
        ends = np.flatnonzero(ends)
    elif not ends.size:
        return allowed
    elif ends.dtype.kind not in "iu" or not ((ends >= 0) & (ends < shape[0])).all():
        raise ModelError(
            f"{name}: `terminal` must be state numbers 0 to {shape[0] - 1}, or a mask [{shape[0]}]."
        )
    allowed = allowed.copy() if given is not None else allowed  # the caller's own stays as it was
    allowed[ends] = False
    return allowed


def _start(
    given: npt.ArrayLike | int | None, allowed: Bool[ndarray, "S A"], dtype: np.dtype[Any]
) -> Float[ndarray, " S"]:
    S = len(allowed)
    if given is None:
        going = allowed.any(1)
        going = going if going.any() else np.ones(S, dtype=np.bool_)
        return (going / going.sum()).astype(dtype)
    start = np.asarray(given)
    if start.ndim:
        return np.ascontiguousarray(start, dtype=dtype)
    if start.dtype.kind not in "iu" or not 0 <= start < S:
        raise ModelError(f"`start` is {given!r} but must be a state, 0 to {S - 1}, or [{S}].")
    return (np.arange(S) == start).astype(dtype)


def as_csr(x: Any) -> csr_array:
    """The same numbers as a csr_array; shared where they are CSR of a float type already.

    >>> given = csr_array([[1.0]])
    >>> np.shares_memory(as_csr(given).data, given.data)
    True
    """
    if not issparse(x):
        raise ModelError(
            f"`transitions` is a {type(x).__name__} but must be a SciPy sparse matrix; "
            "`from_dense` takes arrays."
        )
    t: Any = csr_array(x)
    if t.dtype in TOLERANCE:
        return t
    # not t.astype, which would sort each row
    return wrap(t.data.astype(np.float64), t.indices, t.indptr, shape_of(t))


def shape_of(x: Any) -> tuple[int, int]:
    """The rows and columns of a sparse matrix, typed.

    >>> shape_of(csr_array((6, 3)))
    (6, 3)
    """
    return x.shape


def floats(x: npt.ArrayLike, dtype: np.dtype[Any] | None) -> ndarray:
    """A contiguous float array; of the given dtype, or of its own where that is float32.

    >>> floats([1, 2], None).dtype
    dtype('float64')
    """
    try:
        given = np.asarray(x)
        given = given if given.dtype.kind in "fiub" else given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"an array of numbers was expected: {error}.") from error
    kind = dtype or (given.dtype if given.dtype in TOLERANCE else np.dtype(np.float64))
    return np.ascontiguousarray(given, dtype=kind)


def _reward(
    given: npt.ArrayLike | None, shape: tuple[int, int], dtype: np.dtype[Any], name: str
) -> Float[ndarray, "S A"]:
    if given is None:
        raise ModelError(f"{name}: give `reward` or `outcome_reward`.")
    r = floats(given, dtype)
    if r.shape == shape:
        return r
    if r.shape == shape[:1] and shape[1] > 1:  # r(s): what leaving the state earns, by any action
        return np.repeat(r[:, None], shape[1], axis=1)
    if r.shape == (shape[0] * shape[1],):
        return r.reshape(shape)
    raise ModelError(
        f"{name}: `reward` is {list(r.shape)} but must be [states, actions] = {list(shape)}, "
        f"[{shape[0] * shape[1]}], or [{shape[0]}] for a reward of the state alone."
    )


def _expected(t: csr_array, outcome: Float[ndarray, " Z"]) -> Float[ndarray, " rows"]:
    """Σ_s' p(s'|s, a) r(s, a, s') of each row, in blocks."""
    out = np.empty(len(t.indptr) - 1, dtype=t.dtype)
    for low, high in row_blocks(t):
        pointers = t.indptr[low : high + 1]
        here = slice(pointers[0], pointers[-1])
        out[low:high] = row_sums(t.data[here] * outcome[here], pointers)
    return out


def wrap(data: ndarray, indices: ndarray, indptr: ndarray, shape: tuple[int, int]) -> csr_array:
    """CSR of these very arrays: SciPy's own constructor may copy int64 indices to int32.

    >>> wrap(np.ones(1), np.zeros(1, np.int64), np.array([0, 1]), (1, 1)).indices.dtype
    dtype('int64')
    """
    t: Any = csr_array(shape, dtype=data.dtype)
    t.data, t.indices, t.indptr = data, indices, indptr
    return t
