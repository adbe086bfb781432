"""Other books, lectures, packages and papers: numbers that they print, through `logpi.mdp`."""

from __future__ import annotations

import numpy as np
import pytest
from tests.worlds.mdp.published import check_followed, check_optimal, decisions, gain, solved

from logpi import mdp
from logpi.core.errors import ModelError

make = mdp.zoo.make

RN_17_3 = [0.812, 0.868, 0.918, 0, 0.762, 0, 0.660, 0, 0.705, 0.655, 0.611, 0.388]
RN4_17_3 = [0.8516, 0.9078, 0.9578, 0, 0.8016, 0, 0.7003, 0, 0.7453, 0.6953, 0.6514, 0.4279]
SILVER = [-12.54321, 1.45679, 4.32099, 10, 0.80247, -22.54321, 0]

OPTIMAL = {
    "Russell & Norvig, third edition, Fig 17.3": (lambda: make("russell_norvig"), RN_17_3, 5e-4),
    "Russell & Norvig, fourth edition, Fig 17.3": (
        lambda: make("russell_norvig", pays_last_step=False),
        RN4_17_3,
        5e-5,
    ),
    "Silver, lecture 2, p. 40": (lambda: make("student"), [6, 6, 8, 10, 0], 1e-9),
    "Puterman 1994, sec 6.2": (lambda: make("puterman_two_state"), [-8.5714286, -20], 1e-6),
    "Howard 1960, toymaker, discount .9": (lambda: make("toymaker"), [22.2, 12.3], 0.05),
    "pymdptoolbox, PolicyIteration(P, R, 0.9)": (
        lambda: make("forest"),
        [26.244, 29.484, 33.484],
        1e-9,
    ),
}
FOLLOWED = {
    "Silver, lecture 2, p. 20": (lambda: make("student_process"), SILVER, 1e-5),
    "Silver, lecture 2, p. 19, discount .9": (
        lambda: make("student_process", discount=0.9),
        [-5.0, 0.9, 4.1, 10, 1.9, -7.6, 0],
        0.05,
    ),
    "Silver, lecture 2, p. 31": (lambda: make("student"), [-2.3, -1.3, 2.7, 7.4, 0], 0.05),
}


@pytest.mark.parametrize("source", OPTIMAL)
def test_optimal_values(source):
    build, expected, tolerance = OPTIMAL[source]
    check_optimal(build(), expected, tolerance)


@pytest.mark.parametrize("source", FOLLOWED)
def test_values_of_the_uniform_policy(source):
    build, expected, tolerance = FOLLOWED[source]
    check_followed(build(), "uniform", expected, tolerance)


def test_frozen_lake_undiscounted_is_reached_14_times_in_17():
    assert np.isclose(solved(mdp.zoo.frozen_lake(discount=1.0))[0], 14 / 17)
    assert np.isclose(solved(mdp.zoo.frozen_lake("8x8", discount=1.0))[0], 1.0)


def test_puterman_sec_4_6_inventory_over_three_periods():
    m = mdp.zoo.inventory(discount=1.0)
    values = [decisions(m, k) for k in (1, 2, 3)]
    assert np.allclose(values[0], [0, 5, 6, 5])
    assert np.allclose(values[1], [2, 25 / 4, 10, 21 / 2])
    assert np.allclose(values[2], np.array([67, 129, 194, 227]) / 16)
    assert m.reward[1, :3].tolist() == [5, 0, -3]


def test_pymdptoolbox_forest_over_three_years():
    m = mdp.zoo.forest(discount=0.9)
    assert np.allclose(decisions(m, 3), [2.6973, 5.9373, 9.9373])
    assert np.allclose(decisions(m, 2), [0.81, 3.24, 7.24])


def test_pymdptoolbox_forest_by_four_sweeps_and_by_its_average():
    m = mdp.zoo.forest(discount=0.96)  # the values at which its ValueIteration(P, R, 0.96) stops
    assert np.allclose(decisions(m, 4), [5.93215488, 9.38815488, 13.38815488], atol=1e-8)
    found = mdp.solve(m, "average_reward")  # its RelativeValueIteration(P, R)
    assert np.isclose(found.facts["gain"], 3.24)
    assert found.policy.tolist() == [0, 0, 0]


def test_howard_gains():
    m = mdp.zoo.toymaker()
    assert np.isclose(gain(m, [0, 0]), 1)
    assert np.isclose(gain(m, [1, 1]), 2)
    m = mdp.zoo.taxicab()
    assert np.isclose(gain(m, [0, 0, 0]), 9.2)
    assert np.isclose(gain(m, [0, 1, 1]), 13.15, atol=0.005)
    assert np.isclose(gain(m, [1, 1, 1]), 13.34, atol=0.005)


