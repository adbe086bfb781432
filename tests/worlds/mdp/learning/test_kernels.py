"""Compiled code: it does what the same text does in Python, and its parts what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpi.worlds.mdp.learning import METHODS, inverse, visits
from logpi.worlds.mdp.learning.arrays import FLAGS, OUTCOME, ROW, RUN, Arrays
from logpi.worlds.mdp.learning.environment import form_of, walk_in
from logpi.worlds.mdp.learning.fast import advance_table
from logpi.worlds.mdp.learning.features import polynomial
from logpi.worlds.mdp.learning.kernels import first_above, greedy, nudge, sum_rows, uniform
from logpi.worlds.mdp.learning.tables import begun, fixed, policy_of, summed, values
from logpi.worlds.mdp.learning.task import checked_task
from logpi.worlds.mdp.learning.updates import n_steps, settle, traced
from logpi.worlds.mdp.learning.walk import advance, begin
from logpi.worlds.mdp.zoo import make

COMMON = {"episodes": 4, "steps": None, "discount": None, "max_steps": 25, "truth": None}
COMMON |= {"record_every": None, "runs": 1, "seed": 3}
GRID = make("book_grid", slip=0.3, terminal=True)
SOME = np.random.default_rng(0).dirichlet(np.ones(5), size=25)

VARIANTS = [
    ("td", {"policy": SOME}),
    ("td", {"policy": SOME, "alpha": visits(power=0.8), "replay": 3, "capacity": 7}),
    ("td", {"policy": SOME, "features": polynomial(np.random.default_rng(1).random((25, 2)), 2)}),
    ("n_step_td", {"policy": SOME, "n": 3, "alpha": inverse(1.0, per="step")}),
    ("td_lambda", {"policy": SOME, "lam": 0.8}),
    ("td_lambda", {"policy": SOME, "traces": "replacing", "features": np.eye(25)}),
    ("mc_prediction", {"policy": SOME, "of": "q", "exploring_starts": True}),
    ("off_policy_mc_prediction", {"policy": SOME, "behaviour": "uniform"}),
    ("off_policy_mc_prediction", {"policy": SOME, "behaviour": SOME, "importance": "ordinary"}),
    ("mc_control", {"epsilon": 0.3, "first_visit": False}),
    ("off_policy_mc_control", {"behaviour": SOME}),
    ("sarsa", {"epsilon": 0.2}),
    ("sarsa", {"epsilon": inverse(1.0, power=0.6)}),
    ("sarsa", {"features": np.eye(25), "epsilon": 0.2}),
    ("expected_sarsa", {"behaviour": SOME, "policy": "uniform"}),
    ("expected_sarsa", {"epsilon": 0.5}),
    ("n_step_sarsa", {"n": 2}),
    ("sarsa_lambda", {"lam": 0.5, "traces": "replacing"}),
    ("q_learning", {"epsilon": 0.2}),
    ("q_learning", {"epsilon": 0.2, "replay": 2, "capacity": 5}),
    ("double_q_learning", {"epsilon": 0.2}),
    ("double_q_learning", {"replay": 2, "features": np.eye(25)}),
]


def prepared(name, options, m=GRID):
    task = checked_task(m, name, COMMON, options)
    return task, begun(task, fixed(task), 0)


def in_python(walk, x, episodes):
    """The walk as Python, on a copy of the arrays."""
    y = Arrays(*(part.copy().view(np.recarray) for part in x))
    with np.errstate(over="ignore"):  # the random numbers' state is meant to wrap around
        walk.py_func(y, episodes, 2**40)
    return y


def same(x, y):
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda x: x if x is str else None)
def test_compiled_code_does_what_its_text_says(name, options):
    _, x = prepared(name, options)
    y = in_python(advance, x, 4)
    advance(x, 4, 2**40)
    assert x.run["episode"] == 4
    # a processor may fuse a product and a sum
    assert np.allclose(x.weights["value"], y.weights["value"], rtol=1e-12, atol=1e-14)
    assert x.log.tobytes() == np.asarray(y.log).tobytes()
    assert x.run["random"] == y.run["random"]


@pytest.mark.parametrize("name", ["sarsa", "expected_sarsa", "q_learning"])
def test_and_so_does_the_fast_loop(name):
    _, x = prepared(name, {"epsilon": 0.3})
    y = in_python(advance_table, x, 4)
    advance_table(x, 4, 2**40)
    assert np.allclose(x.weights["value"], y.weights["value"], rtol=1e-12, atol=1e-14)
    assert x.log.tobytes() == np.asarray(y.log).tobytes()


def test_every_family_is_among_the_variants():
    shown = {METHODS[name].family for name, _ in VARIANTS}
    assert shown == {"one_step", "n_step", "traces", "whole"}
    assert {METHODS[name].ahead for name, _ in VARIANTS} == {
        "state", "sarsa", "expected", "greedy", "double",
    }  # fmt: skip


# -- the parts -------------------------------------------------------------------------------------


def records(dtype, count, **fields):
    made = np.zeros(count, dtype).view(np.recarray)
    for name, value in fields.items():
        made[name] = value
    return made


def test_random_numbers_are_splitmix64():
    """The published first outputs for the seed 1234567, cut to 53 bits."""
    run = records(RUN, 1, random=1234567)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    with np.errstate(over="ignore"):
        assert [uniform(run) for _ in published] == [(z >> 11) / 2**53 for z in published]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40).filter(any), st.floats(0, 1))
def test_a_draw_falls_where_its_probability_is(weights, u):
    p = np.array(weights) / sum(weights)
    rows, outcomes = records(ROW, 1, high=len(p)), records(OUTCOME, len(p), cumulative=p)
    sum_rows.py_func(rows, outcomes)
    assert outcomes.cumulative[-1] == 1.0
    u = min(u, 1 - 2**-53)
    z = first_above(outcomes, 0, len(p), u)
    assert p[z] > 0
    below = p[:z].sum()
    assert below - 1e-12 <= u <= below + p[z] + 1e-12


def test_sums_end_with_one():
    p = np.full((3, 7), 1 / 7)
    p[2] = 0
    made = summed(p)
    assert made[:2, -1].tolist() == [1.0, 1.0]
    assert (made[2] == 0).all()


def arrays(name, options, m=GRID):
    task, x = prepared(name, options, m)
    return task, Arrays(*(part.view(np.recarray) for part in x))


def test_a_nudge_moves_by_its_step_size():
    _, x = arrays("sarsa", {"alpha": 0.25})
    with np.errstate(over="ignore"):
        begin(x)
    nudge(x, 7, 0, 4.0)
    nudge(x, 7, 0, 4.0)
    assert x.weights[7].value == 1.0 + 0.25 * 3.0


def test_greedy_takes_the_best_allowed():
    m = GRID.having(allowed=GRID.allowed & (np.arange(5) != 3))
    _, x = arrays("sarsa", {}, m)
    x.weights.value[:5] = [1.0, 3.0, 2.0, -np.inf, 0.0]
    assert greedy(x, 0, 0) == 1
    x.weights.value[:5] = [2.0, 1.0, 2.0, -np.inf, 0.0]
    with np.errstate(over="ignore"):
        seen = [greedy(x, 0, 0) for _ in range(200)]
    assert set(seen) == {0, 2}
    assert 60 < seen.count(0) < 140


def test_updates_by_hand():
    """The rules of several steps, one step at a time: s0 → s1 → the end, paying 1 and 2."""
    from worlds.mdp.learning.small_models import chain

    m = chain([1.0, 2.0], discount=0.5)
    _, x = arrays("n_step_td", {"n": 2, "alpha": 1.0}, m)
    x.run[0].alpha = 1.0
    n_steps(x, (0, 0, 1.0, 1, False), 0, False)
    assert (x.weights.value == 0).all(), "two rewards are awaited"
    x.run[0].time = 1
    n_steps(x, (1, 0, 2.0, 2, True), -1, True)
    assert x.weights.value.tolist() == [2.0, 2.0, 0.0]

    _, x = arrays("td_lambda", {"lam": 1.0, "alpha": 1.0}, m)
    x.run[0].alpha = 1.0
    traced(x, (0, 0, 1.0, 1, False), 0)
    traced(x, (1, 0, 2.0, 2, True), -1)
    assert x.weights.value.tolist() == [1.0 + 0.5 * 2.0, 2.0, 0.0]
    assert x.run[0].held == 2

    _, x = arrays("mc_prediction", {"alpha": 1.0}, m)
    x.run[0].alpha = 1.0
    x.steps.pair[:2], x.steps.reward[:2] = [0, 1], [1.0, 2.0]
    settle(x, 2)
    assert x.weights.value.tolist() == [2.0, 2.0, 0.0]


def test_values_and_policies_are_read_back():
    task, x = prepared("sarsa", {"epsilon": 0.5})
    x.weights["value"][:5] = [0.0, 4.0, 1.0, 0.0, 0.0]
    x.run["epsilon"] = 0.5
    v, q = values(task, x)
    assert np.isclose(v[0], 0.5 * 4 + 0.5 * 1)
    pi = policy_of(task, q, 0.5)
    assert np.allclose(pi[0], [0.1, 0.6, 0.1, 0.1, 0.1])
    greedy_task, _ = prepared("q_learning", {})
    assert policy_of(greedy_task, q, 0.0)[0] == 1


def test_an_environment_has_a_form():
    gym = pytest.importorskip("gymnasium")
    env = gym.make("FrozenLake-v1")
    m = form_of(env)
    assert (m.states, m.actions) == (16, 4)
    assert m.allowed.all()
    task = checked_task(env, "sarsa", COMMON | {"discount": 0.9}, {})
    x = begun(task, fixed(task), 0)
    walk_in(env, seed=1, run=0)(x, 3, 2**40)
    assert x.run["episode"] == 3
    assert x.run["steps"] == x.log["length"].sum()
    assert x.run["limit"] == 25
    assert x.run["family"] == FLAGS.one_step
    env.close()
