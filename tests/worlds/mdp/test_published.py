"""Numbers that books, papers and notebooks print, from the models that they print them for.

Z: Zhao, "Mathematical Foundations of Reinforcement Learning", PDF of October 2025.
SB: Sutton & Barto, "Reinforcement Learning", second edition.
"""

from __future__ import annotations

import numpy as np
import pytest

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.epsilon_soft import epsilon_soft
from logpi.worlds.mdp.planning.bellman import greedy
from logpi.worlds.mdp.planning.evaluate import (
    action_values,
    advantages,
    evaluate,
    stationary,
    visitation,
)
from logpi.worlds.mdp.planning.finite_horizon import finite_horizon
from logpi.worlds.mdp.planning.policies import deterministic, uniform
from logpi.worlds.mdp.planning.policy_iteration import policy_iteration
from logpi.worlds.mdp.planning.solve import solve
from logpi.worlds.mdp.planning.value_iteration import value_iteration

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def decisions(m, count):
    """The optimal values of so many decisions: as many sweeps of value iteration from zeros."""
    return finite_horizon(m, horizon=count).value[0]


def solved(m):
    return policy_iteration(m, tolerance=1e-8).value


def soft_greedy(m, actions, epsilon):
    """ε-greedy around given actions: 1 − ε + ε/|A| for each, ε/|A| for the others."""
    return (1 - epsilon) * deterministic(m, np.asarray(actions)) + epsilon * uniform(m)


def best_soft(m, epsilon):
    """The value of the best policy among the ε-greedy ones."""
    return solved(epsilon_soft(m, epsilon))


def harsh(**options):
    return zoo.book_grid(r_forbidden=-10, **options)


# Figures 5.6 and 5.7 pay r_forbidden for a bounce on a forbidden cell as well
def harshest():
    return harsh(bounce_adds=True)


# -- whole value functions -------------------------------------------------------------------------

Z_3_4A = [5.8, 5.6, 6.2, 6.5, 5.8, 6.5, 7.2, 8.0, 7.2, 6.5, 7.2, 8.0, 10.0, 8.0, 7.2,
          8.0, 10.0, 10.0, 10.0, 8.0, 7.2, 9.0, 10.0, 9.0, 8.1]  # fmt: skip
Z_3_4C = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0]
Z_3_4D = [3.5, 3.9, 4.3, 4.8, 5.3, 3.1, 3.5, 4.8, 5.3, 5.9, 2.8, 2.5, 10, 5.9, 6.6,
          2.5, 10, 10, 10, 7.3, 2.3, 9, 10, 9, 8.1]  # fmt: skip
Z_2_7B = [-6.6, -7.3, -8.1, -9, -10, -8.5, -8.3, -8.1, -9, -10, -7.5, -8.3, -8.1, -9, -10,
          -7.5, -7.2, -9.1, -9, -10, -7.6, -7.3, -8.1, -9, -10]  # fmt: skip
Z_8_6B = [-3.8, -3.8, -3.6, -3.1, -3.2, -3.8, -3.8, -3.8, -3.1, -2.9, -3.6, -3.9, -3.4, -3.2, -2.9,
          -3.9, -3.6, -3.4, -2.9, -3.2, -4.5, -4.2, -3.4, -3.4, -3.5]  # fmt: skip