def test_the_capital_of_france_is_one_choice_and_six_tokens_without_advantage():
    m = mdp.zoo.make("tokens/capital")
    city = 5
    assert np.isclose(m.start @ mdp.evaluate(m, m.policy), 8, atol=1e-12)
    a = mdp.advantages(m, m.policy)
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
    assert np.allclose(mdp.visitation(m, m.policy), [1] * 6 + [0.9, 0.08, 0.02, 1])


# -- Russell & Norvig, Mitchell, Berkeley ----------------------------------------------------------

# The rewards at which the best policy changes: fourth edition, Fig 17.2 (and, at −0.0850 and
# −0.0221, the third's)
TURNS = [-1.6497, -0.7311, -0.4526, -0.0850, -0.0448, -0.0274, -0.0221]


@pytest.mark.parametrize("reward", TURNS)
def test_russell_norvig_policies_change_at_the_printed_rewards(reward):
    below, above = (
        mdp.solve(make("russell_norvig", r_step=r), "policy_iteration").policy.tolist()
        for r in (reward - 2e-4, reward + 2e-4)
    )
    assert below != above
    same = mdp.solve(make("russell_norvig", r_step=reward - 4e-4), "policy_iteration").policy
    assert same.tolist() == below


def test_russell_norvig_at_a_cost_of_0_04():
    m = make("russell_norvig")
    arrows = "".join(".URDL"[a + 1] for a in mdp.solve(m, "policy_iteration").policy)
    assert arrows == "RRR." + "U.U." + "ULLL"


def test_russell_norvig_where_living_pays_it_never_ends():
    with pytest.raises(ModelError, match="for ever"):
        mdp.solve(make("russell_norvig", r_step=0.1))


def test_mitchell_fig_13_2():
    m = make("maze", rows=2, cols=3, walls=(), start=(1, 0), goal=(0, 2), r_goal=100, discount=0.9)
    found = mdp.solve(m)
    assert np.allclose(found.value, [90, 100, 0, 81, 90, 100])
    assert np.allclose(found.q[0, 1:3], [90, 72.9])
    assert np.allclose(found.q[4], [90, 90, 81, 72.9])


def test_berkeley_grid_world_after_1_2_3_5_and_100_sweeps():
    m = make("berkeley_grid")
    printed = {
        1: [0, 0, 0, 1, 0, 0, 0, -1, 0, 0, 0, 0],
        2: [0, 0, 0.72, 1, 0, 0, 0, -1, 0, 0, 0, 0],
        3: [0, 0.52, 0.78, 1, 0, 0, 0.43, -1, 0, 0, 0, 0],
        5: [0.51, 0.72, 0.84, 1, 0.27, 0, 0.55, -1, 0, 0.22, 0.37, 0.13],
        100: [0.64, 0.74, 0.85, 1, 0.57, 0, 0.57, -1, 0.49, 0.43, 0.48, 0.28],
    }
    for sweeps, values in printed.items():
        assert np.allclose(decisions(m, sweeps)[:12], values, rtol=0, atol=0.00501)
    q = mdp.solve(m).q
    assert np.allclose(q[8, :4], [0.49, 0.41, 0.44, 0.45], rtol=0, atol=0.00501)


def test_berkeley_racing_car():
    cool, warm, over = range(3)
    moves = np.zeros((3, 2, 3))
    moves[cool, 0, cool] = moves[warm, 1, over] = 1
    moves[cool, 1, [cool, warm]] = moves[warm, 0, [cool, warm]] = 0.5
    m = mdp.from_dense(moves, [[1, 2], [1, -10], [0, 0]], 1.0, terminal=[over])
    assert decisions(m, 1).tolist() == [2, 1, 0]
    assert decisions(m, 2).tolist() == [3.5, 2.5, 0]


# -- Bertsekas, Puterman, QuantEcon, pymdptoolbox --------------------------------------------------


def test_bertsekas_volume_1_ex_1_3_2_inventory_over_three_periods():
    moves, cost, allowed = np.zeros((3, 3, 3)), np.zeros((3, 3)), np.zeros((3, 3), bool)
    for stock in range(3):
        for order in range(3 - stock):
            allowed[stock, order] = True
            for demand, p in enumerate((0.1, 0.7, 0.2)):
                moves[stock, order, max(0, stock + order - demand)] += p
                cost[stock, order] += p * (order + (stock + order - demand) ** 2)
    m = mdp.from_dense(moves, -cost, 1.0, allowed=allowed, order="sas")
    found = mdp.solve(m, horizon=3, history=True)
    values = [-step.value for step in found.history]
    assert np.allclose(values, [[3.7, 2.7, 2.818], [2.5, 1.5, 1.68], [1.3, 0.3, 1.1]])
    assert [step.policy.tolist() for step in found.history] == [[1, 0, 0]] * 3


