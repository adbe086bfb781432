"""What is wrong with a model, said once and before anything is computed.

The transitions are read in blocks of rows, so the check needs next to no memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.core.errors import ModelError

if TYPE_CHECKING:
    from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["TOLERANCE", "row_blocks", "row_sums", "validate"]

# How far the probabilities of a row may be from 1. Rounding alone stays far below; a table printed
# with too few digits does not, and is better divided by its sums than believed.
TOLERANCE = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 1e-5}

# Stored transitions a block: what is read twice stays in cache, and temporaries stay small.
BLOCK = 1 << 18


def validate(m: FiniteMDP) -> None:
    """Nothing: a model without a fault passes, in one walk over its transitions.

    A disallowed action's row may be empty or sum to anything, but its numbers must be numbers and
    its successors states; so must every reward be finite, allowed or not. What is multiplied by a
    probability of 0 then stays 0.

    Raises `ModelError`, naming the first bad state and action, as `FiniteMDP` says.

    >>> from logpi.worlds.mdp.build import from_dense
    >>> from_dense([[[0.5, 0.4], [0.0, 1.0]]], [0.0, 1.0], 0.9)
    Traceback (most recent call last):
        ...
    logpi.core.errors.ModelError: mdp: state 0, action 0: its 2 probabilities sum to 0.9, not 1. ...
    """
    _check_sizes(m)
    try:
        within = 0 <= m.discount <= 1  # false for NaN too
    except TypeError:
        within = False
    if not within:
        raise ModelError(f"{m.name}: discount is {m.discount} but must lie in [0, 1].")
    _check_layout(m)
    _check_transitions(m)
    _check_reward(m)
    _check_start(m)
    if m.outcome_reward is not None:
        _check_outcome_reward(m, m.outcome_reward)
    if m.policy is not None:
        _check_policy(m, m.policy)


def row_blocks(t: csr_array) -> Iterator[tuple[int, int]]:
    """The ranges (low, high) of rows that hold about `BLOCK` stored transitions each.

    >>> list(row_blocks(csr_array((5, 2))))
    [(0, 5)]
    """
    rows = len(t.indptr) - 1
    size = max(1, min(BLOCK, BLOCK * rows // max(1, len(t.data))))
    for low in range(0, rows, size):
        yield low, min(low + size, rows)


def row_sums(values: Num[ndarray, " z"], pointers: Int[ndarray, " r"]) -> Float[ndarray, " rows"]:
    """Σ of the values between each pointer and the next, in float64; 0 where there are none.

    >>> row_sums(np.array([0.5, 0.5, 1.0]), np.array([7, 9, 9, 10])).tolist()
    [1.0, 0.0, 1.0]
    """
    out = np.zeros(len(pointers) - 1)
    # reduceat gives an empty segment the value that follows it: leave those out
    filled = pointers[1:] > pointers[:-1]
    starts = pointers[:-1][filled] - pointers[0]
    if len(starts):
        out[filled] = np.add.reduceat(values, starts, dtype=np.float64)
    return out


def _place(m: FiniteMDP, row: int) -> str:
    s, a = divmod(int(row), m.actions)
    state = f" ({m.layout.states[s]})" if m.layout.states else ""
    action = f" ({m.layout.actions[a]})" if m.layout.actions else ""
    return f"{m.name}: state {s}{state}, action {a}{action}"


# -- shapes and dtypes -----------------------------------------------------------------------------


def _check_sizes(m: FiniteMDP) -> None:
    t: Any = m.transitions
    if not isinstance(m.transitions, csr_array):
        raise ModelError(
            f"{m.name}: `transitions` is a {type(t).__name__} but must be a scipy csr_array; "
            "`from_csr` and `from_dense` make one."
        )
    if t.dtype not in TOLERANCE:
        raise ModelError(
            f"{m.name}: `transitions` is {t.dtype} but must be float64 or float32. "
            "Convert it with `.astype(numpy.float64)`."
        )
    if getattr(m.reward, "ndim", 0) != 2:
        raise ModelError(
            f"{m.name}: `reward` is {list(np.shape(m.reward))} but must be [states, actions]."
        )
    S, A = m.reward.shape
    if not S or not A:
        raise ModelError(f"{m.name}: {S} states and {A} actions: a model has at least one of each.")
    if t.shape != (S * A, S):
        raise ModelError(
            f"{m.name}: `transitions` is {list(t.shape)} but `reward` is [{S}, {A}], "
            f"which asks for [states·actions, states] = [{S * A}, {S}]; row s·A + a is action a in "
            "state s."
        )
    _check_array(m, "reward", (S, A), (t.dtype,))
    _check_array(m, "allowed", (S, A), (np.dtype(np.bool_),))
    _check_array(m, "start", (S,), tuple(TOLERANCE))
    if m.policy is not None:
        _check_array(m, "policy", (S, A), tuple(TOLERANCE))
    if m.outcome_reward is not None:
        _check_array(m, "outcome_reward", (len(t.data),), (t.dtype,))


def _check_array(
    m: FiniteMDP, name: str, shape: tuple[int, ...], dtypes: tuple[np.dtype, ...]
) -> None:
    x = getattr(m, name)
    if not isinstance(x, ndarray) or x.shape != shape:
        found = list(np.shape(x)) if isinstance(x, ndarray) else f"a {type(x).__name__}"
        raise ModelError(f"{m.name}: `{name}` is {found} but must be an array {list(shape)}.")
    if x.dtype not in dtypes:
        raise ModelError(
            f"{m.name}: `{name}` is {x.dtype} but must be {' or '.join(str(d) for d in dtypes)}"
            f"{', as `transitions` is' if len(dtypes) == 1 and x.dtype in TOLERANCE else ''}."
        )
    if not x.flags.c_contiguous:  # compiled code would be compiled again for every other layout
        raise ModelError(f"{m.name}: `{name}` is a strided view: pass `numpy.ascontiguousarray`.")


def _check_layout(m: FiniteMDP) -> None:
    names = m.layout
    for what, given, count in (
        ("state names", len(names.states), m.states),
        ("action names", len(names.actions), m.actions),
        ("moves", len(names.moves), m.actions),
    ):
        if given not in (0, count):
            raise ModelError(f"{m.name}: the layout has {given} {what} for {count}.")
    if names.rows < 0 or names.columns < 0 or names.rows * names.columns > m.states:
        raise ModelError(
            f"{m.name}: the layout is a grid of {names.rows} × {names.columns} cells, "
            f"but there are {m.states} states."
        )
    for mark, places in names.marks.items():
        out = [s for s in places if not 0 <= s < m.states]
        if out:
            raise ModelError(
                f"{m.name}: the layout marks state {out[0]} as {mark!r}; states are 0 to "
                f"{m.states - 1}."
            )


# -- transitions -----------------------------------------------------------------------------------


def _check_transitions(m: FiniteMDP) -> None:
    t = m.transitions
    if len(t.indices) != len(t.data) or t.indptr[0] != 0 or t.indptr[-1] != len(t.data):
        raise ModelError(
            f"{m.name}: `transitions` holds {len(t.data)} probabilities and {len(t.indices)} "
            f"successors, and `indptr` runs from {t.indptr[0]} to {t.indptr[-1]}. Call `.prune()`."
        )
    allowed = m.allowed.ravel()
    tolerance = TOLERANCE[t.dtype]
    for low, high in row_blocks(t):
        pointers = t.indptr[low : high + 1]
        if (pointers[1:] < pointers[:-1]).any():
            row = low + int(np.argmax(pointers[1:] < pointers[:-1]))
            raise ModelError(f"{_place(m, row)}: `transitions.indptr` decreases after its row.")
        here = slice(pointers[0], pointers[-1])
        p, successors = t.data[here], t.indices[here]
        sums = row_sums(p, pointers)
        fine = not len(p) or (
            p.min() >= 0  # false for NaN too
            and successors.min() >= 0
            and successors.max() < m.states
        )
        off = ~(np.abs(sums - 1) <= tolerance) & allowed[low:high]
        if not fine or off.any():
            _explain(m, low, high, sums, off)


def _explain(m: FiniteMDP, low: int, high: int, sums: Float[ndarray, " n"], off: ndarray) -> None:
    """Raise for the first of a block's bad rows."""
    t = m.transitions
    pointers = t.indptr[low : high + 1]
    here = slice(pointers[0], pointers[-1])
    p, successors = t.data[here], t.indices[here]
    bad = np.flatnonzero(~((p >= 0) & (successors >= 0) & (successors < m.states)))
    rows = np.flatnonzero(off)
    # side="right" skips the empty rows that begin at the same place
    entry_row = np.searchsorted(pointers - pointers[0], bad[:1], side="right") - 1
    if len(bad) and (not len(rows) or entry_row[0] <= rows[0]):
        z = bad[0]
        what = (
            f"the probability of state {successors[z]} is {p[z]}, but must not be negative or NaN"
            if not p[z] >= 0
            else f"its successor {successors[z]} is no state; they are 0 to {m.states - 1}"
        )
        raise ModelError(f"{_place(m, low + int(entry_row[0]))}: {what}.")
    row = int(rows[0])
    count = int(pointers[row + 1] - pointers[row])
    if not count:
        raise ModelError(
            f"{_place(m, low + row)}: it has no successors. Pass `allowed=` if the action cannot "
            "be taken there, or `terminal=` if the episode is over."
        )
    raise ModelError(
        f"{_place(m, low + row)}: its {count} probabilities sum to {sums[row]:.10g}, not 1. "
        "Divide each row by its sum if that is rounding; pass `allowed=` or `terminal=` if the "
        "action cannot be taken."
    )