Z_5_7 = {
    0.1: [0.4, 0.5, 0.9, 1.3, 1.4, 0.1, 0, 0.5, 1.3, 1.7, 0.1, -0.4, 3.4, 1.4, 1.9,
          -0.1, 3.4, 3.3, 3.7, 2.2, -0.3, 2.6, 3.7, 3.1, 2.7],
    0.5: [-4.3, -5.5, -4.5, -2.6, -2.3, -5.6, -7.7, -7.7, -4.1, -2.4, -5.5, -9.0, -8.0, -5.6, -2.8,
          -6.8, -8.9, -9.4, -5.5, -4.2, -7.9, -10.1, -6.7, -5.1, -3.7],
}  # fmt: skip
Z_5_6_ACTIONS = [1, 1, 1, 1, 2, 0, 0, 1, 1, 2, 0, 3, 2, 1, 2, 0, 1, 4, 3, 2, 0, 1, 0, 3, 3]
Z_5_6 = {
    0.0: Z_3_4D,
    0.1: Z_5_7[0.1],
    0.2: [-2.2, -2.4, -2.1, -1.7, -1.8, -2.5, -3.0, -3.3, -2.3, -2.0, -2.3, -3.3, -2.5, -2.8, -2.2,
          -2.5, -2.5, -2.8, -2.0, -2.4, -2.8, -3.2, -2.1, -2.3, -2.2],
    0.5: [-8.0, -9.0, -8.4, -7.2, -7.8, -8.7, -10.8, -12.4, -9.6, -8.9, -8.3, -12.3, -15.3, -12.3,
          -10.5, -9.7, -15.5, -17.0, -14.4, -12.2, -10.9, -16.7, -15.2, -14.3, -12.4],
}  # fmt: skip
Z_5_4 = {  # with episodes so long, MC Basic does as many sweeps of value iteration
    1: Z_3_4C,
    2: [0] * 12 + [1.9, 0, 0, 0, 1.9, 1.9, 1.9, 0, 0, 0.9, 1.9, 0.9, 0],
    3: [0] * 12 + [2.7, 0, 0, 0, 2.7, 2.7, 2.7, 0, 0, 1.7, 2.7, 1.7, 0.8],
    14: [1.2, 1.6, 2.0, 2.5, 3.0, 0.9, 1.2, 2.5, 3.0, 3.6, 0.5, 0.3, 7.7, 3.6, 4.3,
         0.3, 7.7, 7.7, 7.7, 5.0, 0, 6.7, 7.7, 6.7, 5.8],
    30: [3.1, 3.5, 3.9, 4.4, 4.9, 2.7, 3.1, 4.4, 4.9, 5.5, 2.4, 2.1, 9.6, 5.5, 6.1,
         2.1, 9.6, 9.6, 9.6, 6.9, 1.9, 8.6, 9.6, 8.6, 7.7],
    100: Z_3_4D,
}  # fmt: skip
Z_4_4_STAY = [0, 0, 0, 0, 0, 0, -100, -100, 0, 0, 0, 0, -100, 0, 0, 0, -100, 10, -100, 0,
              0, -100, 0, 0, 0]  # fmt: skip
Z_4_4_NEXT = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 10, 10, 10, 0, 0, 9, 10, 0, 0]
SB_3_2 = [3.3, 8.8, 4.4, 5.3, 1.5, 1.5, 3.0, 2.3, 1.9, 0.5, 0.1, 0.7, 0.7, 0.4, -0.4,
          -1.0, -0.4, -0.4, -0.6, -1.2, -1.9, -1.3, -1.2, -1.4, -2.0]  # fmt: skip
SB_3_5 = [22.0, 24.4, 22.0, 19.4, 17.5, 19.8, 22.0, 19.8, 17.8, 16.0, 17.8, 19.8, 17.8, 16.0, 14.4,
          16.0, 17.8, 16.0, 14.4, 13.0, 14.4, 16.0, 14.4, 13.0, 11.7]  # fmt: skip
SB_4_1 = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]
RN_17_3 = [0.812, 0.868, 0.918, 0, 0.762, 0, 0.660, 0, 0.705, 0.655, 0.611, 0.388]
RN4_17_3 = [0.8516, 0.9078, 0.9578, 0, 0.8016, 0, 0.7003, 0, 0.7453, 0.6953, 0.6514, 0.4279]
SILVER = [-12.54321, 1.45679, 4.32099, 10, 0.80247, -22.54321, 0]

