"""Chains: their rows, who reaches whom, and what recurs."""

import numpy as np
from hypothesis import given
from scipy.sparse import csr_array

from logpi.worlds.mdp.planning.chain import can_reach, chain_of, recurrent_classes, row_lengths
from logpi.worlds.mdp.planning.policies import deterministic, uniform

from .cases import random_model, seeds


def dense(m):
    return m.transitions.toarray().reshape(m.states, m.actions, m.states)


@given(seeds)
def test_a_chain_is_the_mixture_of_the_rows(seed):
    m = random_model(seed, 0.9)
    for pi in (uniform(m), deterministic(m, np.where(m.terminal, -1, m.allowed.argmax(1)))):
        chain = chain_of(m, pi)
        mixed = np.einsum("sa,sat->st", pi, dense(m))
        assert np.allclose(chain.transitions.toarray(), mixed, atol=1e-15)
        assert np.allclose(chain.reward, (pi * m.reward).sum(1))
        assert row_lengths(chain.transitions)[m.terminal].sum() == 0


@given(seeds)
def test_reaching_and_recurring_agree_with_powers_of_the_matrix(seed):
    m = random_model(seed, 0.9)
    chain = chain_of(m, uniform(m))
    step = (chain.transitions.toarray() > 0).astype(int) + np.eye(m.states, dtype=int)
    reaches = np.linalg.matrix_power(step, m.states) > 0
    assert np.array_equal(can_reach(chain.transitions, m.terminal), reaches[:, m.terminal].any(1))
    recurs = [s for s in range(m.states) if reaches[reaches[s], s].all() and not m.terminal[s]]
    found = recurrent_classes(chain.transitions, m.terminal)
    assert sorted(np.concatenate(found).tolist() if found else []) == recurs
    for members in found:
        assert reaches[np.ix_(members, members)].all()


def test_a_stored_zero_is_no_way():
    t = csr_array((np.array([0.0, 1.0, 1.0]), [1, 0, 1], [0, 2, 3]), shape=(2, 2))
    assert can_reach(t, np.array([False, True])).tolist() == [False, True]
    assert [c.tolist() for c in recurrent_classes(t, np.array([False, False]))] == [[0], [1]]
