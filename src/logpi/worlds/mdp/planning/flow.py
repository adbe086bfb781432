"""Solves (I − W) x = b for the chain of a policy, W = γP without its self-loops, in O(states).

A multigrid that knows no grid: the states are numbered against the flow (`ordering.flow_order`), so
that a Gauss–Seidel sweep takes values all the way up; what is left, values that circle where the
policy settles or creep against the flow, is smooth along the flow. So states are put together into
pieces of at most `DEEP` steps of flow, each gets one correction, and the corrections of the pieces
solve the same kind of problem, on a quarter of the states.

Within a piece, residuals are averaged by how often the policy visits the states (iterative
aggregation and disaggregation: Koury, McAllister & Stewart 1984, here for values, with the weights
of the stationary problem). Averaging them evenly, or choosing pieces without regard to the flow,
diverges where rewards are random.
"""

# pyright: reportMissingParameterType=false
# numba infers the types of compiled functions from their first call.

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from logpi.worlds.mdp.planning.kernels import jit

__all__ = ["Chain", "Level", "cycle", "levels_of", "relax"]

DEEP = 4
"""Steps of flow in a piece. More make fewer pieces, and corrections that fit them less."""

COARSEST = 100
"""So few states are solved by a dense inverse."""

SWEEPS = 2
"""Gauss–Seidel sweeps before and after each correction."""

VISITS = 4
"""Sweeps that improve the numbers of visits on the coarser levels."""


class Chain(NamedTuple):
    """The matrix W ≥ 0 with an empty diagonal, in CSR; its rows sum to less than 1."""

    indptr: Int[ndarray, " n+1"]
    indices: Int[ndarray, " z"]  # unsigned
    weight: Float[ndarray, " z"]


@dataclass(slots=True)
class Level:
    """One size of the problem: b and x are its right side and solution."""

    chain: Chain
    b: Float[ndarray, " n"]
    x: Float[ndarray, " n"]
    visits: Float[ndarray, " n"] | None = None
    piece: Int[ndarray, " n"] | None = None  # the state of the next level that a state is part of
    scale: Float[ndarray, " m"] | None = None  # of each piece: what its row was divided by
    inverse: Float[ndarray, "n n"] | None = None


def levels_of(
    chain: Chain,
    b: Float[ndarray, " n"],
    room: Float[ndarray, " n"],
    *,
    counts: Float[ndarray, " n"],
    visits: int,
) -> list[Level]:
    """The problem and its coarser versions; `room` is overwritten, and becomes the solution x.

    `counts` is how often each state is visited, as far as that is known (zeros where it is not):
    `visits` sweeps improve it in place.
    """
    levels = [Level(chain, b, room)]
    source, flow = np.ones(len(b), dtype=np.float32), room
    _inflow(chain, counts, source, flow)
    count_visits(chain, counts, flow, visits)
    while len(levels[-1].b) > COARSEST:
        level = levels[-1]
        piece = np.empty(len(level.b), dtype=np.int32)
        pieces = _cut(level.chain, DEEP, piece)
        if pieces > 0.8 * len(piece):  # no flow to go along: plain sweeps have to do
            break
        coarse, scale, source = _coarsened(level.chain, counts, piece, source, pieces)
        level.visits, level.piece, level.scale = counts, piece, scale
        counts, flow = scale.copy(), np.empty(pieces, dtype=chain.weight.dtype)
        _inflow(coarse, counts, source, flow)
        count_visits(coarse, counts, flow, VISITS)
        levels.append(Level(coarse, np.empty(pieces, dtype=chain.weight.dtype), flow))
        if len(coarse.weight) > len(level.chain.weight):
            break
    last = levels[-1]
    if len(last.b) <= COARSEST:
        last.inverse = np.linalg.inv(_dense(last.chain))
    return levels


def _coarsened(chain: Chain, counts, piece, source, pieces: int):
    """The chain of the pieces, what its rows were divided by, and the pieces' sources of flow."""
    stored = chain.indptr[-1]
    room = Chain(
        np.empty(pieces + 1, dtype=chain.indptr.dtype),
        np.empty(stored, dtype=np.uint32),
        np.empty(stored, dtype=chain.weight.dtype),
    )
    scale, sources = np.empty(pieces, dtype=np.float32), np.zeros(pieces, dtype=np.float32)
    used = _merge(chain, counts, piece, (source, sources), (room, scale))
    # np.empty takes no memory that is not written: only what is used is ever there, and copied.
    return Chain(room.indptr, room.indices[:used].copy(), room.weight[:used].copy()), scale, sources


def _dense(chain: Chain) -> Float[ndarray, "n n"]:
    matrix = np.eye(len(chain.indptr) - 1)
    row = np.repeat(np.arange(len(matrix)), np.diff(chain.indptr))
    stored = chain.indptr[-1]
    np.subtract.at(matrix, (row, chain.indices[:stored]), chain.weight[:stored])
    return matrix


