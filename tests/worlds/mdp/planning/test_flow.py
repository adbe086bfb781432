"""Cycles solve the chains of policies."""

from itertools import pairwise

import numpy as np
import pytest

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.elimination import eliminate
from logpi.worlds.mdp.planning.flow import Chain, Level, cycle, levels_of, relax
from logpi.worlds.mdp.planning.kernels import greedy_sweep, rows_of
from logpi.worlds.mdp.planning.ordering import flow_order


def chain_of(m, dtype=np.float64):
    """The chain of the policy that is greedy after some sweeps, and the change of one more."""
    rows, v, out = rows_of(m), np.zeros(m.states), np.empty(m.states)
    policy = np.full(m.states, -1, dtype=np.int32)
    for _ in range(20):
        greedy_sweep(rows, v, out, policy)
        v, out = out, v
    greedy_sweep(rows, v, out, policy)
    room = len(rows.indices)
    chain = Chain(
        np.empty(m.states + 1, np.int32), np.empty(room, np.uint32), np.empty(room, dtype)
    )
    b, order = np.empty(m.states), flow_order(rows, policy)
    eliminate(rows, policy, order, out - v, into=(chain, b))
    return chain, b, (order, policy, out - v)


def dense(chain, n):
    matrix = np.zeros((n, n))
    for i in range(n):
        here = slice(chain.indptr[i], chain.indptr[i + 1])
        np.add.at(matrix[i], chain.indices[here], chain.weight[here])
    return matrix


MODELS = {
    "goal": lambda: zoo.slip_grid(20, 20, discount=0.999),
    "slippery": lambda: zoo.slip_grid(20, 20, slip=0.6, discount=0.999),
    "random": lambda: zoo.slip_grid(20, 20, goal=None, rewards="random", discount=0.9999),
    "machine": lambda: zoo.machine_replacement(500, discount=0.999),
    "garnet": lambda: zoo.garnet(300, discount=0.99),
    "small": lambda: zoo.slip_grid(3, 3, discount=0.9),
}


@pytest.mark.parametrize("name", MODELS)
def test_eliminating_self_loops_keeps_the_solution(name):
    m = MODELS[name]()
    chain, b, (order, policy, change) = chain_of(m)
    w = dense(chain, m.states)
    assert (w.diagonal() == 0).all()
    assert (w.sum(1) < 1).all()
    live, s = policy >= 0, np.arange(m.states)
    p = m.transitions.toarray().reshape(m.states, m.actions, m.states)[s, policy] * live[:, None]
    exact = np.linalg.solve(np.eye(m.states) - m.discount * p, change)
    x = np.linalg.solve(np.eye(m.states) - w, b)
    assert np.allclose(x, exact[order], rtol=0, atol=1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("name", MODELS)
def test_cycles_solve_the_chain(name):
    m = MODELS[name]()
    chain, b, _ = chain_of(m)
    exact = np.linalg.solve(np.eye(m.states) - dense(chain, m.states), b)
    levels = levels_of(
        chain, b, np.empty(m.states), counts=np.zeros(m.states, dtype=np.float32), visits=40
    )
    errors = [np.abs(exact).max()]
    for k in range(15):
        cycle(levels, first=k == 0)
        errors.append(np.abs(levels[0].x - exact).max())
    assert errors[-1] < 1e-3 * errors[0]


def test_the_levels_shrink_and_keep_what_leaves():
    m = MODELS["random"]()
    chain, b, _ = chain_of(m)
    levels = levels_of(
        chain, b, np.empty(m.states), counts=np.zeros(m.states, dtype=np.float32), visits=10
    )
    sizes = [len(level.b) for level in levels]
    assert all(small < 0.6 * large for large, small in pairwise(sizes))
    for level in levels:
        w = dense(level.chain, len(level.b))
        assert (w >= 0).all()
        assert (w.diagonal() == 0).all()
        assert (w.sum(1) < 1).all()


def test_one_sweep_is_gauss_seidel():
    chain = Chain(np.array([0, 1, 2]), np.array([1, 0], np.uint32), np.array([0.5, 0.25]))
    x = np.array([0.0, 4.0])
    assert relax(chain, np.array([1.0, 2.0]), x, 1) == 3
    assert x.tolist() == [3.0, 2.75]
    level = Level(chain, np.array([1.0, 2.0]), x)
    assert cycle([level], first=True) < 1e-9
    assert np.allclose(x, [16 / 7, 18 / 7])
