"""Every builder gives the model that its arrays, lists or functions say."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array, csr_array, csr_matrix

from logpi.core.errors import ModelError
from logpi.worlds.mdp.build import (
    from_csr,
    from_dense,
    from_function,
    from_mdptoolbox,
    from_pairs,
)
from logpi.worlds.mdp.csr import allowed_mask, as_csr, floats, shape_of, wrap
from logpi.worlds.mdp.merge import merge


def random_arrays(seed=0, states=4, actions=3, some_zero=True):
    """P[s, a, s'], and r(s, a, s')."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(states), size=(states, actions))
    if some_zero:
        p[p < 0.15] = 0
        p /= p.sum(2, keepdims=True)
    return p, rng.normal(size=p.shape)


def dense(m):
    return m.transitions.toarray().reshape(m.states, m.actions, m.states)


def assert_same(a, b):
    assert_allclose(dense(a), dense(b), atol=1e-15)
    assert_allclose(a.reward, b.reward, atol=1e-14)
    assert_array_equal(a.allowed, b.allowed)
    assert_allclose(a.start, b.start, atol=1e-15)
    assert (a.outcome_reward is None) == (b.outcome_reward is None)
    if a.outcome_reward is not None:
        assert_allclose(by_successor(a), by_successor(b), atol=1e-14)


def by_successor(m):
    """r(s, a, s') where p > 0, as a dense array."""
    t = m.transitions
    return csr_array((m.outcome_reward, t.indices, t.indptr), shape=t.shape).toarray()


# -- SciPy's CSR -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_csr_is_shared_and_not_copied(dtype, index):
    p = wrap(np.ones(4, dtype), np.arange(4, dtype=index) % 2, np.arange(5, dtype=index), (4, 2))
    reward = np.zeros((2, 2), dtype)
    for old_or_new in (p, csr_matrix(p)):
        m = from_csr(old_or_new, reward, 0.9)
        assert np.shares_memory(m.transitions.data, p.data)
        assert np.shares_memory(m.transitions.indices, p.indices)
        assert np.shares_memory(m.transitions.indptr, p.indptr)
        assert np.shares_memory(m.reward, reward)
        assert m.dtype == dtype


def test_building_needs_next_to_no_memory():
    states, actions, branching = 20_000, 5, 10
    rows = states * actions
    successors = np.random.default_rng(0).integers(0, states, rows * branching, dtype=np.int32)
    pointers = np.arange(0, rows * branching + 1, branching, dtype=np.int32)
    t = wrap(np.full(rows * branching, 0.1), successors, pointers, (rows, states))
    size = t.data.nbytes + t.indices.nbytes + t.indptr.nbytes
    reward = np.zeros((states, actions))
    tracemalloc.start()
    from_csr(t, reward, 0.99)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * size  # beyond the matrix itself: 1.5 times in all


def test_csr_takes_rewards_of_three_shapes():
    p, _ = random_arrays()
    t = csr_array(p.reshape(12, 4))
    table = np.arange(12.0).reshape(4, 3)
    assert_array_equal(from_csr(t, table, 0.9).reward, table)
    assert_array_equal(from_csr(t, table.ravel(), 0.9).reward, table)
    assert_array_equal(from_csr(t, [1, 2, 3, 4], 0.9).reward[:, 2], [1, 2, 3, 4])
    with pytest.raises(ModelError, match=r"`reward` is \[5\] but must be .* \[4, 3\]"):
        from_csr(t, np.zeros(5), 0.9)
    with pytest.raises(ModelError, match="give `reward` or `outcome_reward`"):
        from_csr(t, None, 0.9)


def test_csr_takes_the_expectation_of_outcome_rewards():
    p, r = random_arrays()
    t = csr_array(p.reshape(12, 4))
    m = from_csr(t, None, 0.9, outcome_reward=r[p != 0])
    assert_allclose(m.reward, (p * r).sum(2), atol=1e-14)
    with pytest.raises(ModelError, match=r"`outcome_reward` is \[3\] but must be"):
        from_csr(t, None, 0.9, outcome_reward=np.zeros(3))
    with pytest.raises(ModelError, match="no CSR"):
        from_csr(coo_array(t), None, 0.9, outcome_reward=r[p != 0])


def test_a_successor_named_twice_has_the_mean_reward():
    t = wrap(np.array([0.25, 0.5, 0.25]), np.array([1, 0, 1]), np.array([0, 3, 3]), (2, 2))
    m = from_csr(t, None, 0.9, outcome_reward=np.array([4.0, 1, 8]), terminal=[1])
    assert_array_equal(m.transitions.data, [0.5, 0.5])
    assert_array_equal(m.outcome_reward, [1, 6])
    assert m.reward[0, 0] == 3.5


