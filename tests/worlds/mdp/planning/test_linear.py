"""Linear systems of chains, small and large, easy and hard."""

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array

from logpi.core.errors import ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning import linear
from logpi.worlds.mdp.planning.chain import chain_of
from logpi.worlds.mdp.planning.linear import DENSE, solve_identity_minus
from logpi.worlds.mdp.planning.policies import uniform


def residual(matrix, b, x):
    return np.abs(b - x + matrix @ x).max() / (np.abs(b).max() + np.abs(x).max())


@pytest.mark.parametrize("states", [50, DENSE + 200])
@pytest.mark.parametrize("discount", [0.5, 0.999, 1 - 1e-9])
def test_a_random_chain(states, discount):
    m = zoo.garnet(states)
    matrix = discount * chain_of(m, uniform(m)).transitions
    b = np.random.default_rng(0).normal(size=states)
    x = solve_identity_minus(matrix, b)
    assert residual(matrix, b, x) < 1e-14
    assert np.allclose(x, np.linalg.solve(np.eye(states) - matrix.toarray(), b), rtol=1e-6)


def walk(states):
    """A walk that ends at either side: the expected time from s is (s + 1)(n − s)."""
    half = np.full(states - 1, 0.5)
    return csr_array(diags_array([half, half], offsets=[-1, 1]))


@pytest.mark.parametrize("states", [DENSE - 1, 2000])
def test_a_long_walk_where_krylov_steps_need_help(states):
    x = solve_identity_minus(walk(states), np.ones(states))
    s = np.arange(states)
    assert np.allclose(x, (s + 1.0) * (states - s), rtol=1e-9)


def test_the_sparse_factorisation_agrees():
    b = np.ones(2000)
    system = csr_array(np.eye(2000) - walk(2000).toarray())
    assert np.allclose(linear._sparse(system, b), solve_identity_minus(walk(2000), b), rtol=1e-9)


def test_where_it_begins_does_not_matter_and_less_can_be_enough():
    m = zoo.slip_grid(rows=30, cols=30, discount=0.99)
    matrix = 0.99 * chain_of(m, uniform(m)).transitions
    b = np.ones(m.states)
    x = solve_identity_minus(matrix, b)
    far = solve_identity_minus(matrix, b, x=np.full(m.states, 1e3))
    assert np.allclose(x, far, rtol=1e-10)
    assert np.array_equal(solve_identity_minus(matrix, b, x=x, enough=1e-6), x)
    rough = solve_identity_minus(matrix, b, enough=0.01)
    assert np.abs(b - rough + matrix @ rough).max() <= 0.01


@pytest.mark.parametrize("states", [3, DENSE + 1])
def test_a_singular_system_is_named(states):
    forever = csr_array(np.eye(states))
    with pytest.raises(ModelError, match="singular"):
        solve_identity_minus(forever, np.ones(states))