def test_bertsekas_volume_2_two_states():
    """J = (7.33, 7.67); sweeps from 0 give (.5, 1), (1.288, 1.562), (1.844, 2.220)."""
    moves = [[[0.75, 0.25], [0.25, 0.75]]] * 2
    m = mdp.from_dense(moves, [[-2, -0.5], [-1, -3]], 0.9, order="sas")
    found = mdp.solve(m, "value_iteration", history=True)
    assert np.allclose(-found.value, [7.33, 7.67], atol=0.005)
    sweeps = [-x.value for x in found.history[1:4]]
    assert np.allclose(sweeps, [[0.5, 1], [1.288, 1.562], [1.844, 2.220]], atol=1e-3)
    first, second = mdp.solve(m, "policy_iteration", start_policy=[0, 1], history=True).history
    assert np.allclose(-first.value, [24.09, 25.91], atol=0.05)
    assert second.policy.tolist() == [1, 0]


def test_puterman_sec_6_3_sweeps_of_value_iteration():
    """Table 6.3.1, from 0: v¹ = (10, −1), v² = (9.275, −1.95), v³ = (8.479, −2.853), ..."""
    found = mdp.solve(make("puterman_two_state"), "value_iteration", history=True)
    printed = [[10, -1], [9.275, -1.95], [8.479, -2.853], [7.673, -3.710], [6.882, -4.524]]
    assert np.allclose([x.value for x in found.history[1:6]], printed, atol=1e-3)


def test_puterman_sec_3_1_which_action_is_best_changes_with_the_discount():
    """Staying and leaving are as good at γ = 10/11."""
    for discount, leaves in ((0.9, True), (0.95, False)):
        m = make("puterman_two_state", discount=discount)
        stay, leave = mdp.solve(m).q[0]
        assert (leave > stay) == leaves
    stay, leave = mdp.solve(make("puterman_two_state", discount=10 / 11)).q[0]
    assert np.isclose(stay, leave)


def test_quantecon_discrete_growth():
    """The lecture on discrete dynamic programming: B = 10, M = 5, α = 0.5, β = 0.9."""
    moves, reward = np.zeros((16, 6, 16)), np.zeros((16, 6))
    stock, kept = np.mgrid[:16, :6]
    for a in range(6):
        moves[:, a, a : a + 11] = 1 / 11
    reward[kept <= stock] = np.sqrt((stock - kept)[kept <= stock])
    m = mdp.from_dense(moves, reward, 0.9, allowed=kept <= stock)
    found = mdp.solve(m, "policy_iteration", tolerance=1e-9)
    assert np.allclose(
        found.value[[0, 1, 2, 3, 14, 15]],
        [19.01740222, 20.01740222, 20.43161578, 20.74945302, 23.11533996, 23.27761762],
        atol=1e-7,
    )
    assert found.policy.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 5, 5]
    distribution = mdp.stationary(m, found.policy)
    assert np.allclose(distribution[[0, 1, 15]], [0.01732187, 0.04121063, 0.00995086], atol=1e-7)


SMALL = ([[[0.5, 0.5], [0.8, 0.2]], [[0, 1], [0.1, 0.9]]], [[5, 10], [-1, 2]])


def test_pymdptoolbox_the_small_example():
    m = mdp.from_mdptoolbox(*SMALL, 0.9)
    found = mdp.solve(m, tolerance=1e-9)
    assert np.allclose(found.value, [42.4418604651, 36.0465116279], atol=1e-8)
    assert found.policy.tolist() == [1, 0]
    # the values after 26 sweeps, at which its ValueIteration(P, R, 0.9) stops
    assert np.allclose(decisions(m, 26), [40.048625392716815, 33.65371175967546])
    # RelativeValueIteration stops at 3.885, near the exact 35/9
    assert np.isclose(mdp.solve(m, "average_reward").facts["gain"], 35 / 9)


def test_pymdptoolbox_finite_horizon_tables():
    found = mdp.solve(make("forest"), horizon=3, history=True)
    values = np.stack([step.value for step in found.history], 1)
    printed = [[2.6973, 0.81, 0], [5.9373, 3.24, 1], [9.9373, 7.24, 4]]
    assert np.allclose(values, printed)
    policies = np.stack([step.policy for step in found.history], 1)
    assert policies.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


# -- Silver, Knuth & Yao, Gymnasium ----------------------------------------------------------------