def test_integers_become_float64():
    m = from_csr(csr_array(np.eye(2, dtype=int)), [1, 2], 0.9)
    assert m.dtype == m.reward.dtype == np.float64
    assert as_csr(csr_array(np.eye(2, dtype=bool))).dtype == np.float64
    assert floats([True], None).dtype == np.float64


def test_terminal_states_and_starts():
    p, _ = random_arrays()
    r = np.ones((4, 3))
    for terminal in ([1], np.array([False, True, False, False]), np.array([1])):
        m = from_dense(p, r, 0.9, terminal=terminal)
        assert_array_equal(m.terminal, [False, True, False, False])
        assert_allclose(m.start, [1 / 3, 0, 1 / 3, 1 / 3])
    assert_array_equal(from_dense(p, r, 0.9, terminal=[]).terminal, [False] * 4)
    assert_array_equal(from_dense(p, r, 0.9, start=2).start, [0, 0, 1, 0])
    assert_array_equal(from_dense(p, r, 0.9, start=[0.5, 0.5, 0, 0]).start, [0.5, 0.5, 0, 0])
    with pytest.raises(ModelError, match="`terminal` must be state numbers 0 to 3"):
        from_dense(p, r, 0.9, terminal=[4])
    with pytest.raises(ModelError, match="`start` is 4 but must be a state, 0 to 3"):
        from_dense(p, r, 0.9, start=4)
    with pytest.raises(TypeError, match="begin"):
        from_dense(p, r, 0.9, begin=2)


def test_allowed_is_the_callers_own_array_and_stays_so():
    allowed = np.ones((4, 3), dtype=bool)
    mask = allowed_mask((4, 3), {"allowed": allowed, "terminal": [0]})
    assert allowed.all()
    assert not mask[0].any()
    with pytest.raises(ModelError, match=r"`allowed` is \[2, 3\] but must be \[4, 3\]"):
        allowed_mask((4, 3), {"allowed": np.ones((2, 3))})


def test_rewards_of_what_is_not_allowed_may_be_minus_infinity():
    p, _ = random_arrays()
    r = np.zeros((4, 3))
    r[1, 2] = -np.inf
    with pytest.raises(ModelError, match="state 1, action 2: the reward is -inf"):
        from_dense(p, r, 0.9)
    assert from_dense(p, r, 0.9, allowed=r > -np.inf).reward[1, 2] == 0


# -- dense arrays and pymdptoolbox -----------------------------------------------------------------


def test_dense_arrays_in_both_orders():
    p, r = random_arrays()
    m = from_dense(p, r, 0.9)
    assert_array_equal(dense(m), p)
    assert_allclose(m.reward, (p * r).sum(2), atol=1e-14)
    assert_same(from_dense(p.transpose(1, 0, 2), r.transpose(1, 0, 2), 0.9), m)


def test_as_many_actions_as_states_need_an_order():
    p, r = random_arrays(states=3)
    with pytest.raises(ModelError, match=r"order='sas'.*order='ass'"):
        from_dense(p, r, 0.9)
    assert_array_equal(dense(from_dense(p, r, 0.9, order="sas")), p)
    assert_array_equal(dense(from_dense(p, r, 0.9, order="ass")), p.transpose(1, 0, 2))


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 4), (0, 2, 0), (3, 0, 3)])
def test_dense_arrays_of_other_shapes_are_named(shape):
    with pytest.raises(ModelError, match=f"is {list(shape)} but must be".replace("[", r"\[")):
        from_dense(np.zeros(shape), np.zeros(2), 0.9)


def test_dense_arrays_that_do_not_fit_their_order_are_named():
    p, r = random_arrays()
    with pytest.raises(ModelError, match="read as 'ass'"):
        from_dense(p, r, 0.9, order="ass")
    with pytest.raises(ModelError, match=r"`reward` is \[4, 3, 3\]"):
        from_dense(p, r[:, :, :3], 0.9)


def test_a_negative_probability_is_named_even_where_one_successor_is_named_twice():
    def step(states, action):  # at state 2 the two would add up to 1
        p = np.where(states[:, None] == 2, [1.5, -0.5], [0.5, 0.5])
        return np.stack([states, states], 1), p, 0.0

    with pytest.raises(ModelError, match=r"state 2, action 0: .* 2 is -0.5"):
        from_function(step, 4, 2, discount=0.9)


def test_a_negative_or_nan_probability_in_a_dense_array_is_named():
    p, r = random_arrays()
    for bad in (-0.5, np.nan):
        q = p.copy()
        q[2, 1, 3] = bad
        with pytest.raises(ModelError, match=f"state 2, action 1: the prob.* of state 3 is {bad}"):
            from_dense(q, r, 0.9)