def cycle(levels: list[Level], *, first: bool) -> float:
    """The largest change of the last sweep of one W-cycle; `first` begins with x = 0.

    Sweep, correct by the next level (which does the same, twice), sweep again.
    """
    level = levels[0]
    if level.inverse is not None:
        level.x[:] = level.inverse @ level.b
        return 0.0
    if first:
        level.x[:] = 0
    if level.piece is None or level.scale is None:
        return relax(level.chain, level.b, level.x, 10 * SWEEPS)
    relax(level.chain, level.b, level.x, SWEEPS)
    below = levels[1]
    _restrict(level.chain, (level.b, level.x, level.visits), level.piece, level.scale, below.b)
    cycle(levels[1:], first=True)
    if below.piece is not None:
        cycle(levels[1:], first=False)
    _correct(level.x, below.x, level.piece)
    return relax(level.chain, level.b, level.x, SWEEPS)


@jit
def relax(chain, b, x, sweeps):
    """The largest change of the last of some Gauss–Seidel sweeps: x(i) ← b(i) + Σ W(i, j) x(j)."""
    indptr, indices, weight = chain
    one = np.uint64(1)
    largest = 0.0
    for _ in range(sweeps):
        largest = 0.0
        z = np.uint64(0)
        for i in range(len(b)):
            end = np.uint64(indptr[i + 1])
            total = b[i]
            while z < end:
                total += weight[z] * x[indices[z]]
                z += one
            largest = max(largest, abs(total - x[i]))
            x[i] = total
    return largest


@jit
def count_visits(chain, visits, inflow, sweeps):
    """Gauss–Seidel sweeps, with the flow, for visits = source + visits W.

    `inflow` is the right side for the visits as they are; both are kept up to date.
    """
    indptr, indices, weight = chain
    one, states = np.uint64(1), np.uint64(len(visits))
    for _ in range(sweeps):
        i, z = states, np.uint64(indptr[states])
        while i > 0:
            i -= one
            more = inflow[i] - visits[i]
            visits[i] = inflow[i]
            begin = np.uint64(indptr[i])
            while z > begin:
                z -= one
                inflow[indices[z]] += weight[z] * more


@jit
def _inflow(chain, visits, source, inflow):
    indptr, indices, weight = chain
    one, states = np.uint64(1), np.uint64(len(visits))
    for i in range(states):
        inflow[i] = source[i]
    for i in range(states):
        for z in range(np.uint64(indptr[i]), np.uint64(indptr[i + one])):
            inflow[indices[z]] += weight[z] * visits[i]


@jit
def _cut(chain, deep, piece):
    """The number of pieces; each state joins the earlier state that it most leads to."""
    indptr, indices, weight = chain
    depth = np.zeros(len(piece), dtype=np.int8)
    pieces, one = 0, np.uint64(1)
    for i in range(np.uint64(len(piece))):
        target, most = i, 0.0
        for z in range(np.uint64(indptr[i]), np.uint64(indptr[i + one])):
            j = np.uint64(indices[z])
            if j < i and weight[z] > most:
                target, most = j, np.float64(weight[z])
        if target == i or depth[target] == deep - 1:
            piece[i] = pieces
            pieces += 1
        else:
            piece[i] = piece[target]
            depth[i] = depth[target] + 1
    return pieces


@jit
def _merge(chain, visits, piece, sources, out):
    """The number of entries in the pieces' chain: rows averaged by visits, without self-loops."""
    source, source_out = sources
    (to, column, value), scale = out
    pieces = len(scale)
    end = np.zeros(pieces + 1, dtype=np.int32)
    member = np.empty(len(piece), dtype=np.int32)
    for i in range(len(piece)):
        end[piece[i] + 1] += 1
        source_out[piece[i]] += source[i]
    for c in range(pieces):
        end[c + 1] += end[c]
    for i in range(len(piece)):
        member[end[piece[i]]] = i
        end[piece[i]] += 1
    place = np.full(pieces, -1, dtype=np.int64)
    used = 0
    for c in range(pieces):
        begin, stays = used, 0.0
        to[c] = used
        for k in range(end[c - 1] if c > 0 else 0, end[c]):
            i = member[k]
            stays += visits[i]
            for z in range(np.uint64(chain.indptr[i]), np.uint64(chain.indptr[i + 1])):
                j = piece[chain.indices[z]]
                flow = visits[i] * np.float64(chain.weight[z])
                if j == c:
                    stays -= flow
                elif place[j] < begin:
                    place[j] = used
                    column[used], value[used] = j, flow
                    used += 1
                else:
                    value[place[j]] += flow
        scale[c] = stays
        for z in range(begin, used):
            value[z] = value[z] / stays
    to[pieces] = used
    return used


@jit
def _restrict(chain, state, piece, scale, out):
    """out(c) = Σ visits · residual over the piece, divided by the piece's scale."""
    indptr, indices, weight = chain
    b, x, visits = state
    one = np.uint64(1)
    for c in range(len(out)):
        out[c] = 0.0
    z = np.uint64(0)
    for i in range(np.uint64(len(b))):
        end = np.uint64(indptr[i + one])
        residual = b[i] - x[i]
        while z < end:
            residual += weight[z] * x[indices[z]]
            z += one
        out[np.uint64(piece[i])] += visits[i] * residual
    for c in range(len(out)):
        out[c] = out[c] / scale[c]


@jit
def _correct(x, correction, piece):
    for i in range(np.uint64(len(x))):
        x[i] += correction[np.uint64(piece[i])]
