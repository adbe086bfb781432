"""Blocks of states against NumPy: rows of one length, of mixed lengths, and longer than most."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.planning.bellman import backup
from logpi.worlds.mdp.planning.blocks import BLOCK, EACH, action_values, best_of, widen
from logpi.worlds.mdp.planning.kernels import greedy_sweep, rows_of

STATES = 2 * BLOCK + 17


def model(lengths, actions, *, dtype=np.float64, index=np.int32):
    """A model whose rows have these lengths, over and over; every fifth pair is not allowed."""
    rng = np.random.default_rng(0)
    length = np.resize(lengths, STATES * actions)
    indices = np.concatenate([rng.choice(STATES, size=n, replace=False) for n in length])
    indptr = np.concatenate([[0], np.cumsum(length)])
    data = np.repeat(1 / length, length).astype(dtype)
    shape = (STATES * actions, STATES)
    t = csr_array((data, indices.astype(index), indptr.astype(index)), shape=shape)
    allowed = np.arange(STATES * actions).reshape(STATES, actions) % 5 != 3
    return from_csr(t, rng.normal(size=(STATES, actions)).astype(dtype), 0.9, allowed=allowed)


@pytest.mark.parametrize("lengths", [*range(1, len(EACH) + 3), [1, 2, 3], [2] * 700 + [5]])
@pytest.mark.parametrize("actions", [1, 4, len(EACH) + 1])
def test_a_sweep_by_blocks_is_a_backup(lengths, actions):
    m = model(lengths, actions)
    v = np.where(m.terminal, 0, np.random.default_rng(1).normal(size=m.states))
    out, policy = np.empty(m.states), np.full(m.states, -1, dtype=np.int32)
    low, high, _ = greedy_sweep(rows_of(m), v, out, policy)
    expected = np.where(m.terminal, 0, backup(m, v).max(1))
    assert np.allclose(out, expected, rtol=0, atol=1e-13)
    assert (low, high) == ((out - v).min(), (out - v).max())


@pytest.mark.parametrize("lengths", [3, [3, 4]])
@pytest.mark.parametrize(("dtype", "index"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_action_values_of_any_precision(lengths, dtype, index):
    m = model(lengths, 4, dtype=dtype, index=index)
    v, q = np.random.default_rng(1).normal(size=m.states), np.full(44, np.nan)
    action_values(rows_of(m), v, 4 * 7, q, 40)
    expected = m.reward + m.discount * (m.transitions.astype(float) @ v).reshape(m.reward.shape)
    expected = np.where(m.allowed, expected, -np.inf).ravel()[4 * 7 : 4 * 7 + 40]
    assert np.allclose(q[:40], expected, rtol=0, atol=1e-13)
    assert np.isnan(q[40:]).all()


@pytest.mark.parametrize("actions", range(1, len(EACH) + 3))
def test_best_of_writes_its_block_alone(actions):
    q = np.random.default_rng(0).normal(size=(10, actions))
    q[4] = -np.inf
    out = np.full(20, np.nan)
    best_of(q.ravel(), actions, out, 5, 15)
    assert np.array_equal(out[5:15], np.where(np.arange(10) == 4, 0, q.max(1)))
    assert np.isnan(out[[4, 15]]).all()


def test_widen_keeps_the_least_and_the_largest():
    v, out = np.zeros(6), np.array([1.0, -2.0, 3.0, 0.5, -4.0, 1.0])
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    widen((low, high), v, out, 0, 3)
    widen((low, high), v, out, 3, 6)
    assert low.tolist() == [0.5, -4.0, 1.0]
    assert high.tolist() == [1.0, -2.0, 3.0]
