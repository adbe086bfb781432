"""Sutton & Barto, "Reinforcement Learning", second edition: every number printed for an example."""

from __future__ import annotations

import numpy as np
import pytest
from tests.worlds.mdp.published import (
    DOWN,
    RIGHT,
    UP,
    best_soft,
    check_followed,
    check_optimal,
    soft_greedy,
    solved,
)

from logpi import mdp

make = mdp.zoo.make

SB_3_2 = [3.3, 8.8, 4.4, 5.3, 1.5, 1.5, 3.0, 2.3, 1.9, 0.5, 0.1, 0.7, 0.7, 0.4, -0.4,
          -1.0, -0.4, -0.4, -0.6, -1.2, -1.9, -1.3, -1.2, -1.4, -2.0]  # fmt: skip
SB_3_5 = [22.0, 24.4, 22.0, 19.4, 17.5, 19.8, 22.0, 19.8, 17.8, 16.0, 17.8, 19.8, 17.8, 16.0, 14.4,
          16.0, 17.8, 16.0, 14.4, 13.0, 14.4, 16.0, 14.4, 13.0, 11.7]  # fmt: skip
SB_4_1 = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]

FOLLOWED = {
    "Fig 3.2": (lambda: make("gridworld"), "uniform", SB_3_2, 0.05),
    "Fig 4.1": (lambda: make("terminal_grid"), "uniform", SB_4_1, 1e-9),
    "Ex 6.2": (
        lambda: make("random_walk"),
        "uniform",
        [0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 0],
        1e-12,
    ),
    "Ex 7.1": (
        lambda: make("random_walk", states=19, left_reward=-1),
        "uniform",
        [0, *np.arange(-9, 10) / 10, 0],
        1e-12,
    ),
    "Ex 5.5, always left": (lambda: make("infinite_variance"), [0, -1], [1, 0], 1e-12),
    "sec 11.2": (lambda: make("baird"), np.tile([6 / 7, 1 / 7], (7, 1)), [0] * 7, 0),
}


def test_fig_3_5_optimal_values():
    check_optimal(make("gridworld"), SB_3_5, 0.05)


@pytest.mark.parametrize("source", FOLLOWED)
def test_values_of_a_policy(source):
    build, policy, expected, tolerance = FOLLOWED[source]
    check_followed(build(), policy, expected, tolerance)


SB_4_1_SWEEPS = {
    1: [0, -1, -1, -1, -1, -1, -1, -1],
    2: [0, -1.75, -2, -2, -1.75, -2, -2, -2],
    3: [0, -2.4, -2.9, -3.0, -2.4, -2.9, -3.0, -2.9],
    10: [0, -6.1, -8.4, -9.0, -6.1, -7.7, -8.4, -8.4],
}


@pytest.mark.parametrize("count", SB_4_1_SWEEPS)
def test_fig_4_1_sweeps_of_policy_evaluation(count):
    m = mdp.zoo.terminal_grid()
    v = mdp.evaluate(m, mdp.uniform(m), horizon=count)
    assert np.allclose(v[:8], SB_4_1_SWEEPS[count], atol=0.051)
    assert np.allclose(v, v[::-1])


@pytest.mark.parametrize("p", [0.25, 0.4])
def test_ex_4_3_gambler(p):
    v = solved(mdp.zoo.gambler(p_heads=p))
    assert np.allclose(v[[25, 50, 75]], [p * p, p, p + (1 - p) * p], atol=1e-9)


def test_ex_4_3_with_a_good_coin_small_stakes_are_best():
    m = mdp.zoo.gambler(20, p_heads=0.55)
    ruin = (0.45 / 0.55) ** np.arange(21)
    win = (1 - ruin) / (1 - ruin[-1])  # gambler's ruin, staking 1 each time
    assert np.allclose(solved(m)[1:-1], win[1:-1], atol=1e-9)


def test_ex_6_6_cliff():
    m = mdp.zoo.cliff()
    assert np.isclose(solved(m)[36], -13)
    safe = np.full(48, UP)
    safe[:11], safe[[11, 23, 35]] = RIGHT, DOWN
    assert np.isclose(mdp.evaluate(m, safe)[36], -17)


def test_cliff_online_values_of_soft_policies():
    m = mdp.zoo.cliff()
    assert np.isclose(best_soft(m, 0.1)[36], -20.7077, atol=1e-3)
    around = soft_greedy(m, mdp.greedy(m, solved(m)), 0.1)
    assert np.isclose(mdp.evaluate(m, around)[36], -45.8033, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "steps"), [({}, 15), ({"king": True}, 7), ({"king": True, "stay": True}, 7)]
)
def test_ex_6_5_windy(options, steps):
    assert solved(mdp.zoo.windy(**options))[30] == -steps


