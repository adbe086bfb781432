"""ε-softness moved into the world."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.epsilon_soft import epsilon_soft
from logpi.worlds.mdp.planning import epsilon_greedy, evaluate, solve
from logpi.worlds.mdp.zoo import make


def random_model(seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(6), size=(6, 3))
    allowed = rng.random((6, 3)) < 0.7
    allowed[0] = True
    return from_dense(p, rng.normal(size=(6, 3)), 0.9, order="sas", allowed=allowed, start=0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_its_optimum_is_that_of_the_best_soft_policy(seed, epsilon):
    m = random_model(seed)
    soft = epsilon_soft(m, epsilon)
    found = solve(soft, tolerance=1e-10)
    followed = epsilon_greedy(m, np.where(m.allowed, found.q, -np.inf), epsilon)
    assert np.allclose(evaluate(m, followed), found.value, atol=1e-8)
    live = ~m.terminal
    q = m.reward + 0.9 * (m.transitions @ found.value).reshape(6, 3)
    mean = np.where(m.allowed, q, 0).sum(1)[live] / m.allowed.sum(1)[live]
    best = np.where(m.allowed, q, -np.inf).max(1)[live]
    assert np.allclose(found.value[live], (1 - epsilon) * best + epsilon * mean, atol=1e-8)
    assert (soft.terminal == m.terminal).all()


def test_what_it_keeps_and_refuses():
    m = make("book_grid", start=(0, 0)).astype(np.float32)
    soft = epsilon_soft(m, 0.1)
    assert (soft.dtype, soft.layout, soft.name) == (np.float32, m.layout, "book_grid, 0.1-soft")
    assert soft.start.tolist() == m.start.tolist()
    with pytest.raises(ConfigError, match=r"epsilon is 1\.5"):
        epsilon_soft(m, 1.5)
    with pytest.raises(ConfigError, match="takes a FiniteMDP, not 'cliff'"):
        epsilon_soft("cliff", 0.1)