def test_float32_arrays_make_a_float32_model():
    p, r = random_arrays()
    m = from_dense(p.astype(np.float32), r, 0.9)
    assert m.dtype == m.reward.dtype == m.outcome_reward.dtype == np.float32


@pytest.mark.parametrize("sparse", [False, True])
def test_mdptoolbox_arrays(sparse):
    p, r = random_arrays()
    m = from_dense(p, r, 0.9)
    flat = m.having(outcome_reward=None)
    a_first, rewards = p.transpose(1, 0, 2), r.transpose(1, 0, 2)
    given = [csr_matrix(x) for x in a_first] if sparse else a_first
    assert_same(from_mdptoolbox(given, rewards, 0.9), m)
    assert_same(from_mdptoolbox(given, [csr_matrix(x) for x in rewards], 0.9), m)
    assert_same(from_mdptoolbox(given, m.reward, 0.9), flat)
    assert_array_equal(from_mdptoolbox(given, [1, 2, 3, 4], 0.9).reward[2], [3, 3, 3])


def test_mdptoolbox_takes_an_object_array_and_names_what_does_not_fit():
    p, r = random_arrays()
    given = np.empty(3, dtype=object)
    given[:] = [csr_matrix(x) for x in p.transpose(1, 0, 2)]
    assert_same(from_mdptoolbox(given, r.transpose(1, 0, 2), 0.9), from_dense(p, r, 0.9))
    with pytest.raises(ModelError, match=r"has a matrix \[4, 3\], but must be \[4, 4\]"):
        from_mdptoolbox([csr_array(np.eye(4)), csr_array((4, 3))], np.zeros(4), 0.9)
    with pytest.raises(ModelError, match=r"`reward` is \[8, 4\] but `transitions` is \[12, 4\]"):
        from_mdptoolbox(given, [csr_array((4, 4))] * 2, 0.9)


# -- state-action pairs ----------------------------------------------------------------------------


def test_pairs_in_any_order_give_the_same_model():
    p, r = random_arrays()
    expected = from_dense(p, (p * r).sum(2), 0.9)
    s, a = (x.ravel() for x in np.indices((4, 3)))
    order = np.random.default_rng(0).permutation(12)
    for rows in (slice(None), order):
        given = p.reshape(12, 4)[rows]
        for q in (given, csr_array(given)):
            pairs = (s[rows], a[rows])
            assert_same(from_pairs(pairs, q, expected.reward.ravel()[rows], 0.9), expected)


def test_sorted_pairs_are_not_copied():
    q = csr_array([[0.5, 0.5], [1, 0]])
    m = from_pairs(([0, 0], [0, 2]), q, [1, 2], 0.9, actions=4)
    assert np.shares_memory(m.transitions.data, q.data)
    assert_array_equal(m.allowed, [[True, False, True, False], [False] * 4])
    assert_array_equal(m.reward, [[1, 0, 2, 0], [0, 0, 0, 0]])
    assert_array_equal(m.terminal, [False, True])


def test_pairs_that_are_wrong_are_named():
    q = np.array([[0.5, 0.5], [1, 0]])
    for pairs, message in (
        (([0, 0], [1, 1]), "state 0, action 1 is listed twice"),
        (([0, 2], [0, 0]), "state 2 is not one of 0 to 1"),
        (([0, 1], [0, -1]), "action -1 is not one of 0 to 0"),
        (([0, 1, 1], [0, 0, 0]), r"states is \[3\] but `transitions` has 2 rows"),
        (([0.0, 1.0], [0, 0]), "state float64 is not one of"),
    ):
        with pytest.raises(ModelError, match=message):
            from_pairs(pairs, q, [1, 2], 0.9)


# -- functions -------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99))
def test_a_function_gives_the_model_of_its_tables(states, actions, width, seed):
    rng = np.random.default_rng(seed)
    successors = rng.integers(0, states, size=(states, actions, width))
    p = rng.dirichlet(np.ones(width), size=(states, actions))
    p[p < 0.1] = 0
    p /= p.sum(2, keepdims=True)
    r = rng.normal(size=p.shape)
    expected = np.zeros((states, actions, states))
    np.add.at(expected, (*np.indices(p.shape)[:2], successors), p)

    def step(s, a):
        return successors[s, a], p[s, a], r[s, a]

    for chunk in (1, 5, 100):
        m = from_function(step, states, actions, discount=0.9, chunk=chunk)
        assert_allclose(dense(m), expected, atol=1e-15)
        assert_allclose(m.reward, (p * r).sum(2), atol=1e-13)
        assert m.transitions.nnz == (expected > 0).sum()


