"""Models in DRN, the explicit text format of the model checker Storm (stormchecker.org).

Tried with stormpy 2.0, in both directions: values agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy import ndarray

from logpi.core.errors import ModelError
from logpi.worlds.mdp.csr import Facts, wrap
from logpi.worlds.mdp.files.absorbing import absorbing
from logpi.worlds.mdp.files.disk import reading, writing
from logpi.worlds.mdp.files.drn_text import DrnText, read_text
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.pairs import from_pairs
from logpi.worlds.mdp.validate import row_sums

__all__ = ["load_drn", "save_drn"]

# Storm prints six digits by default: rows this close to 1 are divided by their sums.
PRINTED = 1e-4
# Labels that say something to Storm, and are no marks
INITIAL, DEADLOCK = "init", "deadlock"


def load_drn(
    path: str | Path,
    *,
    discount: float,
    reward: str | None = None,
    target: str | Iterable[str] = (),
    **facts: Unpack[Facts],
) -> FiniteMDP:
    """The model of a DRN file of an MDP, or of a Markov chain, which has one action.

    `reward` names the reward model where the file has several; r(s, a) is its reward of the state
    plus that of the action. The episode ends in states with a label in `target`, and in those that
    every action keeps at reward 0, as Storm closes a deadlock. It starts in one of the states
    labelled `init`, each as likely; other labels become marks of the layout.

    Actions are told apart by their names where the names are numbers or few, and by their places
    in their states otherwise. Probabilities printed with few digits are divided by their sum.

    Raises `ModelError`, which names the file, the line, and what is wrong.
    """
    with reading(Path(path)) as file:
        text = read_text(file, reward)
        facts.setdefault("name", Path(path).stem)
        return _model(text, discount, (target,) if isinstance(target, str) else target, facts)


def _model(text: DrnText, discount: float, target: Iterable[str], facts: Facts) -> FiniteMDP:
    S, rows = text.declared_states, len(text.row_name)
    if not rows:
        raise ModelError("no state has an action.")
    first = np.concatenate([*text.first, [text.transitions]])
    successors = np.concatenate(text.successors or [np.zeros(0, dtype=np.int64)])
    p = np.concatenate(text.probabilities or [np.zeros(0)])
    sums = row_sums(p, first)
    rounded = (np.abs(sums - 1) > 1e-8) & (np.abs(sums - 1) < PRINTED)
    if rounded.any():
        p /= np.repeat(np.where(rounded, sums, 1.0), np.diff(first))
    index = np.int32 if max(S, text.transitions) < 2**31 else np.int64
    state = np.concatenate(text.row_state)
    r = np.array(text.row_rewards) + np.array(text.state_rewards)[state]
    # a successor beyond the states is named by the check; it must not wrap to a good one before
    successors = np.minimum(successors, np.iinfo(index).max)
    t = wrap(p, successors.astype(index), first.astype(index), (rows, S))
    action, names = _actions(text, state)
    if "terminal" not in facts:
        terminal = absorbing(t, r, state, S)
        terminal[_labelled(text, target)] = True
        facts["terminal"] = terminal
    initial = text.labels.get(INITIAL, [])
    if initial:
        facts.setdefault("start", np.bincount(initial, minlength=S) / len(initial))
    marks = {k: tuple(v) for k, v in text.labels.items() if k not in (INITIAL, DEADLOCK)}
    facts.setdefault("layout", Layout(actions=names, marks=marks))
    return from_pairs((state, action), t, r, discount, **facts)


def _labelled(text: DrnText, target: Iterable[str]) -> list[int]:
    unknown = [label for label in target if label not in text.labels]
    if unknown:
        raise ModelError(
            f"no state has the label {unknown[0]!r}; there are {', '.join(text.labels) or 'none'}."
        )
    return [s for label in target for s in text.labels[label]]


def _actions(text: DrnText, state: ndarray) -> tuple[ndarray, tuple[str, ...]]:
    """The number of each row's action, and the actions' names where they have some."""
    begins = np.searchsorted(state, state)  # rows come state by state
    place = np.arange(len(state)) - begins
    most = int(place.max()) + 1
    names = tuple(text.names)
    number = np.array(text.row_name)
    if all(name.isdecimal() for name in names):
        number, names = np.array([min(int(name), 1 << 40) for name in names])[number], ()
    # [S, A] tables are dense: a model that names every choice anew must not make A large
    few = number.max() < 4 * most
    row = state * (int(number.max()) + 1) + number
    if few and ((row[1:] > row[:-1]).all() or len(np.unique(row)) == len(row)):
        return number, names
    return place, ()


# -- writing ---------------------------------------------------------------------------------------


def save_drn(m: FiniteMDP, path: str | Path, *, overwrite: bool = False) -> None:
    """Nothing: the model is in `path`, with its rewards as the reward model "reward".

    An action's name is its number. A terminal state is labelled "deadlock" and keeps itself, as
    Storm closes a deadlock; the layout's marks become labels. The format holds no discount, no
    r(s, a, s'), and only a uniform start.

    Raises `ModelError` where the start is another, or where the file exists, unless `overwrite` is
    given, or cannot be written.

    >>> import tempfile
    >>> from logpi.worlds.mdp.build import from_dense
    >>> m = from_dense([[[0.2, 0.8]], [[0, 0]]], [1.0, 0.0], 0.9, terminal=[1], start=0)
    >>> path = Path(tempfile.mkdtemp()) / "two.drn"
    >>> save_drn(m, path)
    >>> print(path.read_text().partition("@model")[2])  # doctest: +NORMALIZE_WHITESPACE
    state 0 init
        action 0 [1.0]
            0 : 0.2
            1 : 0.8
    state 1 deadlock
        action 0 [0]
            1 : 1
    """
    labels = _labels(m)
    rows = int(m.allowed.sum() + m.terminal.sum())
    header = (
        f"// {' '.join(m.name.split())}, written by logpi\n@type: MDP\n@parameters\n\n"
        f"@reward_models\nreward\n@nr_states\n{m.states}\n@nr_choices\n{rows}\n@model\n"
    )
    with writing(Path(path), overwrite=overwrite) as (file,):
        file.write(header.encode())
        for low in range(0, m.states, 4096):
            high = min(low + 4096, m.states)
            file.write("".join(_lines(m, low, high, labels)).encode())


def _labels(m: FiniteMDP) -> list[str]:
    """What follows each state's number."""
    initial = np.flatnonzero(m.start)
    if not np.allclose(m.start[initial], 1 / len(initial), rtol=1e-5, atol=0):
        raise ModelError(
            f"{m.name}: DRN holds only a start that is uniform over some states: save it as .npz."
        )
    out = [""] * m.states
    for name, states in (
        (INITIAL, initial.tolist()),
        (DEADLOCK, np.flatnonzero(m.terminal).tolist()),
        *((k, v) for k, v in m.layout.marks.items() if k not in (INITIAL, DEADLOCK)),
    ):
        if not name or '"' in name or "\n" in name:
            raise ModelError(f"{m.name}: {name!r} cannot be a label in DRN.")
        word = f' "{name}"' if len(name.split()) > 1 or name != name.strip() else f" {name}"
        for s in states:
            out[s] += word
    return out


def _lines(m: FiniteMDP, low: int, high: int, labels: list[str]) -> Iterator[str]:
    t, A = m.transitions, m.actions
    pointers = t.indptr[low * A : high * A + 1].tolist()
    base = pointers[0]
    successors = t.indices[base : pointers[-1]].tolist()
    p = _digits(t.data[base : pointers[-1]])
    reward = _digits(m.reward[low:high].ravel())
    for s, allowed in zip(range(low, high), m.allowed[low:high].tolist(), strict=True):
        yield f"state {s}{labels[s]}\n"
        if True not in allowed:
            yield f"\taction 0 [0]\n\t\t{s} : 1\n"
        for a in range(A):
            if allowed[a]:
                row = (s - low) * A + a
                yield f"\taction {a} [{reward[row]}]\n"
                for z in range(pointers[row] - base, pointers[row + 1] - base):
                    yield f"\t\t{successors[z]} : {p[z]}\n"


def _digits(x: ndarray) -> list[str]:
    """The shortest digits that give the same number, in the model's own precision."""
    return list(map(repr, x.tolist())) if x.dtype == np.float64 else [str(value) for value in x]