OPTIMAL = {
    "Z Fig 3.4a": (zoo.book_grid, Z_3_4A, 0.05),
    "Z Fig 3.4c": (lambda: zoo.book_grid(discount=0), Z_3_4C, 1e-12),
    "Z Fig 3.4d": (harsh, Z_3_4D, 0.05),
    "Z Tables 4.1-4.3": (lambda: zoo.book_grid(2, 2), [9, 10, 10, 10], 1e-9),
    "Z Table 4.5": (zoo.two_state, [10, 10], 1e-9),
    "SB Fig 3.5": (zoo.gridworld, SB_3_5, 0.05),
    "Russell & Norvig, third edition, Fig 17.3": (zoo.russell_norvig, RN_17_3, 5e-4),
    "Russell & Norvig, fourth edition, Fig 17.3": (
        lambda: zoo.russell_norvig(pays_last_step=False),
        RN4_17_3,
        5e-5,
    ),
    "Silver, lecture 2, p. 40": (zoo.student, [6, 6, 8, 10, 0], 1e-9),
    "Puterman 1994, sec 6.2": (zoo.puterman_two_state, [-8.5714286, -20], 1e-6),
    "Howard 1960, toymaker, discount .9": (zoo.toymaker, [22.2, 12.3], 0.05),
    "pymdptoolbox, PolicyIteration(P, R, 0.9)": (zoo.forest, [26.244, 29.484, 33.484], 1e-9),
}
FOLLOWED = {
    "Z Fig 2.7b, always right": (zoo.book_grid, lambda m: [RIGHT] * 25, Z_2_7B, 0.05),
    "Z Fig 8.6b, uniform": (zoo.book_grid, uniform, Z_8_6B, 0.05),
    "Z Fig 2.4": (
        lambda: zoo.book_grid(2, 2),
        lambda m: [DOWN, DOWN, RIGHT, STAY],
        [9, 10, 10, 10],
        1e-9,
    ),
    "Z Fig 2.5": (
        lambda: zoo.book_grid(2, 2),
        lambda m: np.array([[0, 0.5, 0.5, 0, 0], *np.eye(5)[[DOWN, RIGHT, STAY]]]),
        [8.5, 10, 10, 10],
        1e-9,
    ),
    "Z eq 2.1, right first": (
        lambda: zoo.book_grid(2, 2),
        lambda m: [RIGHT, DOWN, RIGHT, STAY],
        [8, 10, 10, 10],
        1e-9,
    ),
    "Z Fig 4.4, all stay": (harsh, lambda m: [STAY] * 25, Z_4_4_STAY, 1e-9),
    "Z Table 4.4": (zoo.two_state, lambda m: [0, 0], [-10, -9], 1e-9),
    "apple, right right": (zoo.apple, lambda m: [1, 1], [-8, -10], 0.011),
    "apple, left right": (zoo.apple, lambda m: [0, 1], [-10, -10], 0.011),
    "apple, left left": (zoo.apple, lambda m: [0, 0], [-10, -9], 0.011),
    "SB Fig 3.2": (zoo.gridworld, uniform, SB_3_2, 0.05),
    "SB Fig 4.1": (zoo.terminal_grid, uniform, SB_4_1, 1e-9),
    "SB Ex 6.2": (zoo.random_walk, uniform, [0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 0], 1e-12),
    "SB Ex 7.1": (
        lambda: zoo.random_walk(19, left_reward=-1),
        uniform,
        [0, *np.arange(-9, 10) / 10, 0],
        1e-12,
    ),
    "SB Ex 5.5, always left": (zoo.infinite_variance, lambda m: [0, -1], [1, 0], 1e-12),
    "SB sec 11.2": (zoo.baird, lambda m: m.policy, [0] * 7, 0),
    "Silver, lecture 2, p. 20": (zoo.student_process, uniform, SILVER, 1e-5),
    "Silver, lecture 2, p. 19, discount .9": (
        lambda: zoo.student_process(discount=0.9),
        uniform,
        [-5.0, 0.9, 4.1, 10, 1.9, -7.6, 0],
        0.05,
    ),
    "Silver, lecture 2, p. 31": (zoo.student, uniform, [-2.3, -1.3, 2.7, 7.4, 0], 0.05),
}


@pytest.mark.parametrize("method", [policy_iteration, value_iteration])
@pytest.mark.parametrize("source", OPTIMAL)
def test_optimal_values(source, method):
    build, expected, tolerance = OPTIMAL[source]
    found = method(build(), tolerance=1e-8)
    assert found.bound <= 1e-8
    assert np.allclose(found.value, expected, rtol=0, atol=tolerance + found.bound + 1e-9)


@pytest.mark.parametrize("source", FOLLOWED)
def test_values_of_a_policy(source):
    build, policy, expected, tolerance = FOLLOWED[source]
    m = build()
    value = evaluate(m, np.asarray(policy(m)))
    assert np.allclose(value, expected, rtol=0, atol=tolerance + 1e-12)