def test_ex_13_1_short_corridor():
    m = mdp.zoo.short_corridor()

    def objective(p):
        return mdp.evaluate(m, np.tile([1 - p, p], (4, 1)))[0]

    for p in (0.05, 0.3, 0.5, 0.95):
        assert np.isclose(objective(p), (2 * p - 4) / (p * (1 - p)), atol=1e-6)
    assert np.isclose(objective(0.05), -82.1053, atol=1e-4)
    assert np.isclose(objective(0.95), -44.2105, atol=1e-4)
    assert np.isclose(objective(2 - np.sqrt(2)), -11.656854, atol=1e-6)
    assert max(objective(p) for p in (0.575, 0.585, 0.587, 0.595)) < -11.6568


def test_ex_5_5_the_second_moment_grows_without_end():
    m = mdp.zoo.infinite_variance()
    ratio = (1 / m.policy[0, 0]) ** 2 * m.policy[0, 0]  # π²/b of left
    (_, (stay, end)), moment = m.row(0, 0), 0.0
    for k in range(60):
        moment = ratio * (stay * moment + end * 1.0**2)
        assert np.isclose(moment, 0.1 * sum(0.9**j * 2 ** (j + 1) for j in range(k + 1)))
    assert ratio * stay > 1


def test_ex_4_2_jacks_cars():
    m = mdp.zoo.jacks_cars()
    found = mdp.solve(m, "policy_iteration", start_policy=[5] * 441, history=True)  # moving none
    v, moves, steps = found.value, (found.policy - 5).reshape(21, 21), len(found.history)
    assert np.allclose([v[0], v[-1]], [421.41, 636.99], atol=0.005)
    assert (moves.max(), moves.min(), moves[20, 0], moves[0, 20], steps) == (5, -4, 5, -4, 5)


def test_ex_5_4_a_blackjack_state():
    m = mdp.zoo.blackjack()
    sticks = np.array([1] * 160 + [0] * 43)  # on 20 and 21 only
    value = mdp.evaluate(m, sticks)[mdp.zoo.blackjack_state(13, dealer=2, usable_ace=True)]
    # the book's −0.27726 is the mean of a hundred million episodes
    assert np.isclose(value, -0.27726, atol=2e-4)


def test_fig_5_2_when_to_stick_at_blackjack():
    m = mdp.zoo.blackjack()
    stick = (mdp.greedy(m, solved(m))[:200] == 0).reshape(10, 10, 2)
    lowest = [12 + int(np.argmax(column)) for column in stick[:, :, 0].T]
    assert lowest == [17, 13, 13, 12, 12, 12, 17, 17, 17, 17]  # ace, 2, ..., 10; no usable ace
    lowest = [12 + int(np.argmax(column)) for column in stick[:, :, 1].T]
    assert lowest[1:] == [18] * 7 + [19, 19]


def test_ex_10_2_access_control():
    """The first edition's R-learning found an average reward of 2.73, exploring a little."""
    m = mdp.zoo.access_control()
    best = mdp.solve(m, "average_reward")
    assert 2.73 < best.facts["gain"] < 2.76
    soft = mdp.solve(mdp.epsilon_soft(m, 0.1), "average_reward")
    assert soft.facts["gain"] < 2.66
    accepts = best.policy.reshape(
        11, 4
    )  # Fig 10.5: the best customers always, the others when free
    assert accepts[1:, 3].all()
    assert (np.diff(accepts, axis=0) >= 0).all()
    assert (np.diff(accepts, axis=1) >= 0).all()


def test_ex_6_7_going_left_is_worth_less():
    m = mdp.zoo.maximisation_bias()
    assert np.allclose(solved(m)[:2], [0, -0.1])
    assert np.isclose(mdp.action_values(m, mdp.uniform(m))[0, 0], -0.1)


def test_ex_8_1_the_maze_takes_fourteen_steps():
    assert np.isclose(solved(mdp.zoo.maze())[18], 0.95**13)


def test_exercise_3_22_which_way_pays():
    """Left pays 1 at once, right 2 a step later: the best way changes at discount 0.5."""
    moves = np.zeros((3, 2, 3))
    moves[0, 0, 1] = moves[0, 1, 2] = moves[1, :, 0] = moves[2, :, 0] = 1
    m = mdp.from_dense(moves, [[1, 0], [0, 0], [2, 2]], 0.5)
    q = {g: mdp.solve(m.having(discount=g)).q[0] for g in (0.0, 0.5, 0.9)}
    assert q[0.0].argmax() == 0
    assert np.isclose(*q[0.5])
    assert q[0.9].argmax() == 1


