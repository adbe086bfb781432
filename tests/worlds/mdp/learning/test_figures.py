"""The figures of the books, in small: what each shows, with a seed and a tolerance."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.worlds.mdp.learning import inverse, learn
from logpi.worlds.mdp.learning.features import coordinates, fourier, polynomial
from logpi.worlds.mdp.learning.stochastic_approximation import (
    importance_sampled,
    mean_estimates,
    robbins_monro,
)
from logpi.worlds.mdp.planning.chain import chain_of
from logpi.worlds.mdp.planning.evaluate import evaluate, stationary
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.planning.value_iteration import value_iteration
from logpi.worlds.mdp.zoo import make

WALK = {
    "episodes": 100,
    "runs": 100,
    "initial_value": 0.5,
    "truth": np.r_[0, np.arange(1, 6) / 6, 0],  # Sutton & Barto, Example 6.2
    "record_every": 1,
}


# -- Sutton & Barto --------------------------------------------------------------------------------


def test_random_walk_td_against_monte_carlo():
    """Example 6.2: every step size of TD shown there beats every one of Monte Carlo, on average."""
    m, walk = make("random_walk"), WALK | {"record_every": 4}
    td = [learn(m, "td", alpha=a, **walk).errors.mean(0) for a in (0.05, 0.1, 0.15)]
    mc = [
        learn(m, "mc_prediction", alpha=a, first_visit=False, **walk).errors.mean(0)
        for a in (0.01, 0.02, 0.03, 0.04)
    ]
    assert np.isclose(td[0][0], np.sqrt(2 * (1 / 9 + 1 / 36) / 5))  # all values 1/2
    assert max(e.mean() for e in td) < min(e.mean() for e in mc)
    assert td[0][-1] < 0.045
    assert 0.07 < min(e[-1] for e in mc) < 0.1


def test_batch_td_against_batch_monte_carlo():
    """Figure 6.2: with the same episodes, TD is better all the way."""
    m = make("random_walk")
    few = WALK | {"runs": 30, "record_every": 5}
    td, mc = (learn(m, name, **few).errors.mean(0) for name in ("batch_td", "batch_mc"))
    assert (td[1:] < mc[1:]).all()
    assert td[-1] < 0.7 * mc[-1]


def test_nineteen_states_want_a_few_steps():
    """Figures 7.2 and 12.6: n = 4, or λ = .8, beats both one step and the whole episode."""
    m = make("random_walk", states=19, left_reward=-1)
    truth = np.r_[0, np.arange(-9, 10) / 10, 0]
    common = {"episodes": 10, "runs": 50, "truth": truth, "record_every": 1}

    def best(name, **given):
        sizes = (0.1, 0.2, 0.4, 0.8)
        return min(learn(m, name, alpha=a, **given, **common).errors[:, 1:].mean() for a in sizes)

    one, four, many = (best("n_step_td", n=n) for n in (1, 4, 64))
    assert four < 0.28 < one
    assert one < many
    assert best("td_lambda", lam=0.8) < 0.28
    assert abs(best("td_lambda", lam=0.0) - one) < 1e-12


def test_cliff_sarsa_against_q_learning():
    """Example 6.6: Q-learning finds the best path and falls off it; Sarsa walks the safe one."""
    m = make("cliff")
    given = {"alpha": 0.5, "epsilon": 0.1, "episodes": 500, "runs": 50}
    sarsa, q = (learn(m, name, **given) for name in ("sarsa", "q_learning"))
    expected = learn(m, "expected_sarsa", **given)
    assert -31 < sarsa.returns[:, 100:].mean() < -24
    assert -56 < q.returns[:, 100:].mean() < -44
    assert expected.returns[:, 100:].mean() > sarsa.returns[:, 100:].mean()
    assert np.isclose(q.value[36], -13.0, atol=1e-6)
    assert np.isclose(evaluate(m, q.policy)[36], -13.0)  # the greedy policy: the edge
    greedy = np.where(m.terminal, -1, sarsa.q.argmax(1))
    assert evaluate(m, greedy)[36] == -17.0  # the safe path, along the top


def test_double_q_learning_is_not_fooled():
    """Figure 6.5: going left looks good by chance, and only Q-learning believes it."""
    m = make("maximisation_bias")
    given = {"alpha": 0.1, "epsilon": 0.1, "episodes": 300, "runs": 300}
    left = {
        name: (learn(m, name, **given).lengths == 2).mean(0)
        for name in ("q_learning", "double_q_learning")
    }
    assert left["q_learning"][10:40].mean() > 0.75
    assert left["double_q_learning"][50:].mean() < 0.2
    assert left["q_learning"][-20:].mean() < 0.25  # in the end it knows better: 5 % is the best
    assert left["double_q_learning"][-20:].mean() < 0.12


def test_ordinary_importance_sampling_does_not_converge():
    """Example 5.5: the value is 1, the variance of ordinary weights is infinite."""
    given = {"policy": [0, -1], "behaviour": "uniform", "episodes": 50_000, "runs": 10}
    m = make("infinite_variance")
    weighted = learn(m, "off_policy_mc_prediction", importance="weighted", **given)
    assert weighted.value[0] == 1.0
    given |= {"record_every": 5000}
    ordinary = learn(m, "off_policy_mc_prediction", importance="ordinary", **given)
    last = ordinary.values[:, -1, 0]
    assert (np.abs(last - 1.0) > 0.1).mean() > 0.5, "after 50 000 episodes most are still off"
    assert np.abs(np.diff(ordinary.values[:, 1:, 0], axis=1)).max() > 0.1, "and still jump"


# -- Zhao ------------------------------------------------------------------------------------------

# Figure 5.4, page 85: the values that MC Basic finds with episodes of so many steps
FIGURE_5_4 = {
    1: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0],
    2: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1.9, 0, 0, 0, 1.9, 1.9, 1.9, 0, 0, 0.9, 1.9, 0.9, 0],
    3: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2.7, 0, 0, 0, 2.7, 2.7, 2.7, 0, 0, 1.7, 2.7, 1.7, 0.8],
    14: [1.2, 1.6, 2.0, 2.5, 3.0, 0.9, 1.2, 2.5, 3.0, 3.6, 0.5, 0.3, 7.7, 3.6, 4.3,
         0.3, 7.7, 7.7, 7.7, 5.0, 0, 6.7, 7.7, 6.7, 5.8],
    30: [3.1, 3.5, 3.9, 4.4, 4.9, 2.7, 3.1, 4.4, 4.9, 5.5, 2.4, 2.1, 9.6, 5.5, 6.1,
         2.1, 9.6, 9.6, 9.6, 6.9, 1.9, 8.6, 9.6, 8.6, 7.7],
    100: [3.5, 3.9, 4.3, 4.8, 5.3, 3.1, 3.5, 4.8, 5.3, 5.9, 2.8, 2.5, 10, 5.9, 6.6,
          2.5, 10, 10, 10, 7.3, 2.3, 9, 10, 9, 8.1],
}  # fmt: skip


@pytest.mark.parametrize("length", FIGURE_5_4)
def test_mc_basic_needs_long_episodes(length):
    m = make("book_grid", r_forbidden=-10, discount=0.9)
    r = learn(m, "mc_basic", iterations=25, max_steps=length)
    assert np.abs(r.value - FIGURE_5_4[length]).max() < 0.051


def test_mc_basic_step_by_step():
    """Section 5.2: q of the first policy in s1, which makes it go right, or down, instead of up."""
    m = make("book_grid", rows=3, cols=3, discount=0.9)
    first = [0, 2, 4, 1, 2, 4, 4, 1, 4]  # s1 up, s2 down, s4 right, s5 down, s8 right, s9 stay
    r = learn(m, "mc_basic", policy=first, iterations=1, max_steps=300)
    assert np.allclose(r.q[0], [-10, 7.29, 7.29, -10, -9], atol=1e-9)
    assert r.policy[0] == 1
    assert r.counted == "iteration"


def test_mc_basic_averages_where_the_world_is_random():
    m = make("book_grid", slip=0.2, discount=0.7)
    best = value_iteration(m, tolerance=1e-9)
    r = learn(m, "mc_basic", iterations=5, max_steps=25, samples=200, truth=best.value, seed=1)
    assert r.errors[0, -1] < 0.1
    assert r.steps == 5 * 125 * 200 * 25


def path_grid():
    """Figures 7.2 and 7.3: from the top left cell to the target, every step costs."""
    return make(
        "book_grid", r_target=0, r_forbidden=-10, r_boundary=-10, r_other=-1, terminal=True,
        start=(0, 0), discount=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given"),
    [("sarsa", {}), ("expected_sarsa", {}), ("n_step_sarsa", {"n": 3}), ("q_learning", {})],
)
def test_episodes_become_short_and_cheap(name, given):
    """Figures 7.2 and 7.3: totals rise from below −100 toward the best, lengths fall from 60."""
    r = learn(path_grid(), name, alpha=0.1, epsilon=0.1, episodes=500, runs=20, **given)
    assert r.returns[:, :20].mean() < -90
    assert r.lengths[:, :20].mean() > 35
    assert r.returns[:, -100:].mean() > -19
    assert r.lengths[:, -100:].mean() < 14


def test_off_policy_q_learning():
    """Figures 7.4 and 7.5: 100 000 steps find v*, and the less exploring, the less of it."""
    m = make("book_grid", discount=0.9)
    truth = value_iteration(m, tolerance=1e-9).value
    given = {"alpha": 0.1, "steps": 100_000, "truth": truth}
    uniformly = learn(m, "q_learning", behaviour="uniform", **given)
    assert uniformly.errors[0, -1] < 0.02
    assert np.isclose(value_iteration(m, tolerance=1e-9).value, uniformly.value, atol=0.1).all()
    some, few = (learn(m, "q_learning", epsilon=e, runs=5, **given).errors for e in (0.5, 0.1))
    assert uniformly.errors[0, -1] < some[:, -1].mean() < few[:, -1].mean()
    assert few[:, -1].mean() > 1.0


def fixed_point(m, x):
    """Where linear TD(0) converges: A w = b, A = Xᵀ D (I − γ P_π) X, b = Xᵀ D r_π. Zhao, 8.2.5."""
    pi = uniform(m)
    chain, d = chain_of(m, pi), np.diag(stationary(m, pi))
    a = x.T @ d @ (np.eye(m.states) - m.discount * chain.transitions.toarray()) @ x
    return x @ np.linalg.solve(a, x.T @ d @ chain.reward)


def test_linear_td_with_polynomials_and_cosines():
    """Figures 8.7 and 8.8: more features, a smaller error; TD comes near its fixed point."""
    m = make("book_grid", discount=0.9)
    truth, at = evaluate(m, uniform(m)), coordinates(m)
    assert np.isclose(truth[0], -3.8, atol=0.05)  # Figure 8.6
    given = {"policy": "uniform", "alpha": 0.0005, "episodes": 500, "max_steps": 500}
    given |= {"truth": truth, "runs": 3}
    ends = {}
    for name, features in (
        ("polynomial", [polynomial(2 * at - 1, k) for k in (1, 2, 3)]),
        ("fourier", [fourier(at, k) for k in (1, 2, 3)]),
    ):
        assert [x.shape[1] for x in features] == (
            [3, 6, 10] if name == "polynomial" else [4, 9, 16]
        )
        for x in features:
            r = learn(m, "td", features=x, **given)
            limit = np.sqrt(((fixed_point(m, x) - truth) ** 2).mean())
            assert limit < r.errors[:, -1].mean() < limit + 0.03
            ends.setdefault(name, []).append(r.errors[:, -1].mean())
        assert ends[name] == sorted(ends[name], reverse=True)
    table = learn(m, "td", **(given | {"alpha": 0.005}))
    assert table.errors[:, -1].mean() < min(ends["fourier"] + ends["polynomial"])


def test_importance_sampling_recovers_the_other_mean():
    """Figure 10.2: X = ±1; samples of (.8, .2) have mean .6, weighted ones the 0 of (.5, .5)."""
    found = importance_sampled([1, -1], [0.5, 0.5], [0.8, 0.2], samples=200, seed=0)
    assert sorted(set(found.weights)) == [0.625, 2.5]
    assert (found.weights == np.where(found.samples > 0, 0.625, 2.5)).all()
    assert abs(found.plain[-1] - 0.6) < 4 * np.sqrt(0.64 / 200)
    assert abs(found.ordinary[-1]) < 4 * np.sqrt(1.5625 / 200)
    many = importance_sampled([1, -1], [0.5, 0.5], [0.8, 0.2], samples=200_000, seed=1)
    assert abs((many.weights * many.samples).var() - 1.5625) < 0.01
    assert abs(many.samples.var() - 0.64) < 0.01
    # in the zoo it is a decision of one step, and the methods of `learn` agree
    m = make("importance_sampling")
    for kind in ("ordinary", "weighted"):
        r = learn(m, "off_policy_mc_prediction", policy="uniform", behaviour=m.policy,
                  importance=kind, episodes=20_000)  # fmt: skip
        assert abs(r.value[0]) < 0.05
        assert abs(r.returns.mean() - 0.6) < 0.03


def test_robbins_monro():
    """Figure 6.3: the root of w³ − 5 from noisy values, w₁ = 0 and α = 1/k; also α = 0.2/k."""
    root = 5 ** (1 / 3)
    for seed in range(5):
        w = robbins_monro(lambda w: w**3 - 5, steps=2000, within=(-3, 3), seed=seed)
        assert abs(w[-1] - root) < 0.02
    w = robbins_monro(lambda w: w**3 - 5, steps=2000, alpha=inverse(0.2), seed=2)
    assert abs(w[-1] - root) < 0.05
    assert np.abs(w[-500:] - root).max() < 0.1
    exact = robbins_monro(lambda w: w**3 - 5, steps=500, alpha=inverse(0.2), noise=0.0)
    assert abs(exact[-1] - root) < 1e-3


def test_a_mean_is_robbins_monro_of_its_distance():
    x = np.random.default_rng(0).normal(size=50)
    assert np.allclose(mean_estimates(x), np.cumsum(x) / np.arange(1, 51))