@pytest.mark.parametrize("epsilon", Z_5_6)
def test_zhao_fig_5_6_policies_consistent_with_the_greedy_one(epsilon):
    m = harshest()
    value = evaluate(m, soft_greedy(m, Z_5_6_ACTIONS, epsilon))
    assert np.allclose(value, Z_5_6[epsilon], rtol=0, atol=0.0501)


@pytest.mark.parametrize("epsilon", Z_5_7)
def test_zhao_fig_5_7_best_policies_among_the_soft_ones(epsilon):
    # the book's policy differs by ties from the best one: 0.07, not 0.05
    assert np.allclose(best_soft(harshest(), epsilon), Z_5_7[epsilon], rtol=0, atol=0.07)


def test_zhao_fig_5_7_exactly():
    first = [0.4244, 0.5302, 0.8728, 1.2588, 1.4433]
    assert np.allclose(best_soft(harshest(), 0.1)[:5], first, atol=5e-5)
    first = [-4.2816, -5.4962, -4.5005, -2.5943, -2.3212]
    assert np.allclose(best_soft(harshest(), 0.5)[:5], first, atol=5e-5)


@pytest.mark.parametrize("length", Z_5_4)
def test_zhao_fig_5_4_episodes_of_a_length(length):
    assert np.allclose(decisions(harsh(), length), Z_5_4[length], rtol=0, atol=0.051)


# -- the same models, told otherwise ---------------------------------------------------------------


def test_zhao_theorem_3_6_an_affine_reward_moves_the_values_and_no_decision():
    m = zoo.book_grid()
    changed = m.having(reward=2 * m.reward + 3)
    assert np.allclose(solved(changed), 2 * solved(m) + 3 / (1 - 0.9), atol=1e-8)
    assert (greedy(changed, solved(changed).round(9)) == greedy(m, solved(m).round(9))).all()


def test_zhao_tables_4_1_to_4_3_value_iteration():
    m = zoo.book_grid(2, 2)
    first, second = value_iteration(m, history=True).history[:2]
    assert first.value.tolist() == [0, 0, 0, 0]
    assert first.q.tolist() == [
        [-1, -1, 0, -1, 0],
        [-1, -1, 1, 0, -1],
        [0, 1, -1, -1, 0],
        [-1, -1, -1, 0, 1],
    ]
    assert first.policy.tolist()[1:] == [DOWN, RIGHT, STAY]
    # in s1 the book takes stay, which is as good as down
    assert first.q[0, STAY] == first.q[0, first.policy[0]] == first.q[0].max()
    assert second.value.tolist() == [0, 1, 1, 1]
    printed = [
        [-1.0, -0.1, 0.9, -1.0, 0.0],
        [-0.1, -0.1, 1.9, 0.0, -0.1],
        [0.0, 1.9, -0.1, -0.1, 0.9],
        [-0.1, -0.1, -0.1, 0.9, 1.9],
    ]
    assert np.allclose(second.q, printed, atol=1e-9)
    assert second.policy.tolist() == [DOWN, DOWN, RIGHT, STAY]
    assert np.allclose(second.q.max(1), [0.9, 1.9, 1.9, 1.9], atol=1e-9)


def test_zhao_sec_2_8_action_values():
    m = zoo.book_grid(2, 2)
    policy = np.array([[0, 0.5, 0.5, 0, 0], *np.eye(5)[[DOWN, RIGHT, STAY]]])
    assert np.allclose(action_values(m, policy)[0], [6.65, 8.0, 9.0, 6.65, 7.65], atol=1e-9)


def test_zhao_tables_4_4_and_4_5_policy_iteration():
    m = zoo.two_state()
    first, second = policy_iteration(m, start_policy=[0, 0], history=True).history
    assert np.allclose(first.value, [-10, -9], atol=1e-9)
    assert np.allclose(first.q, [[-10, -9, -7.1], [-9, -7.1, -9.1]], atol=1e-9)
    assert [m.layout.actions[a] for a in second.policy] == ["right", "stay"]
    assert np.allclose(second.value, [10, 10], atol=1e-9)
    iterates = [evaluate(m, [0, 0], horizon=k) for k in (1, 2, 3)]
    assert np.allclose(iterates, [[-1, 0], [-1.9, -0.9], [-2.71, -1.71]], atol=1e-9)