def test_exercises_4_1_and_4_2_more_of_the_4_by_4_grid():
    m = make("terminal_grid")
    q = mdp.action_values(m, "uniform")
    assert np.allclose([q[11, DOWN], q[7, DOWN]], [-1, -15])
    # state 15 below 13, from where its four moves lead to 12, 13, 14 and 15
    v = mdp.evaluate(m, "uniform")
    assert np.isclose((-4 + v[[12, 13, 14]].sum()) / 3, -20)


def test_fig_4_3_sweeps_of_value_iteration():
    m = make("gambler")
    sweeps = [x.value for x in mdp.solve(m, "value_iteration", history=True).history]
    assert np.flatnonzero(sweeps[1]).tolist() == list(range(50, 100))  # one stake reaches 100
    assert np.flatnonzero(sweeps[2])[0] == 25
    assert (np.diff(sweeps, axis=0) >= 0).all()
    bold = np.minimum(np.arange(101), 100 - np.arange(101))
    assert np.allclose(mdp.evaluate(m, bold), solved(m), atol=1e-12)


def test_ex_6_4_you_are_the_predictor():
    a, b, end = range(3)
    seen = mdp.stored([[a, 0, b, 0, end], *[[b, 1, end]] * 6, [b, 0, end]])
    assert np.allclose(mdp.batch_td(seen, 3, discount=1.0), [0.75, 0.75, 0])
    assert np.allclose(mdp.batch_mc(seen, 3, discount=1.0), [0, 0.75, 0])


def test_exercise_6_10_a_king_in_a_wind_that_varies():
    calm, gusts = make("windy", king=True), make("windy", king=True, stochastic=True)
    assert solved(gusts)[30] < solved(calm)[30] == -7


def test_ex_9_1_a_thousand_states():
    """Fig 9.1's staircase lies along values that are all but linear."""
    m = make("random_walk", states=1000, left_reward=-1, jump=100)
    v = mdp.evaluate(m, "uniform")[1:-1]
    assert np.isclose(v[499] + v[500], 0, atol=1e-9)
    assert np.allclose(v, -v[::-1], atol=1e-9)
    assert (np.diff(v) > 0).all()
    assert abs(v - np.linspace(-1, 1, 1000)).max() < 0.15


def test_exercises_10_6_and_10_7_differential_values():
    two = mdp.from_dense(np.eye(2)[[1, 0]][:, None], [[1], [0]], 0.9)
    gains, bias = mdp.gain_and_bias(two, "uniform")
    assert np.allclose(gains, 0.5)
    assert np.allclose(bias, [0.25, -0.25])
    ring = mdp.from_dense(np.roll(np.eye(3), 1, 1)[:, None], [[0], [0], [1]], 0.9)
    gains, bias = mdp.gain_and_bias(ring, "uniform")
    assert np.allclose(gains, 1 / 3)
    assert np.allclose(bias, [-1 / 3, 0, 1 / 3])
    # the limit of discounted values
    near = mdp.evaluate(ring.having(discount=1 - 1e-4), "uniform") - (1 / 3) / 1e-4
    assert np.allclose(near, bias, atol=1e-3)


def test_ex_6_1_driving_home_is_predicted_by_the_sum_of_its_legs():
    legs, left = [5, 15, 10, 10, 3], [30, 35, 15, 10, 3, 0]
    m = mdp.zoo.reward_process(np.eye(6, k=1), [*legs, 0], discount=1.0)
    v = mdp.evaluate(m, "uniform")
    assert v.tolist() == [43, 38, 23, 13, 3, 0]
    total = np.cumsum([0, *legs]) + left
    assert total.tolist() == [30, 40, 35, 40, 43, 43]


def test_sec_11_2_baird_diverges_and_its_greedy_start_is_as_printed():
    m = make("baird")
    features = np.zeros((7, 8))
    features[np.arange(6), np.arange(6)] = 2
    features[:6, 7], features[6, 6], features[6, 7] = 1, 1, 2
    w = np.array([1.0, 1, 1, 1, 1, 1, 10, 1])
    assert (features @ w).tolist() == [3] * 6 + [12]
    target = mdp.as_probabilities(m, [1] * 7)
    moves = np.einsum("sa,sat->st", target, m.transitions.toarray().reshape(7, 2, 7))
    first = np.linalg.norm(w)
    for _ in range(1000):  # expected updates under the uniform distribution of states
        w = w + 0.01 * features.T @ (0.99 * moves @ features @ w - features @ w) / 7
    assert np.linalg.norm(w) > 2 * first