def test_a_function_may_answer_in_short():
    def step(s, a):
        return (s + 1) % 5, 1.0, s * 10.0

    m = from_function(step, 5, 2, discount=0.9, terminal=[4], dtype=np.float32, start=0)
    assert_array_equal(dense(m)[:4, 0], np.eye(5)[1:])
    assert_array_equal(m.reward[:, 1], [0, 10, 20, 30, 0])
    assert m.outcome_reward is None
    assert m.dtype == np.float32


def test_a_function_may_differ_in_width_and_leave_the_states_where_it_is_not_asked():
    def step(s, a):
        if a == 0:
            return s + 1, 1, -1  # leaves the states at the last, which is terminal
        return np.stack([s - 1, s, s], 1), [0, 0.25, 0.75], np.stack([s, s, s + 1], 1)

    m = from_function(step, 3, 2, discount=0.9, terminal=[2])
    assert_array_equal(m.transitions.toarray()[:4], np.eye(3)[[1, 0, 2, 1]])
    assert_array_equal(m.reward, [[-1, 0.75], [-1, 1.75], [0, 0]])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, a: (s + 1, 1, 0), r"state 4, action 0: step gave a successor that is no state"),
        (lambda s, a: (s / 2, 1, 0), "successors of float64; they are state numbers"),
        (lambda s, a: (s[:2], 1, 0), r"gave successors \[2\], not \[5, k\]"),
        (lambda s, a: (s, [0.5, 0.5], 0), r"gave probabilities \[2\], not \[5, 1\]"),
        (lambda s, a: (s, 1, [1, 2]), r"gave rewards \[2\], not \[5\] or \[5, 1\]"),
        (lambda s, a: (s, 0.5, 0), "state 0, action 0: its 1 probabilities sum to 0.5"),
        (lambda s, a: (s, 0.0, 0), "state 0, action 0: it has no successors"),
        (lambda s, a: (s, 1, np.where(s == 3, np.nan, 0)), "state 3, action 0: the reward is nan"),
    ],
)
def test_what_a_function_gets_wrong_is_named(answer, message):
    with pytest.raises(ModelError, match=message):
        from_function(answer, 5, 2, discount=0.9)


def test_a_function_must_decide_what_its_rewards_depend_on():
    def step(s, a):
        return s, 1, 0.0 if s[0] == 0 else np.zeros((len(s), 1))

    with pytest.raises(ModelError, match=r"rewards of \[n\] for some states and of \[n, k\]"):
        from_function(step, 4, 1, discount=0.9, chunk=2)
    with pytest.raises(ModelError, match="0 states, 2 actions"):
        from_function(step, 0, 2, discount=0.9)


def test_a_long_chain_in_small_chunks_takes_linear_time():
    def step(s, a):
        return np.maximum(s - 1, 0), 1.0, -1.0

    from_function(step, 10, 1, discount=0.9)  # compiled, or read from the cache
    began = time.thread_time()
    m = from_function(step, 200_000, 1, discount=0.9, chunk=500)
    assert time.thread_time() - began < 5  # 0.1 s; it was quadratic once
    assert m.transitions.nnz == 200_000


def test_merge_leaves_its_scratch_as_it_was():
    unseen = np.full(4, -1)
    successors = np.array([[0, 0, 3], [3, 9, 0], [1, 2, 7]])
    p = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.5, 0.25, 0.25]])
    (counts, ids, merged, _), bad = merge(successors[:2], p[:2], np.zeros((2, 3)), unseen)
    assert bad == -1
    assert_array_equal(unseen, [-1] * 4)
    assert_array_equal(counts, [2, 1])
    assert_array_equal(ids, [0, 3, 3])
    assert_array_equal(merged, [0.75, 0.25, 1])
    assert merge(successors, p, np.zeros((3, 3)), unseen)[1] == 2


def test_wrap_keeps_the_arrays_and_their_index_type():
    indices = np.array([1], dtype=np.int64)
    t = wrap(np.ones(1), indices, np.array([0, 1]), (1, 2))
    assert np.shares_memory(t.indices, indices)
    assert shape_of(t) == (1, 2)
    assert_array_equal((t @ np.array([3.0, 4.0])), [4])


@pytest.mark.parametrize("discount", [None, "0.9", True])
def test_a_discount_is_a_number(discount):
    with pytest.raises(ModelError, match=r"discount is .* must be a number"):
        from_dense([[[1.0]]], [1.0], discount)


def test_words_are_no_probabilities():
    with pytest.raises(ModelError, match="an array of numbers was expected"):
        from_dense([["a"]], [1.0], 0.9)


def test_a_function_must_answer_with_three_things():
    with pytest.raises(ModelError, match=r"gave a NoneType, not \(successors, prob"):
        from_function(lambda s, a: None, 3, 1, discount=0.9)