def test_zhao_fig_4_4_policy_iteration():
    m = harsh()
    first, second, *_ = policy_iteration(m, start_policy=[STAY] * 25, history=True).history
    assert np.allclose(first.value, Z_4_4_STAY, atol=1e-9)
    assert np.allclose(second.value, Z_4_4_NEXT, atol=0.05)
    policy = np.full(25, STAY)
    for _ in range(10):  # how many it takes hangs on ties; the book's tenth is optimal
        policy = greedy(m, action_values(m, policy).round(9))
    assert np.allclose(evaluate(m, policy), Z_3_4D, atol=0.0501)


def test_zhao_sec_5_2_action_values_on_the_3_by_3_grid():
    # s1 up, s2 down, s4 right, s5 down, s8 right, s9 stay; what the others do is not met
    policy = [UP, DOWN, UP, RIGHT, DOWN, UP, UP, RIGHT, STAY]
    q = action_values(zoo.book_grid(3, 3), np.array(policy))
    assert np.allclose(q[0], [-10, 7.29, 7.29, -10, -9], atol=1e-9)


def test_zhao_fig_8_5_stationary_distribution():
    m = zoo.book_grid(2, 2)
    policy = soft_greedy(m, [DOWN, DOWN, RIGHT, STAY], 0.5)
    expected = [0.0345, 0.1084, 0.1330, 0.7241]
    assert np.allclose(stationary(m, policy), expected, atol=5e-5)
    chain = zoo.reward_process()
    assert np.allclose(stationary(chain, uniform(chain)), expected, atol=5e-5)
    printed = [[0.3, 0.1, 0.1, 0], [0.1, 0.3, 0, 0.1], [0.6, 0, 0.3, 0.1], [0, 0.6, 0.6, 0.8]]
    moves = np.einsum("sa,sat->st", policy, m.transitions.toarray().reshape(4, 5, 4))
    assert np.allclose(moves.T, printed, atol=1e-12)
    eigenvalues = np.sort(np.linalg.eigvals(chain.transitions.toarray()).real)
    assert np.allclose(eigenvalues, [-0.0449, 0.3, 0.4449, 1], atol=5e-5)


def test_zhao_fig_10_2_importance_sampling():
    m = zoo.importance_sampling()
    target, behaviour, x = np.array([0.5, 0.5]), m.policy[0], m.reward[0]
    assert np.isclose(evaluate(m, m.policy)[0], 0.6, atol=1e-12)
    assert np.isclose(evaluate(m, uniform(m))[0], 0.0, atol=1e-12)
    weight = target / behaviour
    assert np.allclose(weight, [0.625, 2.5], atol=1e-12)
    assert np.isclose(behaviour @ x**2 - (behaviour @ x) ** 2, 0.64)
    variance = behaviour @ (weight * x) ** 2 - (behaviour @ (weight * x)) ** 2
    assert np.isclose(variance, 1.5625)
    assert np.isclose(np.sqrt(variance / 300), 0.07216878364870322)
    # a behaviour that never draws −1 cannot be corrected
    blind = zoo.importance_sampling(behaviour=(1.0, 0.0))
    assert (blind.policy[0] * blind.reward[0] * [0.5, 0]).sum() == 0.5


def test_a_die_and_a_coin():
    m = zoo.dice_coin()
    assert np.isclose(m.start @ evaluate(m, uniform(m)), 2.35, atol=1e-12)


# -- Sutton & Barto --------------------------------------------------------------------------------

SB_4_1_SWEEPS = {
    1: [0, -1, -1, -1, -1, -1, -1, -1],
    2: [0, -1.75, -2, -2, -1.75, -2, -2, -2],
    3: [0, -2.4, -2.9, -3.0, -2.4, -2.9, -3.0, -2.9],
    10: [0, -6.1, -8.4, -9.0, -6.1, -7.7, -8.4, -8.4],
}


@pytest.mark.parametrize("count", SB_4_1_SWEEPS)
def test_sutton_fig_4_1_sweeps_of_policy_evaluation(count):
    m = zoo.terminal_grid()
    v = evaluate(m, uniform(m), horizon=count)
    assert np.allclose(v[:8], SB_4_1_SWEEPS[count], atol=0.051)
    assert np.allclose(v, v[::-1])


@pytest.mark.parametrize("p", [0.25, 0.4])
def test_sutton_ex_4_3_gambler(p):
    v = solved(zoo.gambler(p_heads=p))
    assert np.allclose(v[[25, 50, 75]], [p * p, p, p + (1 - p) * p], atol=1e-9)


