"""Every entry of the zoo is a model, and is found by its name."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.evaluate import evaluate
from logpi.worlds.mdp.zoo.grids import COMPASS, grid_layout
from logpi.worlds.mdp.zoo.tables import check_at_least, check_probability, from_outcomes

ALL = list(zoo.names())


@pytest.mark.parametrize("name", ALL)
def test_every_entry_builds_a_model_with_its_defaults(name):
    m = zoo.make(name)
    assert m.name == name
    assert math.isclose(m.start.sum(), 1)
    assert not m.start[m.terminal].any()
    assert len(m.layout.actions) in (0, m.actions)
    assert m.transitions.has_canonical_format  # sorted, and no successor twice
    assert m.transitions.indices.dtype == m.transitions.indptr.dtype == np.int32


@pytest.mark.parametrize("name", ALL)
def test_every_entry_takes_a_discount_and_says_what_it_is(name):
    assert zoo.make(name, discount=0.5).discount == 0.5
    entry = getattr(zoo, name.replace("/", "_"))
    assert zoo.names()[name] == inspect.getdoc(entry).splitlines()[0]
    assert zoo.names()[name].startswith("Return")
    assert ">>>" in entry.__doc__


@pytest.mark.parametrize("name", ALL)
def test_rewards_of_outcomes_have_the_expected_reward(name):
    m = zoo.make(name)
    if m.outcome_reward is None:
        return
    t = m.transitions.copy()
    t.data = t.data * m.outcome_reward
    assert np.allclose(np.asarray(t.sum(1)).reshape(m.reward.shape), m.reward, atol=1e-12)


def test_every_function_of_the_package_is_an_entry():
    entries = {name.replace("/", "_") for name in ALL}
    assert entries == set(zoo.__all__) - {"make", "names", "blackjack_state"}


def test_an_unknown_name_or_option_names_the_nearest():
    with pytest.raises(ConfigError, match="has no `3`"):
        zoo.make(3)
    with pytest.raises(ConfigError, match=r"has no `book_gird`\. Did you mean `book_grid`\?"):
        zoo.make("book_gird")
    with pytest.raises(ConfigError, match=r"no option `r_forbiden`\. Did you mean `r_forbidden`\?"):
        zoo.make("book_grid", r_forbiden=-10)
    with pytest.raises(ConfigError, match="It has book_grid, two_state"):
        zoo.make("?")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("book_grid", {"target": (5, 0)}, r"`target` is \(5, 0\).* 5×5 grid"),
        ("book_grid", {"forbidden": [25]}, "`forbidden` is state 25"),
        ("book_grid", {"slip": 1.5}, r"`slip` is 1.5 .* in \[0, 1\]"),
        ("book_grid", {"rows": 0}, "`rows` is 0"),
        ("windy", {"cols": 9}, "`wind` has 10 columns but the grid 9"),
        ("gambler", {"goal": 1}, "`goal` is 1"),
        ("random_walk", {"p_right": -0.1}, "`p_right` is -0.1"),
        ("garnet", {"states": 3, "branching": 4}, "`branching` is 4"),
        ("garnet", {"rewards": "norma"}, "Did you mean `normal`"),
        ("slip_grid", {"goal": None, "rewards": "gaol"}, "Did you mean `goal`"),
        ("machine_replacement", {"wear": (0.5, 0.6)}, "`wear` is .* summing to 1"),
        ("reward_process", {"transitions": [[1.0, 0.0]]}, r"must be \[states, states\]"),
        ("racetrack", {"track": "S..\n.."}, "lines of one length"),
        ("racetrack", {"track": "S..\n..."}, "an S and an F"),
        ("frozen_lake", {"lake": "5x5"}, "one of 4x4, 8x8 or rows"),
        ("bandit", {"deviation": -1}, "`deviation` is -1"),
        ("tokens", {"length": 12, "limit": 100}, "more than 100 prefixes"),
        ("tokens", {"next_token": {"": {"a": 0.5}}}, "no distribution"),
        ("tokens", {"next_token": {"": {"a": 1.0}}, "length": 2}, "says nothing of what follows"),
        (
            "tokens",
            {"vocabulary": ["yes", "<eos>"], "next_token": {"": {"yess": 1.0}}},
            "Did you mean `yes`",
        ),
    ],
)
def test_options_that_make_no_model(name, options, message):
    with pytest.raises(ConfigError, match=message):
        zoo.make(name, **options)


@pytest.mark.parametrize(
    ("name", "whole", "half"),
    [
        ("book_grid", {"r_other": 0, "r_boundary": -1}, {"r_target": 0.5, "r_forbidden": -0.5}),
        ("gridworld", {"r_boundary": -1, "r_other": 0}, {"jumps": [((0, 1), (4, 1), 0.5)]}),
        ("cliff", {"r_step": -1}, {"r_cliff": -0.5}),
        ("random_walk", {"step_reward": 0, "left_reward": -1}, {"right_reward": 0.5}),
        ("maze", {"r_step": 0}, {"r_goal": 0.5}),
        ("gambler", {}, {"r_goal": 0.5}),
    ],
)
def test_whole_numbers_do_not_round_the_other_rewards(name, whole, half):
    m = zoo.make(name, **whole, **half)
    fractions = zoo.make(name, **{key: float(value) for key, value in whole.items()}, **half)
    assert m.reward.dtype == np.float64
    assert (m.reward == fractions.reward).all()
    assert (m.reward % 1 != 0).any()


# -- grids -----------------------------------------------------------------------------------------


def test_cells_are_pairs_or_numbers():
    by_pair = zoo.book_grid(3, 4, forbidden=[(0, 1), (2, 2)], target=(1, 3), start=(2, 0))
    by_number = zoo.book_grid(3, 4, forbidden=[1, 10], target=7, start=8)
    assert (by_pair.reward == by_number.reward).all()
    assert by_pair.layout == by_number.layout
    assert by_pair.start.tolist() == by_number.start.tolist() == np.eye(12)[8].tolist()
    assert by_pair.layout.marks == {"forbidden": (1, 10), "target": (7,)}


def test_the_books_grid_pays_what_the_book_says():
    m = zoo.book_grid(r_boundary=-2, r_forbidden=-3, r_target=4, r_other=0.5)
    up, right, down, left, stay = range(5)
    assert m.reward[0].tolist() == [-2, 0.5, 0.5, -2, 0.5]
    assert m.reward[17, stay] == 4  # at the target, which is not left by staying
    assert m.row(17, stay)[0].tolist() == [17]
    assert m.reward[16, right] == m.reward[22, up] == 4
    assert m.reward[21, stay] == m.reward[20, right] == -3
    assert m.reward[21, down] == -2  # a bounce on a forbidden cell
    assert zoo.book_grid(r_forbidden=-3, bounce_adds=True).reward[21, down] == -4
    assert m.reward[17, left] == -3
    assert m.row(5, right)[0].tolist() == [6]  # forbidden cells are entered


def test_the_books_grid_can_end_at_the_target():
    m = zoo.book_grid(terminal=True, start=(0, 0), r_target=0, r_other=-1, r_forbidden=-10)
    assert np.flatnonzero(m.terminal).tolist() == [17]
    assert m.start[0] == 1


@given(
    rows=st.integers(1, 6),
    cols=st.integers(1, 6),
    slip=st.floats(0, 1),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_a_slipping_grid_is_the_mixture_of_moves(rows, cols, slip, data):
    target = data.draw(st.integers(0, rows * cols - 1))
    firm = zoo.book_grid(rows, cols, forbidden=[], target=target)
    loose = zoo.book_grid(rows, cols, forbidden=[], target=target, slip=slip)
    p = firm.transitions.toarray().reshape(rows * cols, 5, -1)
    q = loose.transitions.toarray().reshape(rows * cols, 5, -1)
    for action in range(4):
        sides = [(action + 1) % 4, (action - 1) % 4]
        mixed = (1 - slip) * p[:, action] + slip / 2 * p[:, sides].sum(1)
        assert np.allclose(q[:, action], mixed)
        mixed = (1 - slip) * firm.reward[:, action] + slip / 2 * firm.reward[:, sides].sum(1)
        assert np.allclose(loose.reward[:, action], mixed)
    assert np.allclose(q[:, 4], p[:, 4])


@pytest.mark.parametrize("name", ["book_grid", "gridworld", "terminal_grid", "cliff", "maze"])
def test_moves_are_where_the_layout_says(name):
    m = zoo.make(name)
    jumps = {*m.layout.marks.get("jump", ()), *m.layout.marks.get("cliff", ())}
    for s in set(np.flatnonzero(~m.terminal)) - jumps:
        for a, (down, right) in enumerate(m.layout.moves):
            ((successor,), _) = m.row(s, a)
            row, col = divmod(int(s), m.layout.columns)
            there = (row + down) * m.layout.columns + col + right
            inside = 0 <= row + down < m.layout.rows and 0 <= col + right < m.layout.columns
            if name == "cliff" and inside and there in m.layout.marks["cliff"]:
                there = m.layout.marks["start"][0]
            blocked = there in m.layout.marks.get("wall", ())
            assert successor == (there if inside and not blocked else s)


def test_the_stochastic_wind_blows_one_more_and_one_less():
    m = zoo.windy(stochastic=True)
    left = 3 * 10 + 6  # in a column where the wind is 2
    successors, p = m.row(left, 3)
    assert {int(s): round(float(x), 12) for s, x in zip(successors, p, strict=True)} == {
        2 * 10 + 5: round(1 / 3, 12),
        1 * 10 + 5: round(1 / 3, 12),
        5: round(1 / 3, 12),
    }
    assert m.row(0, 1)[0].tolist() == [1]  # no wind, nothing random


@pytest.mark.parametrize("lake", ["4x4", "8x8"])
@pytest.mark.parametrize("slippery", [True, False])
def test_the_frozen_lake_is_gymnasiums(lake, slippery):
    gymnasium = pytest.importorskip("gymnasium")
    table = gymnasium.make("FrozenLake-v1", map_name=lake, is_slippery=slippery).unwrapped.P
    m = zoo.frozen_lake(lake, slippery=slippery)
    for s, a in np.argwhere(m.allowed):
        p, r = np.zeros(m.states), 0.0
        for probability, successor, reward, ends in table[s][a]:
            p[successor] += probability
            r += probability * reward
            assert ends == m.terminal[successor]
        assert np.allclose(m.transitions[[s * 4 + a]].toarray()[0], p)
        assert m.reward[s, a] == pytest.approx(r)
    assert m.start[0] == 1


def test_a_random_walk_with_long_jumps():
    m = zoo.random_walk(1000, left_reward=-1, jump=100)
    successors, p = m.row(1, 0)
    assert successors[0] == 0
    assert p[0] == pytest.approx(0.5)  # every jump to the left ends it
    assert len(successors) == 101
    assert m.start[500] == 1


# -- the others ------------------------------------------------------------------------------------


def test_jacks_cars_conserves_probability_and_cars():
    m = zoo.jacks_cars(capacity=3, most_moved=2, requests=(1.0, 0.5), returns=(0.0, 0.0))
    keep = 2  # no car is moved
    for s in range(16):
        successors, p = m.row(s, keep)
        assert p.sum() == pytest.approx(1)
        assert all(t // 4 <= s // 4 and t % 4 <= s % 4 for t in successors)
    # one place with one car, which is asked for with probability 1 − e⁻¹
    assert m.reward[4, keep] == pytest.approx(10 * (1 - math.exp(-1)))
    assert m.row(4, keep)[1].tolist() == pytest.approx([1 - math.exp(-1), math.exp(-1)])


def test_jacks_cars_exercise_4_7():
    m = zoo.jacks_cars()
    changed = zoo.jacks_cars(free_moves=1, parking=(10, 4.0))
    state = 15 * 21 + 2
    assert changed.reward[state, 5] - m.reward[state, 5] == pytest.approx(-4)  # 15 cars stay
    assert changed.reward[state, 6] - m.reward[state, 6] == pytest.approx(2 - 4)
    assert changed.reward[state, 10] - m.reward[state, 10] == pytest.approx(2)
    assert changed.reward[state, 4] - m.reward[state, 4] == pytest.approx(-4)  # none free back
    constant = zoo.jacks_cars(constant_returns=True)
    assert constant.row(0, 5)[0].tolist() == [3 * 21 + 2]


def test_a_dealt_hand_of_blackjack():
    m = zoo.blackjack()
    # two aces are the one way to 12 with an ace that counts 11
    assert m.start[:200].reshape(10, 10, 2)[0, :, 1].sum() == pytest.approx(1 / 169)
    assert m.start[:200].reshape(10, 10, 2)[:, 9].sum() == pytest.approx(4 / 13)
    hit = zoo.blackjack_state(21, dealer=5, usable_ace=False)
    assert m.reward[hit, 1] == -1
    soft = zoo.blackjack_state(17, dealer=5, usable_ace=True)
    assert m.reward[soft, 1] == 0  # an ace cannot go bust


def test_the_noise_of_rewards_has_the_moments_of_a_normal():
    for points in (2, 5, 11):
        m = zoo.bandit([1.0, -2.0], deviation=1.5, points=points)
        for arm, mean in enumerate((1.0, -2.0)):
            start = m.transitions.indptr[arm]
            stop = m.transitions.indptr[arm + 1]
            noise = m.outcome_reward[start:stop] - mean
            p = m.transitions.data[start:stop]
            assert p @ noise == pytest.approx(0, abs=1e-12)
            assert p @ noise**2 == pytest.approx(1.5**2)
            assert p @ noise**3 == pytest.approx(0, abs=1e-10)
        assert p @ noise**4 == pytest.approx(1.5**4 * (1 if points == 2 else 3))


def test_a_bandit_with_contexts_and_a_policy():
    m = zoo.bandit([[1.0, 0.0], [0.0, 3.0]], policy=[0.25, 0.75])
    assert m.states == 3
    assert m.start.tolist() == [0.5, 0.5, 0]
    assert m.policy[:2].tolist() == [[0.25, 0.75]] * 2


def test_a_reward_process_may_pay_for_the_step():
    m = zoo.reward_process([[0.5, 0.5], [0.0, 0.0]], [[1.0, 3.0], [0.0, 0.0]])
    assert m.reward[0, 0] == 2
    assert m.outcome_reward.tolist() == [1, 3]
    assert m.terminal.tolist() == [False, True]


def test_a_worn_machine_stops_at_the_last_level():
    m = zoo.machine_replacement(3, wear=(0.25, 0.25, 0.5), worst=2, replacement=7, income=1)
    assert m.row(1, 0)[0].tolist() == [1, 2]
    assert m.row(1, 0)[1].tolist() == [0.25, 0.75]
    assert m.reward.tolist() == [[1, -6], [0, -6], [-1, -6]]


def test_inventory_with_other_costs():
    m = zoo.inventory(2, demand=(0.5, 0.5), holding_cost=lambda u: u**2, lost_sale=3.0)
    # nothing in stock, nothing ordered: half the time one sale is lost
    assert m.reward[0, 0] == -1.5
    assert m.reward[2, 0] == 8 * 0.5 - 4


@pytest.mark.parametrize(("states", "branching"), [(5, 5), (7, 3), (400, 6), (3, 1)])
def test_a_garnet_has_distinct_successors_and_is_repeatable(states, branching):
    m = zoo.garnet(states, 3, branching, seed=4)
    successors = m.transitions.indices.reshape(-1, branching)
    assert (np.diff(successors, axis=1) > 0).all()
    assert np.allclose(m.transitions.sum(1), 1)
    again = zoo.garnet(states, 3, branching, seed=4)
    assert (again.transitions != m.transitions).nnz == 0
    assert (again.reward == m.reward).all()
    other = zoo.garnet(states, 3, branching, seed=5)
    assert (other.reward != m.reward).any()


@pytest.mark.parametrize("name", ["garnet", "slip_grid", "machine_replacement"])
def test_models_of_single_precision(name):
    m = zoo.make(name, dtype=np.float32)
    assert m.dtype == m.reward.dtype == np.float32


def test_slip_grid_variants():
    assert not zoo.slip_grid(5, 7, goal=None, rewards="random").terminal.any()
    assert np.flatnonzero(zoo.slip_grid(5, 7, goal=(1, 2)).terminal).tolist() == [9]
    m = zoo.slip_grid(3, 3, rewards="goal", slip=0.5)
    assert m.reward[5].tolist() == [0, 0.25, 0.5, 0.25]
    m = zoo.slip_grid(3, 3, rewards="random", seed=2)
    assert ((m.reward[:8] <= 0) & (m.reward[:8] > -1)).all()
    assert len(np.unique(m.reward[:8])) == 32


def test_crashing_on_the_racetrack_means_starting_again():
    m = zoo.racetrack("#F\nS#", fastest=1, p_stuck=0.0)
    assert m.layout.states == ("(1, 0) at (0, 0)", "(1, 0) at (0, 1)", "(1, 0) at (1, 0)",
                               "(1, 0) at (1, 1)", "finish")  # fmt: skip
    outcomes = {m.layout.actions[a]: m.row(0, a)[0].tolist() for a in np.flatnonzero(m.allowed[0])}
    assert outcomes == {"up +1, right +0": [0], "up +1, right +1": [4], "up +0, right +1": [0]}


# -- tokens ----------------------------------------------------------------------------------------


def test_all_completions_of_a_uniform_model():
    m = zoo.tokens()
    assert m.states == 1 + 2 + 4 + 1  # prefixes of up to two tokens, and the end
    assert m.allowed[:7].all()
    assert np.allclose(m.policy[:7], 1 / 3)
    best = m.layout.states.index("a a")
    assert m.reward[best].tolist() == [3, 2, 2]


def test_a_model_that_reads_the_whole_context():
    def follows(context):
        return {"x": 0.75, "<eos>": 0.25} if len(context) < 3 else {"<eos>": 1.0}

    m = zoo.tokens(
        ("x", "<eos>"), next_token=follows, reward={"x": 1.0}, otherwise=-1.0, length=5,
        prompts={"p": 0.9, "q": 0.1},
    )  # fmt: skip
    assert m.layout.states == ("p", "p x", "p x x", "q", "q x", "q x x", "<end>")
    assert m.start.tolist() == [0.9, 0, 0, 0.1, 0, 0, 0]
    assert m.allowed[2].tolist() == [False, True]
    assert m.reward[:3, 1].tolist() == [-1, 1, -1]


def test_a_completion_that_is_cut_off_earns_as_one_without_an_end():
    m = zoo.tokens(["a", "<eos>"], length=2, reward={"a": 1.0, "a a": 5.0}, otherwise=-1.0)
    assert m.reward[1].tolist() == [-1, 1]


def test_a_table_of_last_tokens_names_the_vocabulary():
    m = zoo.tokens(next_token={"": {"b": 0.5, "a": 0.5}, "a": {"<eos>": 1.0}, "b": {"a": 1.0}})
    assert m.layout.actions == ("b", "a", "<eos>")
    assert m.layout.states == ("", "b", "a", "b a", "<end>")


@pytest.mark.parametrize("name", ["tokens/lengths", "tokens/choice"])
def test_completions_differ_in_length_and_reward_goes_with_it(name):
    m = zoo.make(name)
    found = []

    def walk(state, length, p):
        for a in np.flatnonzero(m.allowed[state]):
            ((successor,), _) = m.row(state, a)
            chance = p * m.policy[state, a]
            if m.terminal[successor]:
                found.append((length + 1, m.reward[state, a], chance))
            else:
                walk(successor, length + 1, chance)

    walk(0, 0, 1.0)
    length, reward, p = np.array(found).T
    assert p.sum() == pytest.approx(1)
    assert len(set(length)) > 1
    covariance = p @ (length * reward) - (p @ length) * (p @ reward)
    assert covariance > 0.01 if name == "tokens/lengths" else covariance < -0.01


@pytest.mark.parametrize(("short", "long", "p"), [(1, 4, 0.5), (2, 3, 0.2)])
def test_the_choice_is_worth_what_its_docstring_says(short, long, p):
    m = zoo.tokens_choice(p_short=p, short=short, long=long, r_short=2.0, r_long=-1.0)
    value = evaluate(m, m.policy)
    assert value[0] == pytest.approx(2 * p - (1 - p))
    assert m.states == 1 + short + long + 1


# -- parts -----------------------------------------------------------------------------------------


def test_outcomes_that_meet_add_up():
    successor = np.array([[[1, 1, 0]], [[0, 0, 0]]])
    m = from_outcomes(successor, [0.25, 0.25, 0.5], [[[1.0, 3.0, 8.0]]], 0.9, terminal=[1])
    assert m.row(0, 0)[0].tolist() == [0, 1]
    assert m.outcome_reward is not None
    assert m.outcome_reward.tolist() == [8, 2]
    assert m.reward[0, 0] == 5


def test_a_reward_that_does_not_depend_on_the_successor_is_kept_as_one():
    m = from_outcomes(np.array([[[0, 1]], [[0, 1]]]), 0.5, [[[2.0, 2.0]], [[3.0, 3.0]]], 0.9)
    assert m.outcome_reward is None
    assert m.reward.ravel().tolist() == [2, 3]


def test_what_an_option_must_be():
    check_at_least(rows=(1, 1))
    check_probability(slip=1.0)
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ConfigError, match="`slip`"):
            check_probability(slip=bad)
    with pytest.raises(ConfigError, match="`rows` is nan"):
        check_at_least(rows=(np.nan, 1))


def test_a_layout_names_cells_while_they_are_few():
    layout = grid_layout(2, 2, COMPASS, {"target": [3, 1]})
    assert layout.states == ("(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)")
    assert layout.marks == {"target": (1, 3)}
    assert grid_layout(1000, 1000, COMPASS, {}).states == ()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("book_grid", {"rows": "a"}, "`rows` is 'a' but must be a whole number of at least 1"),
        ("book_grid", {"rows": 3.5}, r"`rows` is 3\.5 but must be a whole number"),
        ("random_walk", {"states": 2.5}, r"`states` is 2\.5 but must be a whole number"),
        ("bandit", {"deviation": -1.0}, r"`deviation` is -1\.0 but must be at least 0"),
        ("bandit", {"means": [[1, 2], [3]]}, r"`bandit` cannot be made with means=\[\[1, 2\], \[3"),
        ("gambler", {"p_heads": "high"}, "`gambler` cannot be made with p_heads='high'"),
    ],
)
def test_options_of_another_kind(name, options, message):
    with pytest.raises(ConfigError, match=message):
        zoo.make(name, **options)