# -- what goes with them ---------------------------------------------------------------------------


def _check_reward(m: FiniteMDP) -> None:
    # a sum is finite only if every term is, and costs no array of its own
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(m.reward.sum(dtype=np.float64)):
            return
    bad = np.flatnonzero(~np.isfinite(m.reward.ravel()))
    if len(bad):
        row = int(bad[0])
        raise ModelError(
            f"{_place(m, row)}: the reward is {m.reward.ravel()[row]}, but must be finite. "
            "An action that cannot be taken is said with `allowed=`, and has reward 0."
        )


def _check_start(m: FiniteMDP) -> None:
    bad = np.flatnonzero(~(m.start >= 0))
    if len(bad):
        s = int(bad[0])
        raise ModelError(
            f"{m.name}: `start` gives state {s} the probability {m.start[s]}; "
            "it must not be negative or NaN."
        )
    total = float(m.start.sum(dtype=np.float64))
    if not abs(total - 1) <= TOLERANCE[m.start.dtype]:
        raise ModelError(f"{m.name}: `start` sums to {total:.10g}, but must be a distribution.")


def _check_outcome_reward(m: FiniteMDP, outcome: Float[ndarray, " z"]) -> None:
    t = m.transitions
    if not t.has_canonical_format:  # SciPy may sort it at any time, and leave `outcome` behind
        raise ModelError(
            f"{m.name}: with `outcome_reward`, the successors of each row of `transitions` must be "
            "sorted and distinct; `from_csr` sorts both together."
        )
    tolerance = TOLERANCE[t.dtype]
    allowed, reward = m.allowed.ravel(), m.reward.ravel()
    for low, high in row_blocks(t):
        pointers = t.indptr[low : high + 1]
        here = slice(pointers[0], pointers[-1])
        if not np.isfinite(outcome[here]).all():
            z = int(np.argmin(np.isfinite(outcome[here])))
            row = low + int(np.searchsorted(pointers - pointers[0], z, side="right")) - 1
            raise ModelError(
                f"{_place(m, row)}: `outcome_reward` is {outcome[here][z]} for the successor "
                f"{t.indices[here][z]}, but must be finite."
            )
        part = t.data[here] * outcome[here]
        mean, size = row_sums(part, pointers), row_sums(np.abs(part), pointers)
        off = ~(np.abs(mean - reward[low:high]) <= tolerance * (1 + size)) & allowed[low:high]
        if off.any():
            k = int(np.argmax(off))
            raise ModelError(
                f"{_place(m, low + k)}: `reward` is {reward[low + k]:.10g}, but the expectation of "
                f"`outcome_reward` is {mean[k]:.10g}. Correct one of them."
            )


def _check_policy(m: FiniteMDP, policy: Float[ndarray, "S A"]) -> None:
    bad = np.flatnonzero(~(policy >= 0).ravel())
    if len(bad):
        row = int(bad[0])
        raise ModelError(
            f"{_place(m, row)}: `policy` is {policy.ravel()[row]}; it must not be negative or NaN."
        )
    bad = np.flatnonzero((policy > 0).ravel() & ~m.allowed.ravel())
    if len(bad):
        row = int(bad[0])
        raise ModelError(
            f"{_place(m, row)}: `policy` takes this action with probability "
            f"{policy.ravel()[row]:.10g}, but it is not allowed."
        )
    sums = policy.sum(1, dtype=np.float64)
    bad = np.flatnonzero(~(np.abs(sums - 1) <= TOLERANCE[policy.dtype]) & ~m.terminal)
    if len(bad):
        s = int(bad[0])
        raise ModelError(f"{m.name}: `policy` sums to {sums[s]:.10g} in state {s}, not 1.")