def test_sutton_ex_4_3_with_a_good_coin_small_stakes_are_best():
    m = zoo.gambler(20, p_heads=0.55)
    ruin = (0.45 / 0.55) ** np.arange(21)
    win = (1 - ruin) / (1 - ruin[-1])  # gambler's ruin, staking 1 each time
    assert np.allclose(solved(m)[1:-1], win[1:-1], atol=1e-9)


def test_sutton_ex_6_6_cliff():
    m = zoo.cliff()
    assert np.isclose(solved(m)[36], -13)
    safe = np.full(48, UP)
    safe[:11], safe[[11, 23, 35]] = RIGHT, DOWN
    assert np.isclose(evaluate(m, safe)[36], -17)


def test_cliff_online_values_of_soft_policies():
    m = zoo.cliff()
    assert np.isclose(best_soft(m, 0.1)[36], -20.7077, atol=1e-3)
    around = soft_greedy(m, greedy(m, solved(m)), 0.1)
    assert np.isclose(evaluate(m, around)[36], -45.8033, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "steps"), [({}, 15), ({"king": True}, 7), ({"king": True, "stay": True}, 7)]
)
def test_sutton_ex_6_5_windy(options, steps):
    assert solved(zoo.windy(**options))[30] == -steps


def test_sutton_ex_13_1_short_corridor():
    m = zoo.short_corridor()

    def objective(p):
        return evaluate(m, np.tile([1 - p, p], (4, 1)))[0]

    for p in (0.05, 0.3, 0.5, 0.95):
        assert np.isclose(objective(p), (2 * p - 4) / (p * (1 - p)), atol=1e-6)
    assert np.isclose(objective(0.05), -82.1053, atol=1e-4)
    assert np.isclose(objective(0.95), -44.2105, atol=1e-4)
    assert np.isclose(objective(2 - np.sqrt(2)), -11.656854, atol=1e-6)
    assert max(objective(p) for p in (0.575, 0.585, 0.587, 0.595)) < -11.6568


def test_sutton_ex_5_5_the_second_moment_grows_without_end():
    m = zoo.infinite_variance()
    ratio = (1 / m.policy[0, 0]) ** 2 * m.policy[0, 0]  # π²/b of left
    (_, (stay, end)), moment = m.row(0, 0), 0.0
    for k in range(60):
        moment = ratio * (stay * moment + end * 1.0**2)
        assert np.isclose(moment, 0.1 * sum(0.9**j * 2 ** (j + 1) for j in range(k + 1)))
    assert ratio * stay > 1


def test_sutton_ex_4_2_jacks_cars():
    m = zoo.jacks_cars()
    found = policy_iteration(m, start_policy=[5] * 441, history=True)  # moving none
    v, moves, steps = found.value, (found.policy - 5).reshape(21, 21), len(found.history)
    assert np.allclose([v[0], v[-1]], [421.41, 636.99], atol=0.005)
    assert (moves.max(), moves.min(), moves[20, 0], moves[0, 20], steps) == (5, -4, 5, -4, 5)


def test_sutton_ex_5_4_a_blackjack_state():
    m = zoo.blackjack()
    sticks = np.array([1] * 160 + [0] * 43)  # on 20 and 21 only
    value = evaluate(m, sticks)[zoo.blackjack_state(13, dealer=2, usable_ace=True)]
    # the book's −0.27726 is the mean of a hundred million episodes
    assert np.isclose(value, -0.27726, atol=2e-4)


def test_sutton_fig_5_2_when_to_stick_at_blackjack():
    m = zoo.blackjack()
    stick = (greedy(m, solved(m))[:200] == 0).reshape(10, 10, 2)
    lowest = [12 + int(np.argmax(column)) for column in stick[:, :, 0].T]
    assert lowest == [17, 13, 13, 12, 12, 12, 17, 17, 17, 17]  # ace, 2, ..., 10; no usable ace
    lowest = [12 + int(np.argmax(column)) for column in stick[:, :, 1].T]
    assert lowest[1:] == [18] * 7 + [19, 19]


