"""Models from Gymnasium environments that show their transition table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.csr import Facts, from_csr, wrap
from logpi.worlds.mdp.merge import merge
from logpi.worlds.mdp.model import FiniteMDP, Layout

if TYPE_CHECKING:
    import gymnasium

__all__ = ["environment_named", "from_gymnasium", "layout_of"]


def from_gymnasium(
    env: gymnasium.Env[Any, Any] | str, *, discount: float, **facts: Unpack[Facts]
) -> FiniteMDP:
    """The model of an environment with a table `unwrapped.P[s][a] = [(p, s', r, terminated), ...]`.

    Gymnasium's own are FrozenLake, CliffWalking and Taxi. `env` may be a name.
    `terminated` ends the episode wherever it leads: a state that is entered in no other way, and is
    no start, becomes terminal; any other stays as it is, and one more state, "end", is added, to
    which those transitions go. r(s, a, s') is kept where it depends on s'. A time limit is a
    wrapper's truncation and no part of the model.

    Start, grid and names come from the environment; `start`, `layout` and `name` replace them.

    Raises `ConfigError` where there is no table, or Gymnasium is not installed.

    >>> from types import SimpleNamespace as Env
    >>> P = {0: {0: [(0.9, 0, 0, False), (0.1, 1, 1, True)]}, 1: {0: [(1, 1, 0, True)]}}
    >>> from_gymnasium(Env(unwrapped=Env(P=P), spec=None), discount=0.9).terminal.tolist()
    [False, True]
    """
    made = environment_named(env) if isinstance(env, str) else env
    name = facts.setdefault("name", _name(made))
    inner: Any = made.unwrapped
    table = _table(inner, name)
    start = getattr(inner, "initial_state_distrib", None)
    start = np.zeros(len(table)) if start is None else np.asarray(start, dtype=np.float64)
    steps = _steps(table, name)
    terminal = _terminal(steps, start)
    # a state that goes on although some transitions end there: those go to one more state
    elsewhere = (steps[:, TERMINATED] > 0) & ~terminal[steps[:, SUCCESSOR].astype(int)]
    if elsewhere.any():
        steps[elsewhere, SUCCESSOR] = len(table)
        start, terminal = np.append(start, 0.0), np.append(terminal, True)
    if start.any():
        facts.setdefault("start", start)
    facts.setdefault("layout", layout_of(inner, len(terminal)))
    return _model(steps, terminal, discount, facts)


# -- the table -------------------------------------------------------------------------------------

# The columns of a table of steps, one transition a row
STATE, ACTION, SUCCESSOR, PROBABILITY, REWARD, TERMINATED = range(6)


def environment_named(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """The Gymnasium environment of that name.

    Raises `ConfigError` where there is none, or none with these options, or no Gymnasium.

    >>> environment_named("FrozenLake-v1", is_slippery=False).spec.kwargs["is_slippery"]
    False
    """
    try:
        import gymnasium  # noqa: PLC0415 # optional, and slow to import
    except ImportError as error:
        raise ConfigError(
            "Gymnasium is not installed: `pip install logpi[gym]` brings it."
        ) from error
    try:
        return gymnasium.make(name, **options)
    except (gymnasium.error.Error, TypeError, ImportError) as error:
        raise ConfigError(f"Gymnasium cannot make {name!r}: {error}") from error


def _name(env: gymnasium.Env[Any, Any]) -> str:
    if not hasattr(env, "unwrapped"):
        raise ConfigError(f"from_gymnasium takes an environment or a name, not {env!r}.")
    return env.spec.id if env.spec else type(env.unwrapped).__name__


def _table(inner: Any, name: str) -> Mapping[int, Mapping[int, list[tuple[Any, ...]]]]:
    table = getattr(inner, "P", None)
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(
            f"{name} shows no transition table (`unwrapped.P`). FrozenLake, CliffWalking and Taxi "
            "do. Write the model of another with `from_function`, or learn without one: "
            "`learn(env, ...)`."
        )
    if getattr(inner, "fickle_passenger", False):
        raise ConfigError(
            f"{name}: a fickle passenger changes his mind outside the table (`unwrapped.P`). "
            "Make the environment without `fickle_passenger`."
        )
    return table


def _steps(table: Mapping[int, Any], name: str) -> Float[ndarray, "n 6"]:
    """Every transition of positive probability, in the order of states and actions."""
    try:
        rows = [
            (s, a, successor, p, r, bool(end))
            for s in range(len(table))
            for a in sorted(table[s])
            for p, successor, r, end in table[s][a]
            if p != 0
        ]
        steps = np.array(rows, dtype=np.float64).reshape(-1, 6)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{name}: `unwrapped.P` must hold [(p, s', r, terminated), ...] for states 0 to "
            f"{len(table) - 1} ({type(error).__name__}: {error})."
        ) from error
    bad = ~((steps[:, SUCCESSOR] >= 0) & (steps[:, SUCCESSOR] < len(table)))
    if bad.any():
        s, a, successor = steps[bad][0, :3].astype(int)
        raise ModelError(
            f"{name}: state {s}, action {a}: its successor {successor} is no state; they are 0 to "
            f"{len(table) - 1}."
        )
    return steps


def _terminal(steps: Float[ndarray, "n 6"], start: Float[ndarray, " S"]) -> Bool[ndarray, " S"]:
    """The states that are entered only by transitions that end the episode, and start none."""
    s, successor = steps[:, STATE].astype(int), steps[:, SUCCESSOR].astype(int)
    ends = steps[:, TERMINATED] > 0
    terminal = np.zeros(len(start), dtype=np.bool_)
    terminal[successor[ends]] = True
    terminal &= start == 0
    while True:  # what a terminal state's own row says does not count, until it is none
        entered = successor[~ends & ~terminal[s]]
        if not terminal[entered].any():
            return terminal
        terminal[entered] = False


def _model(
    steps: Float[ndarray, "n 6"], terminal: Bool[ndarray, " S"], discount: float, facts: Facts
) -> FiniteMDP:
    S, A = len(terminal), int(steps[:, ACTION].max()) + 1
    row = steps[:, STATE].astype(int) * A + steps[:, ACTION].astype(int)
    counts = np.bincount(row, minlength=S * A)
    listed = counts.reshape(S, A) > 0
    given = facts.get("allowed")
    allowed = listed & ~terminal[:, None]
    facts["allowed"] = allowed if given is None else allowed & np.asarray(given)
    # one padded row for each action: place k of row i is the k-th of its transitions
    k = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (S * A, int(counts.max()))
    successors, p, r = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape)
    successors[row, k], p[row, k] = steps[:, SUCCESSOR], steps[:, PROBABILITY]
    r[row, k] = steps[:, REWARD]
    p[~allowed.ravel()] = 0
    (lengths, ids, p, r), _ = merge(successors, p, r, np.full(S, -1))
    t = wrap(p, ids, np.concatenate([[0], np.cumsum(lengths)]).astype(ids.dtype), (S * A, S))
    of_row = np.repeat(np.arange(S * A), lengths)
    reward = np.zeros(S * A)
    reward[of_row] = r  # the last of each row, which is each of them where they are equal
    if (reward[of_row] == r).all():
        return from_csr(t, reward.reshape(S, A), discount, **facts)
    return from_csr(t, None, discount, outcome_reward=r, **facts)


# -- names and places ------------------------------------------------------------------------------


def layout_of(inner: Any, states: int) -> Layout:
    """Grid, moves and marks of the environments that Gymnasium brings; nothing for others.

    >>> layout_of(environment_named("CliffWalking-v1").unwrapped, 48).marks["target"]
    (47,)
    """
    kind = type(inner).__name__
    if kind == "FrozenLakeEnv":
        letters = np.asarray(inner.desc).astype(str)
        return _grid(
            letters.shape,
            (("left", (0, -1)), ("down", (1, 0)), ("right", (0, 1)), ("up", (-1, 0))),
            {mark: letters == x for mark, x in (("start", "S"), ("hole", "H"), ("target", "G"))},
        )
    if kind == "CliffWalkingEnv":
        place = np.arange(np.prod(inner.shape)).reshape(inner.shape)
        return _grid(
            inner.shape,
            (("up", (-1, 0)), ("right", (0, 1)), ("down", (1, 0)), ("left", (0, -1))),
            {
                "start": place == inner.start_state_index,
                "cliff": np.asarray(inner._cliff),
                "target": place == place[-1, -1],
            },
        )
    if kind == "TaxiEnv":
        names = (*_taxi_states(inner), "end")[:states]
        actions = ("south", "north", "east", "west", "pickup", "dropoff")
        return Layout(states=names, actions=actions)
    return Layout()


def _grid(
    shape: tuple[int, int],
    moves: tuple[tuple[str, tuple[int, int]], ...],
    marks: dict[str, Bool[ndarray, "rows columns"]],
) -> Layout:
    return Layout(
        actions=tuple(name for name, _ in moves),
        rows=int(shape[0]),
        columns=int(shape[1]),
        moves=tuple(move for _, move in moves),
        marks={name: tuple(np.flatnonzero(mask).tolist()) for name, mask in marks.items()},
    )


def _taxi_states(inner: Any) -> Iterator[str]:
    places = (*"RGYB", "taxi")
    for s in range(len(inner.P)):
        row, column, passenger, destination = inner.decode(s)
        yield f"({row}, {column}) {places[passenger]}→{places[destination]}"