def test_silver_lecture_2_p_41_action_values():
    q = mdp.solve(make("student")).q
    assert np.allclose(q[0, 1:3], [5, 6])  # facebook: go on, quit
    assert np.allclose(q[1, :2], [6, 5])  # class 1: study, facebook
    assert np.allclose(q[2, [0, 3]], [8, 0])  # class 2: study, sleep
    assert np.allclose(q[3, [0, 4]], [10, 9.4])  # class 3: study, pub


def test_knuth_and_yao_throw_a_die_with_coins():
    """PRISM's and Storm's first example: each face 1/6, and 11/3 throws of the coin."""
    table = {0: (1, 2), 1: (3, 4), 2: (5, 6), 3: (1, 7), 4: (8, 9), 5: (10, 11), 6: (2, 12)}
    moves = np.zeros((13, 13))
    for state, both in table.items():
        moves[state, both] = 0.5
    m = make("reward_process", transitions=moves, rewards=[1] * 7 + [0] * 6, discount=1.0)
    m = m.having(start=np.eye(13)[0])
    assert np.isclose(mdp.evaluate(m, "uniform")[0], 11 / 3)
    assert np.allclose(mdp.visitation(m, "uniform")[7:], 1 / 6)


def test_frozen_lake_from_gymnasium():
    m = mdp.from_gymnasium("FrozenLake-v1", discount=0.99)
    printed = [0.542, 0.4988, 0.4707, 0.4569, 0.5585, 0, 0.3583, 0, 0.5918, 0.6431, 0.6152, 0,
               0, 0.7417, 0.8628, 0]  # fmt: skip
    assert np.allclose(solved(m), printed, atol=5e-5)
    # the uniform policy undiscounted, as Udacity's notebook has it
    v = mdp.evaluate(m.having(discount=1.0), "uniform")
    assert np.allclose(v[[0, 8, 9, 14]], [0.0139, 0.0348, 0.0882, 0.4393], atol=5e-5)
    assert np.isclose(solved(make("frozen_lake", lake="8x8"))[0], 0.4146, atol=5e-5)


def test_taxi_and_cliff_walking_from_gymnasium():
    taxi = mdp.from_gymnasium("Taxi-v4", discount=1.0)
    assert np.isclose(taxi.start @ solved(taxi), 7.93)
    cliff = mdp.from_gymnasium("CliffWalking-v1", discount=1.0)
    assert np.isclose(cliff.start @ solved(cliff), -13)


# -- policy gradients ------------------------------------------------------------------------------


def test_sutton_ex_13_1_the_gradient_vanishes_at_the_best_policy():
    m = make("short_corridor")
    policy = mdp.LinearSoftmax(m, features=np.tile(np.eye(2), (4, 1, 1)))
    (weights,) = policy.parameters()
    best = 2 - np.sqrt(2)
    for p, sign in ((0.5, 1), (best, 0), (0.7, -1)):
        weights.data[:] = weights.new_tensor([0.0, np.log(p / (1 - p))])
        slope = mdp.exact.gradient(m, policy)[1].item()
        assert np.isclose(float(mdp.exact.objective(m, policy)), (2 * p - 4) / (p * (1 - p)))
        assert np.sign(np.round(slope, 9)) == sign


def test_kakade_the_natural_gradient_of_a_table_is_the_advantage():
    m = make("puterman_two_state", discount=0.9)
    policy = mdp.TabularSoftmax(m)
    natural = mdp.exact.natural_gradient(m, policy).reshape(2, 2)[0].detach().numpy()
    assert np.allclose(natural, mdp.advantages(m, "uniform")[0])


@pytest.mark.parametrize(("start_discounted", "is_gradient"), [(True, True), (False, False)])
def test_nota_and_thomas_without_the_discount_it_is_no_gradient(start_discounted, is_gradient):
    """A gradient's derivative is symmetric (arXiv 1906.07073, Theorem 4.1)."""
    moves = [[[0.5, 0.5], [0, 1]], [[1, 0], [0.2, 0.8]]]
    m = mdp.from_dense(moves, [[0, 1], [2, -1]], 0.5, order="sas", start=0)
    policy = mdp.TabularSoftmax(m)
    (logits,) = policy.parameters()
    rows = []
    for at in np.ndindex(2, 2):
        sides = []
        for step in (1e-4, -1e-4):
            logits.data[at] += step
            told = {"start_discounted": start_discounted, "horizon": 5}
            found = mdp.exact.gradient(m, policy, **told)
            sides.append(found.detach().numpy().copy())
            logits.data[at] -= step
        rows.append((sides[0] - sides[1]) / 2e-4)
    asymmetry = np.abs(np.array(rows) - np.array(rows).T).max()
    assert (asymmetry < 1e-6) == is_gradient
