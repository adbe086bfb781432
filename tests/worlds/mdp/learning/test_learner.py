"""`learn`: methods against each other, against planning, and against what is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.learning import METHODS, Learned, batch_mc, batch_td, learn, visits
from logpi.worlds.mdp.learning.fast import advance_table
from logpi.worlds.mdp.learning.features import one_hot
from logpi.worlds.mdp.learning.tables import begun, fixed
from logpi.worlds.mdp.learning.task import checked_task
from logpi.worlds.mdp.learning.walk import advance
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.planning.evaluate import action_values, evaluate
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.planning.value_iteration import value_iteration
from logpi.worlds.mdp.rollout import Rollout
from logpi.worlds.mdp.zoo import make
from worlds.mdp.learning.small_models import chain, fan, loop, revisit

COMMON = {"episodes": 40, "steps": None, "discount": None, "max_steps": 60, "truth": None}
COMMON |= {"record_every": None, "runs": 1, "seed": 3}


def options_of(name):
    """What a method needs to run on a model with several actions."""
    given = {}
    if METHODS[name].judges == "given" or "behaviour" in METHODS[name].options:
        given["policy" if METHODS[name].judges == "given" else "behaviour"] = "uniform"
    if name == "off_policy_mc_prediction":
        given["behaviour"] = "uniform"
    return given


def run(name, m, **common):
    if METHODS[name].family == "basic":
        common = {k: v for k, v in common.items() if k not in ("episodes", "steps")}
        return learn(m, name, iterations=3, **common)
    return learn(m, name, **options_of(name), **common)


# -- every method ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_result(name):
    m = make("book_grid", slip=0.2, terminal=True)
    one, two, other = (run(name, m, episodes=20, max_steps=30, runs=2, seed=s) for s in (1, 1, 2))
    assert one.value.tolist() == two.value.tolist()
    assert one.returns.tolist() == two.returns.tolist()
    assert one.value.tolist() != other.value.tolist()
    assert one.returns[0].tolist() != one.returns[1].tolist(), "runs are independent"


@pytest.mark.parametrize("name", METHODS)
def test_shapes_and_conventions(name):
    m = make("book_grid", terminal=True)
    r = run(name, m, episodes=5, max_steps=30, record_every=2, truth=np.zeros(25))
    assert isinstance(r, Learned)
    assert r.value.shape == (25,)
    assert (r.value[m.terminal] == 0).all()
    if r.q is not None:
        assert np.isneginf(r.q[~m.allowed]).all()
        assert np.isfinite(r.q[m.allowed]).all()
    if r.policy.ndim == 1:
        assert (r.policy[m.terminal] == -1).all()
    else:
        assert np.allclose(r.policy.sum(1), ~m.terminal)
    assert r.recorded[0] == 0
    assert r.values.shape == (1, len(r.recorded), 25)
    assert r.errors.shape == (1, len(r.recorded))
    assert np.allclose(r.errors[0, -1], np.sqrt((r.value[~m.terminal] ** 2).mean()))
    assert r.lengths.max() <= 30
    assert r.steps >= r.lengths.sum()
    assert name in repr(r)


def test_more_episodes_begin_with_the_same():
    few, many = (learn(make("cliff"), "sarsa", episodes=n, seed=5) for n in (10, 30))
    assert few.returns[0].tolist() == many.returns[0, :10].tolist()


# -- one compiled loop does what the other does ----------------------------------------------------


def walked(m, name, loop, **given):
    task = checked_task(m, name, COMMON, given)
    x = begun(task, fixed(task), 0)
    loop(x, 40, 2**62)
    return x


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["sarsa", "expected_sarsa", "q_learning"]),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_the_fast_loop_is_the_general_one(name, seed, epsilon):
    m = make("garnet", states=6, actions=3, branching=4, seed=seed, discount=0.9)
    m = m.having(allowed=m.allowed & (np.arange(6) != 2)[:, None] & (np.arange(3) != 1))
    slow, fast = (walked(m, name, f, epsilon=epsilon) for f in (advance, advance_table))
    assert slow.weights["value"].tobytes() == fast.weights["value"].tobytes()
    assert slow.log.tobytes() == fast.log.tobytes()
    assert slow.run["random"] == fast.run["random"]


@pytest.mark.parametrize("name", ["sarsa", "q_learning", "td", "mc_control", "n_step_sarsa"])
def test_pieces_make_a_whole(name):
    """Stopping in the middle of an episode, as a look after some steps does, changes nothing."""
    given = {"policy": "uniform"} if name == "td" else {}
    m = make("book_grid", terminal=True)
    whole, pieces = (
        learn(m, name, steps=500, max_steps=50, record_every=every, seed=2, **given)
        for every in (500, 7)
    )
    assert whole.value.tolist() == pieces.value.tolist()
    assert whole.lengths.tolist() == pieces.lengths.tolist()
    assert pieces.counted == "step"


# -- methods that are special cases of others ------------------------------------------------------

GRID = make("book_grid", slip=0.3, terminal=True)
SAME = {
    "td is n_step_td with n=1": (("td", {}), ("n_step_td", {"n": 1})),
    "td is td_lambda with lam=0": (("td", {}), ("td_lambda", {"lam": 0.0})),
    "sarsa is n_step_sarsa with n=1": (("sarsa", {}), ("n_step_sarsa", {"n": 1})),
    "sarsa is sarsa_lambda with lam=0": (("sarsa", {}), ("sarsa_lambda", {"lam": 0.0})),
    "td is td with one feature a state": (("td", {}), ("td", {"features": one_hot(25)})),
    "sarsa likewise": (("sarsa", {}), ("sarsa", {"features": one_hot(25)})),
    "q_learning likewise": (("q_learning", {}), ("q_learning", {"features": one_hot(25)})),
    "double_q_learning likewise": (
        ("double_q_learning", {}),
        ("double_q_learning", {"features": one_hot(25)}),
    ),
    "n_step_td with many is mc_prediction": (
        ("n_step_td", {"n": 500}),
        ("mc_prediction", {"alpha": 0.1, "first_visit": False}),
    ),
    "mc_prediction likewise with features": (
        ("mc_prediction", {"alpha": 0.1}),
        ("mc_prediction", {"alpha": 0.1, "features": one_hot(25)}),
    ),
    "td_lambda likewise": (
        ("td_lambda", {"traces": "replacing"}),
        ("td_lambda", {"traces": "replacing", "features": one_hot(25)}),
    ),
    "features [S, A, d] are features [S, d]": (
        ("expected_sarsa", {"features": one_hot(25)}),
        ("expected_sarsa", {"features": np.eye(125).reshape(25, 5, 125)}),
    ),
    "a mean of returns is off-policy with the same policy": (
        ("mc_prediction", {}),
        ("off_policy_mc_prediction", {"behaviour": "uniform", "importance": "ordinary"}),
    ),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_one_method_is_a_case_of_another(one, other):
    found = []
    for name, options in (one, other):
        policy = {"policy": "uniform"} if METHODS[name].judges == "given" else {}
        found.append(learn(GRID, name, episodes=15, seed=4, **policy, **options).value)
    assert np.allclose(*found, rtol=1e-9, atol=1e-12)


# -- by hand ---------------------------------------------------------------------------------------


def test_td_by_hand():
    m = chain([1.0, 2.0], discount=0.5)
    assert learn(m, "td", episodes=1, alpha=0.5).value.tolist() == [0.5, 1.0, 0.0]
    # second episode: v(0) += .5 (1 + .5·1 − .5), v(1) += .5 (2 − 1)
    assert learn(m, "td", episodes=2, alpha=0.5).value.tolist() == [1.0, 1.5, 0.0]


def test_n_step_td_by_hand():
    m = chain([1.0, 2.0, 4.0], discount=0.5)
    r = learn(m, "n_step_td", n=2, episodes=1, alpha=1.0)
    assert r.value.tolist() == [2.0, 4.0, 4.0, 0.0]  # 1 + .5·2 + .25·0, 2 + .5·4, 4


def test_traces_by_hand():
    """One state that is visited three times: an accumulating trace grows beyond 1."""
    m = revisit(discount=0.5)
    common = {"episodes": 1, "alpha": 0.5, "max_steps": 3, "lam": 1.0}
    grown = learn(m, "td_lambda", traces="accumulating", **common).value
    kept = learn(m, "td_lambda", traces="replacing", **common).value
    # δ₁ = 1: v(0) = .5.   δ₂ = 2 + .5·.5 = 2.25, z = (.5, 1): v = (1.0625, 1.125)
    # δ₃ = 1 + .5·1.125 − 1.0625 = .5, z = (.25 + 1 or 1, .5)
    assert np.allclose(grown, [1.0625 + 0.5 * 0.5 * 1.25, 1.125 + 0.5 * 0.5 * 0.5])
    assert np.allclose(kept, [1.0625 + 0.5 * 0.5 * 1.0, 1.125 + 0.5 * 0.5 * 0.5])


def test_first_visits_and_every_visit():
    m = revisit(discount=1.0).having(discount=0.5)
    common = {"episodes": 1, "max_steps": 3}  # returns 1 + .5·2 + .25·1, 2 + .5·1, 1
    first = learn(m, "mc_prediction", first_visit=True, **common).value
    every = learn(m, "mc_prediction", first_visit=False, **common).value
    assert first.tolist() == [2.25, 2.5]
    assert every.tolist() == [(2.25 + 1) / 2, 2.5]


def test_a_cut_goes_on_for_td_and_not_for_monte_carlo():
    """Where every step pays 1 and nothing ends, V = 1/(1 − γ); one step is worth 1."""
    m = revisit(discount=0.5).having(reward=np.ones((2, 1)))
    cut = {"episodes": 200, "max_steps": 1, "alpha": 0.5}
    assert np.allclose(learn(m, "td", **cut).value[0], 1.0)  # V(1) is never visited: 1 + .5·0
    longer = cut | {"max_steps": 3}
    for name in ("td", "n_step_td", "td_lambda"):
        assert np.allclose(learn(m, name, **longer).value, 2.0, atol=1e-6), name
    assert np.allclose(learn(m, "mc_prediction", **longer).value[0], 1.75)
    r = learn(m, "td", **longer)
    assert r.truncated.all()
    assert (r.lengths == 3).all()
    assert not learn(chain([1.0]), "td", episodes=3).truncated.any()


def stay_or_go():
    """One state: to stay pays 1, to go pays 0 and ends."""
    p = [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]
    return from_dense(p, [[1, 0], [0, 0]], 0.5, order="sas", terminal=[1], start=0)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("q_learning", {"behaviour": [0, -1]}),
        ("sarsa", {"policy": [0, -1]}),
        ("expected_sarsa", {"policy": [0, -1]}),
        ("n_step_sarsa", {"policy": [0, -1], "n": 1}),
    ],
)
def test_action_values_by_hand(name, given):
    r = learn(stay_or_go(), name, episodes=1, max_steps=2, alpha=0.5, **given)
    # 0 + .5 (1 + .5·0 − 0), then .5 + .5 (1 + .5·.5 − .5)
    assert r.q[0].tolist() == [0.875, 0.0]


def test_epsilon_greedy_counts_in_expected_sarsa():
    r = learn(stay_or_go(), "expected_sarsa", behaviour=[0, -1], epsilon=0.4, alpha=0.5,
              episodes=1, max_steps=2)  # fmt: skip
    # the ε-greedy policy stays with probability .8: .5 + .5 (1 + .5·.8·.5 − .5)
    assert np.isclose(r.q[0, 0], 0.5 + 0.5 * (1 + 0.5 * 0.8 * 0.5 - 0.5))
    assert np.allclose(r.policy[0], [0.8, 0.2])


def test_control_learns_to_stay():
    r = learn(stay_or_go(), "q_learning", episodes=400, alpha=0.5, epsilon=0.5, seed=1)
    assert np.allclose(r.q[0], [2.0, 0.0])
    assert r.policy.tolist() == [0, -1]
    assert np.allclose(r.value, [2.0, 0.0])


def test_the_predictor():
    """Sutton & Barto, Example 6.4: eight episodes from which V(A) is 3/4 by TD and 0 by MC."""
    a, b, end = 0, 1, 2
    state = np.array([[a, b]] + [[b, 0]] * 7)
    after = np.array([[b, end]] + [[end, 0]] * 7)
    reward = np.array([[0.0, 0.0]] + [[1.0, 0.0]] * 6 + [[0.0, 0.0]])
    episodes = Rollout(
        state, np.zeros_like(state), after, reward=reward,
        length=np.array([2] + [1] * 7), terminated=np.ones(8, dtype=bool),
    )  # fmt: skip
    assert np.allclose(batch_td(episodes, 3, discount=1.0), [0.75, 0.75, 0])
    assert np.allclose(batch_mc(episodes, 3, discount=1.0), [0.0, 0.75, 0])


# -- against planning ------------------------------------------------------------------------------


def mean_error(found, truth, allowed):
    return np.abs(found[allowed] - truth[allowed]).mean()


@pytest.mark.parametrize("name", ["q_learning", "double_q_learning", "expected_sarsa"])
def test_off_policy_control_finds_the_optimum(name):
    m = make("garnet", states=8, actions=3, branching=2, seed=1, discount=0.8)
    # expected Sarsa evaluates its own policy: with a vanishing ε that is the greedy one
    epsilon = {"epsilon": 0.0} if name == "expected_sarsa" else {}
    r = learn(
        m, name, steps=400_000, max_steps=100, alpha=visits(power=0.7), behaviour="uniform",
        seed=1, **epsilon,
    )  # fmt: skip
    truth = value_iteration(m, tolerance=1e-9).q
    assert mean_error(r.q, truth, m.allowed) < 0.01 * np.ptp(truth)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sarsa", {"alpha": visits(power=0.7)}),
        ("expected_sarsa", {"alpha": visits(power=0.7)}),
        ("n_step_sarsa", {"alpha": visits(power=0.7), "n": 3}),
        ("sarsa_lambda", {"alpha": 0.002, "lam": 0.5}),
        ("expected_sarsa", {"alpha": visits(power=0.7), "behaviour": "uniform"}),
        ("mc_prediction", {"of": "q"}),
        ("mc_prediction", {"of": "q", "first_visit": False}),
        ("mc_prediction", {"of": "q", "exploring_starts": True}),
        ("off_policy_mc_prediction", {"of": "q", "behaviour": "uniform"}),
        ("off_policy_mc_prediction", {"of": "q", "behaviour": "uniform", "importance": "ordinary"}),
    ],
)
def test_action_values_of_a_given_policy(name, given):
    m = make("garnet", states=6, actions=2, branching=3, seed=2, discount=0.7)
    m = m.having(allowed=m.allowed & (np.arange(6) > 0)[:, None])  # state 0 ends
    pi = np.random.default_rng(0).dirichlet([3.0, 3.0], size=6)
    r = learn(m, name, policy=pi, steps=300_000, seed=1, **given)
    truth = action_values(m, pi)
    assert mean_error(r.q, truth, m.allowed) < 0.02 * np.ptp(truth[m.allowed])
    assert np.allclose(r.value[1:], (pi * r.q)[1:].sum(1))
    assert np.array_equal(r.policy[1:], pi[1:])


@pytest.mark.parametrize("name", ["td", "n_step_td", "td_lambda", "mc_prediction", "batch_td"])
def test_values_of_a_given_policy(name):
    m = make("random_walk", discount=0.9)
    alpha = {"alpha": 0.01} if "alpha" in METHODS[name].options and "mc" not in name else {}
    r = learn(m, name, episodes=3000, seed=1, **alpha)
    assert np.abs(r.value - evaluate(m, uniform(m))).max() < 0.05


def test_off_policy_control_by_monte_carlo():
    m = make("apple", discount=0.9)
    r = learn(m, "off_policy_mc_control", episodes=20_000, max_steps=12, seed=0)
    best = value_iteration(m, tolerance=1e-9)
    assert r.policy.tolist() == best.policy.tolist()


def test_monte_carlo_control():
    m = make("terminal_grid", discount=0.9)
    best = value_iteration(m, tolerance=1e-9).value
    starts = learn(m, "mc_control", exploring_starts=True, episodes=20_000, max_steps=50, seed=0)
    assert np.abs(starts.value - best).max() < 0.3
    assert starts.settings["epsilon"].start == 0
    soft = learn(m, "mc_control", epsilon=0.2, episodes=20_000, max_steps=500, seed=0)
    truth = evaluate(m, soft.policy)
    assert np.abs(soft.value - truth).mean() < 0.5


def test_replay_learns_more_from_as_many_steps():
    m = make("maze", discount=0.95)
    truth = value_iteration(m, tolerance=1e-9).value
    common = {"steps": 2000, "max_steps": 500, "truth": truth, "runs": 5, "alpha": 0.5}
    plain = learn(m, "q_learning", **common).errors[:, -1].mean()
    again = learn(m, "q_learning", replay=20, **common).errors[:, -1].mean()
    assert again < 0.7 * plain
    small = learn(m, "q_learning", replay=20, capacity=50, **common).errors[:, -1].mean()
    assert again < small < plain
    assert learn(m, "double_q_learning", replay=5, **common).errors[:, -1].mean() < plain


# -- the walk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 16, 17, 60])
def test_successors_are_drawn_with_their_probability(count):
    p = np.random.default_rng(count).dirichlet(np.ones(count))
    p[1] = 0.0
    p /= p.sum()
    m = fan(p)
    r = learn(m, "mc_prediction", episodes=40_000, seed=1)
    # the reward of an outcome is its number among those stored
    seen = np.bincount(r.returns[0].astype(int), minlength=m.transitions.nnz) / 40_000
    wanted = m.transitions.data
    assert np.abs(seen - wanted).max() < 5 * np.sqrt(wanted.max() / 40_000)
    chi2 = (40_000 * (seen - wanted) ** 2 / np.maximum(wanted, 1e-12)).sum()
    assert chi2 < m.transitions.nnz + 5 * np.sqrt(2 * m.transitions.nnz)


def test_every_best_action_is_as_likely():
    """At first all values are equal, so that a greedy policy draws any action."""
    m = make("bandit", means=[0.0, 1.0, 2.0, 3.0])
    given = {"epsilon": 0.0, "episodes": 1, "runs": 800, "seed": 0}
    for name in ("mc_control", "q_learning", "double_q_learning"):
        first = learn(m, name, **given).returns[:, 0]
        share = np.unique(first, return_counts=True)[1] / 800
        assert len(share) == 4
        assert np.abs(share - 0.25).max() < 0.07


def test_float32_and_long_indices_walk_the_same_way():
    m = make("book_grid", terminal=True)
    single = FiniteMDP(
        transitions=m.transitions.astype(np.float32), reward=m.reward.astype(np.float32),
        discount=m.discount, start=m.start, allowed=m.allowed,
    )  # fmt: skip
    long = m.transitions.copy()
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    for other in (single, m.having(transitions=long)):
        one, two = (learn(x, "sarsa", episodes=50, seed=1) for x in (m, other))
        assert one.q.tolist() == two.q.tolist()


def test_the_discount_can_be_another():
    m = loop(discount=1.0)
    assert abs(learn(m, "mc_prediction", episodes=4000).value[0] - 2.0) < 0.1
    assert learn(m, "mc_prediction", episodes=400, discount=0.0).value[0] == 1.0


def test_averages_over_runs():
    m = make("random_walk")
    r = learn(m, "td", episodes=5, runs=3, record_every=5)
    assert np.allclose(r.value, r.values[:, -1].mean(0))
    assert r.returns.shape == (3, 5)
    by_steps = learn(m, "td", steps=200, runs=3)
    assert by_steps.steps == 600
    finished = (by_steps.lengths > 0).sum(1)
    assert (np.isnan(by_steps.returns).sum(1) == by_steps.returns.shape[1] - finished).all()


def test_weights_come_back():
    m = make("book_grid", terminal=True)
    x = np.random.default_rng(0).normal(size=(25, 3)) / 5
    v = learn(m, "td", policy="uniform", features=x, episodes=20, alpha=0.01)
    assert np.allclose(np.where(m.terminal, 0, x @ v.weights), v.value)
    q = learn(m, "q_learning", features=x, episodes=20, alpha=0.01, max_steps=200)
    assert q.weights.shape == (5, 3)
    assert np.allclose((x @ q.weights.T)[m.allowed], q.q[m.allowed])
    both = learn(m, "double_q_learning", features=x, episodes=20, alpha=0.01, max_steps=200)
    assert np.allclose((x @ both.weights.T)[m.allowed], both.q[m.allowed])