def test_sutton_ex_10_2_access_control():
    """The first edition's R-learning found an average reward of 2.73, exploring a little."""
    m = zoo.access_control()
    best = solve(m, "average_reward")
    assert 2.73 < best.facts["gain"] < 2.76
    soft = solve(epsilon_soft(m, 0.1), "average_reward")
    assert soft.facts["gain"] < 2.66
    accepts = best.policy.reshape(
        11, 4
    )  # Fig 10.5: the best customers always, the others when free
    assert accepts[1:, 3].all()
    assert (np.diff(accepts, axis=0) >= 0).all()
    assert (np.diff(accepts, axis=1) >= 0).all()


def test_frozen_lake_undiscounted_is_reached_14_times_in_17():
    assert np.isclose(solved(zoo.frozen_lake(discount=1.0))[0], 14 / 17)
    assert np.isclose(solved(zoo.frozen_lake("8x8", discount=1.0))[0], 1.0)


def test_sutton_ex_6_7_going_left_is_worth_less():
    m = zoo.maximisation_bias()
    assert np.allclose(solved(m)[:2], [0, -0.1])
    assert np.isclose(action_values(m, uniform(m))[0, 0], -0.1)


def test_sutton_ex_8_1_the_maze_takes_fourteen_steps():
    assert np.isclose(solved(zoo.maze())[18], 0.95**13)


# -- operations research ---------------------------------------------------------------------------


def test_puterman_sec_4_6_inventory_over_three_periods():
    m = zoo.inventory(discount=1.0)
    values = [decisions(m, k) for k in (1, 2, 3)]
    assert np.allclose(values[0], [0, 5, 6, 5])
    assert np.allclose(values[1], [2, 25 / 4, 10, 21 / 2])
    assert np.allclose(values[2], np.array([67, 129, 194, 227]) / 16)
    assert m.reward[1, :3].tolist() == [5, 0, -3]


def test_pymdptoolbox_forest_over_three_years():
    m = zoo.forest(discount=0.9)
    assert np.allclose(decisions(m, 3), [2.6973, 5.9373, 9.9373])
    assert np.allclose(decisions(m, 2), [0.81, 3.24, 7.24])


def test_pymdptoolbox_forest_by_four_sweeps_and_by_its_average():
    m = zoo.forest(discount=0.96)  # the values at which its ValueIteration(P, R, 0.96) stops
    assert np.allclose(decisions(m, 4), [5.93215488, 9.38815488, 13.38815488], atol=1e-8)
    found = solve(m, "average_reward")  # its RelativeValueIteration(P, R)
    assert np.isclose(found.facts["gain"], 3.24)
    assert found.policy.tolist() == [0, 0, 0]


def gain(m, policy):
    return float(stationary(m, policy) @ (policy * m.reward).sum(1))


def test_howard_gains():
    m = zoo.toymaker()
    assert np.isclose(gain(m, deterministic(m, [0, 0])), 1)
    assert np.isclose(gain(m, deterministic(m, [1, 1])), 2)
    m = zoo.taxicab()
    assert np.isclose(gain(m, deterministic(m, [0, 0, 0])), 9.2)
    assert np.isclose(gain(m, deterministic(m, [0, 1, 1])), 13.15, atol=0.005)
    assert np.isclose(gain(m, deterministic(m, [1, 1, 1])), 13.34, atol=0.005)


# -- language models -------------------------------------------------------------------------------


def test_the_capital_of_france_is_one_choice_and_six_tokens_without_advantage():
    m = zoo.make("tokens/capital")
    city = 5
    assert np.isclose(m.start @ evaluate(m, m.policy), 8, atol=1e-12)
    a = advantages(m, m.policy)
    assert np.allclose(a[city, 5:8], [2, -18, -18], atol=1e-12)
    others = m.allowed.copy()
    others[city] = False
    assert np.allclose(a[others], 0, atol=1e-12)
    # the gradient of the expected reward in the city's logits
    slope = m.policy[city, 5:8] * a[city, 5:8]
    assert np.allclose(slope, [1.8, -1.44, -0.36], atol=1e-12)
    p, r = m.policy[city, 5:8], np.array([10.0, -10.0, -10.0])
    assert np.isclose(p @ r, 8)  # the weight that REINFORCE gives a prefix token, and its variance
    assert np.isclose(p @ r**2 - (p @ r) ** 2, 36)
    assert np.allclose(visitation(m, m.policy), [1] * 6 + [0.9, 0.08, 0.02, 1])
