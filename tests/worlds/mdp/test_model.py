"""FiniteMDP: what it holds, and how it names the first thing that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from logpi.core.errors import ModelError
from logpi.worlds.mdp.build import from_csr, from_dense
from logpi.worlds.mdp.csr import wrap
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.reach import has_proper_policy, reaches_terminal
from logpi.worlds.mdp.validate import row_blocks, row_sums, validate

P = np.array([[[0.5, 0.5, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
R = np.array([[1.0, 2], [3, 4], [0, 0]])


def model(**changed):
    return from_dense(P, R, 0.9, order="sas", terminal=[2], name="three").having(**changed)


def with_entry(row, column, value):
    p = P.reshape(6, 3).copy()
    p[row, column] = value
    return csr_array(p)


def test_what_a_model_says_of_itself():
    m = model()
    assert (m.states, m.actions, m.dtype) == (3, 2, np.float64)
    assert_array_equal(m.terminal, [False, False, True])
    assert_array_equal(m.start, [0.5, 0.5, 0])
    successors, p = m.row(0, 0)
    assert_array_equal(successors, [0, 1])
    assert_array_equal(p, [0.5, 0.5])
    assert repr(m) == "FiniteMDP('three', states=3, actions=2, transitions=5, discount=0.9)"


def test_having_replaces_fields_and_checks_again():
    assert model().having(discount=0.5).discount == 0.5
    with pytest.raises(ModelError, match="no field `gamma`"):
        model().having(gamma=0.5)
    with pytest.raises(ModelError, match="discount is 2"):
        model().having(discount=2)


def test_astype_keeps_the_model():
    outcome = np.arange(5.0)
    m = from_csr(csr_array(P.reshape(6, 3)), None, 0.9, outcome_reward=outcome, terminal=[2])
    single = m.astype(np.float32)
    for x in (single.transitions, single.reward, single.start, single.outcome_reward):
        assert x.dtype == np.float32
    assert_array_equal(single.astype(np.float64).reward, m.reward)


def test_a_model_of_float32_is_one_of_float64():
    rng = np.random.default_rng(0)
    policy = rng.dirichlet(np.ones(2), 3)
    outcome, start = rng.normal(size=18), rng.dirichlet(np.ones(3))
    told = {"outcome_reward": outcome, "start": start, "policy": policy, "terminal": [2]}
    policy[2] = 0
    m = from_csr(csr_array(rng.dirichlet(np.ones(3), 6)), None, 0.9, **told)
    double = m.astype(np.float32).astype(np.float64)
    assert_allclose(double.transitions.toarray(), m.transitions.toarray(), rtol=1e-6)
    assert_allclose(double.transitions.toarray()[:4].sum(1), 1, rtol=1e-15)
    for name in ("reward", "start", "policy"):
        assert_allclose(getattr(double, name), getattr(m, name), rtol=1e-5)


def test_a_model_is_of_two_types():
    with pytest.raises(ModelError, match="of float64 or float32, not float16"):
        model().astype(np.float16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"transitions": with_entry(0, 1, 0.4)}, "state 0, action 0: its 2 prob.* sum to 0.9, not"),
        ({"transitions": with_entry(2, 0, np.nan)}, "state 1, action 0: the prob.* 0 is nan"),
        ({"transitions": with_entry(3, 1, -0.1)}, "state 1, action 1: the prob.* 1 is -0.1"),
        ({"transitions": with_entry(3, 0, 0.0)}, "state 1, action 1: it has no successors"),
        ({"transitions": csr_array((6, 3))}, "state 0, action 0: it has no successors"),
        ({"transitions": csr_array((6, 4))}, r"\[6, 4\] but `reward` is \[3, 2\]"),
        ({"transitions": csr_array(P.reshape(6, 3)).tocsc()}, "is a csc_array but must be"),
        ({"transitions": csr_array(P.reshape(6, 3).astype(int))}, "is int64 but must be float64"),
        (
            {"reward": np.array([[1, 2], [3, np.nan], [0, 0]])},
            "state 1, action 1: the reward is nan",
        ),
        (
            {"reward": np.array([[1, 2], [3, 4], [0, np.inf]])},
            "state 2, action 1: the reward is inf",
        ),
        ({"reward": R.astype(np.float32)}, "`reward` is float32 but must be float64"),
        ({"reward": R[0]}, r"`reward` is \[2\] but must be \[states, actions\]"),
        ({"reward": np.asfortranarray(R)}, "`reward` is a strided view"),
        ({"reward": np.zeros((0, 2)), "transitions": csr_array((1, 1))}, "0 states and 2 actions"),
        ({"reward": np.zeros((3, 0)), "transitions": csr_array((1, 3))}, "3 states and 0 actions"),
        ({"start": np.array([0.5, 0.4, 0])}, "`start` sums to 0.9"),
        ({"start": np.array([1.5, -0.5, 0])}, "`start` gives state 1 the probability -0.5"),
        ({"start": np.array([np.nan, 0.5, 0.5])}, "`start` gives state 0 the probability nan"),
        ({"start": np.array([1.0, 0])}, r"`start` is \[2\] but must be an array \[3\]"),
        ({"start": [1.0, 0, 0]}, "`start` is a list"),
        ({"allowed": np.ones((3, 2))}, "`allowed` is float64 but must be bool"),
        ({"allowed": np.ones((3, 2), bool)}, "state 2, action 0: it has no successors"),
        ({"discount": -0.1}, "discount is -0.1"),
        ({"discount": float("nan")}, "discount is nan"),
        ({"discount": "x"}, "discount is x but must lie in"),
        ({"policy": np.full((3, 2), 0.5)}, "state 2, action 0: `policy` takes this action"),
        ({"policy": np.array([[1, 0], [0.5, 0.4], [0, 0]])}, "`policy` sums to 0.9 in state 1"),
        ({"policy": np.array([[2, -1], [1, 0], [0.0, 0]])}, "state 0, action 1: `policy` is -1"),
        ({"outcome_reward": np.zeros(4)}, r"`outcome_reward` is \[4\] but must be an array \[5\]"),
        ({"outcome_reward": np.zeros(5)}, "state 0, action 0: `reward` is 1, but the exp.* is 0"),
        (
            {"outcome_reward": np.array([0, np.inf, 0, 0, 0])},
            "state 0, action 0: `outcome_rew.*inf",
        ),
        ({"layout": Layout(states=("a",))}, "1 state names for 3"),
        ({"layout": Layout(rows=2, columns=2)}, "a grid of 2 × 2 cells, but there are 3 states"),
        ({"layout": Layout(marks={"target": (3,)})}, "marks state 3 as 'target'"),
    ],
)
def test_what_is_wrong_is_named(changed, message):
    with pytest.raises(ModelError, match=message):
        model(**changed)


def test_the_first_bad_pair_is_named_with_its_names():
    names = Layout(states=("home", "road", "end"), actions=("stay", "go"))
    p = P.reshape(6, 3).copy()
    p[1, 1], p[3, 0] = 0.9, -1  # the sum of row 1 comes before the number of row 3
    with pytest.raises(ModelError, match=r"state 0 \(home\), action 1 \(go\): its 1 prob"):
        model(layout=names, transitions=csr_array(p))


def test_a_successor_out_of_range_is_named():
    for bad in (3, -1):
        t = wrap(np.ones(2), np.array([0, bad]), np.array([0, 1, 2, 2]), (3, 3))
        with pytest.raises(ModelError, match=f"state 1, action 0: its successor {bad} is no state"):
            from_csr(t, np.zeros(3), 0.9, terminal=[2])


def test_a_disallowed_row_may_sum_to_anything_but_not_be_nan():
    allowed = np.array([[True, False], [True, True], [False, False]])
    ragged = {"allowed": allowed, "transitions": with_entry(1, 1, 0.3)}
    assert model(**ragged).row(0, 1)[1].tolist() == [0.3]
    with pytest.raises(ModelError, match="state 0, action 1: the probability of state 1 is nan"):
        model(allowed=allowed, transitions=with_entry(1, 1, np.nan))


def test_tolerance_suits_the_dtype():
    third = np.full((1, 1, 3), 1 / 3)
    p = np.repeat(third, 3, axis=0)
    from_dense(p, np.zeros(3), 0.9)
    from_dense(p.astype(np.float32), np.zeros(3), 0.9)
    off = p.copy()
    off[1, 0, 0] += 1e-6  # what six printed digits leave; float32 cannot tell
    from_dense(off.astype(np.float32), np.zeros(3), 0.9)
    with pytest.raises(ModelError, match=r"state 1, action 0: its 3 .* sum to 1\.000001"):
        from_dense(off, np.zeros(3), 0.9)


def test_outcome_rewards_need_rows_that_scipy_leaves_alone():
    t = wrap(np.array([0.5, 0.5, 1.0]), np.array([1, 0, 1]), np.array([0, 2, 3]), (2, 2))
    m = from_csr(t, None, 0.9, outcome_reward=np.array([10.0, 20, 30]))
    assert_array_equal(m.transitions.indices, [0, 1, 1])
    assert_array_equal(m.outcome_reward, [20, 10, 30])
    assert_array_equal(t.indices, [1, 0, 1])  # the caller's own is as it was
    with pytest.raises(ModelError, match="must be sorted and distinct"):
        m.having(transitions=t)


def test_faults_are_found_in_any_block(monkeypatch):
    monkeypatch.setattr("logpi.worlds.mdp.validate.BLOCK", 7)
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), size=(10, 4)) @ np.eye(5, 10)
    m = from_dense(p, np.zeros((10, 4)), 0.9)
    assert len(list(row_blocks(m.transitions))) > 10
    for row in (0, 17, 39):
        t = m.transitions.copy()
        t.data[t.indptr[row]] += 0.01
        with pytest.raises(ModelError, match=f"state {row // 4}, action {row % 4}: its 5"):
            validate_with(m, t)


def validate_with(m, t):
    validate(
        FiniteMDP(
            transitions=t, reward=m.reward, discount=m.discount, start=m.start, allowed=m.allowed
        )
    )


def test_row_sums_of_empty_rows_are_zero():
    pointers = np.array([2, 2, 4, 4, 5, 5])
    assert_array_equal(row_sums(np.array([1.0, 2, 3]), pointers), [0, 3, 0, 3, 0])
    assert_array_equal(row_sums(np.zeros(0), np.zeros(3, dtype=int)), [0, 0])


# -- who reaches the end ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_reaches_terminal_on_a_chain_with_a_trap(dtype, index):
    # 0 → 1 → 2 (the end), 3 → 3 (the trap), 4 → 3 or, by an action that is not allowed, → 2
    successors = np.array([1, 0, 2, 1, 3, 3, 3, 2], dtype=index)
    pointers = np.array([0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8], dtype=index)
    t = wrap(np.ones(8, dtype=dtype), successors, pointers, (10, 5))
    allowed = np.ones((5, 2), dtype=bool)
    allowed[4, 1] = False
    m = from_csr(t, np.zeros(5), 1.0, terminal=[2], allowed=allowed)
    assert_array_equal(reaches_terminal(m), [True, True, True, False, False])
    assert not has_proper_policy(m)
    assert has_proper_policy(m.having(allowed=m.allowed & (np.arange(5) < 3)[:, None]))


def test_reachability_agrees_with_powers_of_the_matrix():
    rng = np.random.default_rng(1)
    for _ in range(20):
        p = np.eye(6)[rng.integers(0, 6, size=(6, 2))]
        p[:, 1] = (p[:, 1] + np.eye(6)[rng.integers(0, 6, size=6)]) / 2
        m = from_dense(p, np.zeros((6, 2)), 1.0, terminal=[int(rng.integers(6))])
        step = (p.sum(1) > 0) & ~m.terminal[:, None] | np.eye(6, dtype=bool)
        reach = np.linalg.matrix_power(step.astype(int), 6)[:, m.terminal].any(1)
        assert_array_equal(reaches_terminal(m), reach)
