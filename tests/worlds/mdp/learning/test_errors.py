"""What cannot be learned is said before anything is computed, with what to do instead."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.core.errors import ConfigError, NonFiniteError, ShapeError
from logpi.worlds.mdp.learning import constant, exponential, inverse, learn, linear, visits
from logpi.worlds.mdp.learning.endings import endless_state
from logpi.worlds.mdp.zoo import make
from worlds.mdp.learning.small_models import revisit

CLIFF = make("cliff")
GRID = make("book_grid")
WALK = make("random_walk")

BAD = {
    "no such method": ("qlearning", {}, "Did you mean `q_learning`"),
    "no such option": ("q_learning", {"lam": 0.9}, "takes no `lam`.*It takes alpha"),
    "near option": ("sarsa_lambda", {"lambda": 0.9}, "Did you mean `lam`"),
    "episodes 0": ("sarsa", {"episodes": 0}, "episodes is 0 but must be a whole number of at"),
    "steps negative": ("sarsa", {"steps": -1}, "steps is -1"),
    "episodes 1.5": ("sarsa", {"episodes": 1.5}, "episodes is 1.5"),
    "two lengths": ("sarsa", {"episodes": 5, "steps": 5}, "two lengths: give one"),
    "runs 0": ("sarsa", {"runs": 0}, "runs is 0"),
    "seed negative": ("sarsa", {"seed": -1}, "seed is -1"),
    "max_steps 0": ("sarsa", {"max_steps": 0}, "max_steps is 0"),
    "alpha 0": ("sarsa", {"alpha": 0.0}, r"alpha is 0 but must lie in \(0, 2\]"),
    "alpha 3": ("sarsa", {"alpha": 3}, r"alpha is 3 but must lie in \(0, 2\]"),
    "alpha NaN": ("sarsa", {"alpha": np.nan}, "alpha is nan but must be a number"),
    "alpha a word": ("sarsa", {"alpha": "small"}, "alpha is 'small' but must be a number"),
    "alpha ends below 0": ("sarsa", {"alpha": linear(0.5, -1, over=9)}, "alpha is -1"),
    "epsilon 2": ("sarsa", {"epsilon": 2.0}, "epsilon is 2 but is a probability"),
    "epsilon by visits": ("sarsa", {"epsilon": visits()}, "epsilon cannot follow visits"),
    "lam 2": ("sarsa_lambda", {"lam": 2}, "lam is 2 but must lie in"),
    "n 0": ("n_step_sarsa", {"n": 0}, "n is 0"),
    "traces": ("sarsa_lambda", {"traces": "dutch"}, "'accumulating' or 'replacing'"),
    "first_visit": ("mc_control", {"first_visit": 1}, "first_visit is 1 but must be True or"),
    "traces by visits": ("sarsa_lambda", {"alpha": visits()}, "all states that have a trace"),
    "features by visits": (
        "q_learning", {"alpha": visits(), "features": np.eye(48)}, "features that states share",
    ),
    "initial value of features": (
        "q_learning", {"initial_value": 1.0, "features": np.eye(48)}, "weights begin at 0",
    ),
    "features NaN": ("q_learning", {"features": np.full((48, 2), np.nan)}, "NaN or infinite"),
    "traces of features": (
        "sarsa_lambda", {"traces": "replacing", "features": np.full((48, 2), 0.5)}, "0 or 1",
    ),
    "no policy": ("td", {}, "estimates the value of a policy: give `policy=`"),
    "named policy": ("td", {"policy": "greedy"}, "the one policy that has a name is 'uniform'"),
    "no distribution": ("td", {"policy": np.full((48, 4), 0.5)}, "policy: .*sums to 2"),
    "no behaviour": ("off_policy_mc_prediction", {"policy": "uniform"}, "give `behaviour=`"),
    "both": ("sarsa", {"policy": "uniform", "epsilon": 0.1}, "`policy` says how to act"),
    "both too": ("q_learning", {"behaviour": "uniform", "epsilon": 0.1}, "`behaviour` says how"),
    "MC Basic": ("mc_basic", {}, "give it as `max_steps=`"),
    "MC Basic's length": ("mc_basic", {"episodes": 9, "max_steps": 9}, "as long as its `iter"),
    "batch by steps": ("batch_td", {"policy": "uniform", "steps": 9}, "give `episodes=`"),
    "discount": ("sarsa", {"discount": 1.5}, r"discount is 1.5 but must lie in \[0, 1\]"),
    "truth of actions": (
        "td", {"policy": "uniform", "truth": np.zeros((48, 4))}, r"give truth as \[48\]",
    ),
    "huge records": (
        "sarsa", {"episodes": 10**7, "record_every": 1, "runs": 1}, "give a larger one",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "given", "said"), BAD.values(), ids=BAD)
def test_a_bad_argument_is_named(method, given, said):
    with pytest.raises(ConfigError, match=said):
        learn(CLIFF, method, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": np.ones((4, 48))}, r"policy: .*\[4, 48\]"),
        ({"policy": "uniform", "features": np.ones((47, 3))}, r"\[47, 3\] but must be \[48, d\]"),
        ({"policy": "uniform", "truth": np.ones(3)}, r"truth is \[3\]"),
    ],
)
def test_a_wrong_shape_is_named(given, said):
    with pytest.raises(ShapeError, match=said):
        learn(CLIFF, "td", **given)


def test_features_of_actions_are_shown_to_be_possible():
    with pytest.raises(ShapeError, match=r"\[48, d\], or \[48, 4, d\]"):
        learn(CLIFF, "sarsa", features=np.ones((4, 48, 3)))


def test_a_world_of_another_kind():
    with pytest.raises(ConfigError, match="not str"):
        learn("cliff", "sarsa")
    with pytest.raises(ConfigError, match="starts in terminal states alone"):
        learn(WALK.having(start=np.eye(7)[0]), "td")


def test_coverage():
    pi = np.full((48, 4), 0.25)
    b = np.tile([0.0, 0.5, 0.25, 0.25], (48, 1))
    with pytest.raises(ConfigError, match=r"never takes up in \(0, 0\), which the policy does"):
        learn(CLIFF, "off_policy_mc_prediction", policy=pi, behaviour=b)
    with pytest.raises(ConfigError, match="which the greedy policy may"):
        learn(CLIFF, "off_policy_mc_control", behaviour=b)
    assert learn(CLIFF, "q_learning", behaviour=b, episodes=1, max_steps=9).steps == 9


@pytest.mark.parametrize(
    ("m", "method", "given"),
    [
        (GRID, "q_learning", {"episodes": 3}),
        (GRID, "mc_control", {"steps": 300}),
        (GRID, "sarsa", {"steps": 300, "discount": 1.0}),
        (CLIFF, "mc_control", {"exploring_starts": True}),
        (CLIFF, "sarsa", {"epsilon": 0.0}),
        (CLIFF, "sarsa", {"epsilon": linear(1.0, 0.0, over=10)}),
        (CLIFF, "td", {"policy": np.zeros(48, dtype=int)}),
    ],
)
def test_an_episode_that_need_not_end_must_be_cut(m, method, given):
    with pytest.raises(ConfigError, match=r"need not end: from .* Give `max_steps=`"):
        learn(m, method, **given)
    learn(m, method, max_steps=20, **(given | ({} if "steps" in given else {"episodes": 2})))


def test_what_ends_need_not_be_cut():
    assert endless_state(CLIFF, None, explores=True) is None
    assert endless_state(WALK, np.ones((7, 1)), explores=True) is None
    # blackjack ends whatever the player does: greedy policies need no limit
    assert endless_state(make("blackjack"), None, explores=False) is None
    assert learn(CLIFF, "sarsa", epsilon=inverse(1.0), episodes=3).steps > 0
    assert learn(GRID, "q_learning", steps=30).steps == 30


def test_a_state_that_cannot_be_reached_may_go_on():
    p = np.array([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    from logpi.worlds.mdp.build import from_dense

    m = from_dense(p, [[1], [0], [1]], 0.9, terminal=[1], start=0)
    assert learn(m, "td", episodes=2, alpha=1.0).value.tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ConfigError, match="from s2 it may go on"):
        learn(m.having(start=np.array([0.5, 0.0, 0.5])), "td", episodes=2)


def test_divergence_is_an_error():
    """Baird's counterexample (Sutton & Barto 11.2): off-policy, bootstrapped, with features."""
    x = np.zeros((7, 2, 9))
    x[:, 0, 8] = 1.0  # dashed
    x[:6, 1, :6], x[:6, 1, 7] = 2 * np.eye(6), 1.0  # solid
    x[6, 1, 6:8] = 1.0, 2.0
    m = make("baird").having(reward=np.ones((7, 2)), outcome_reward=None)
    given = {"features": x, "policy": np.ones(7, dtype=int), "behaviour": m.policy, "alpha": 0.1}
    with pytest.raises(NonFiniteError, match=r"has diverged after \d+ steps.*smaller alpha"):
        learn(m, "expected_sarsa", steps=10**6, **given)
    on_policy = given | {"behaviour": None}
    assert np.isfinite(learn(m, "expected_sarsa", steps=10**5, **on_policy).value).all()


def test_a_batch_without_an_end():
    with pytest.raises(ConfigError, match="no value where no episode of the batch ended"):
        learn(revisit(), "batch_td", discount=1.0, max_steps=5, episodes=1)


@pytest.mark.parametrize(
    ("make_one", "said"),
    [
        (lambda: exponential(1.0, decay=1.5), r"decay is 1.5 but must lie in \(0, 1\]"),
        (lambda: linear(1.0, 0.0, over=0), "over is 0 but must be positive"),
        (lambda: inverse(1.0, power=-1), "power is -1"),
        (lambda: inverse(1.0, per="run"), "per is 'run' but must be 'episode' or 'step'"),
    ],
)
def test_bad_schedules(make_one, said):
    with pytest.raises(ConfigError, match=said):
        make_one()


def test_constants_are_schedules():
    one, two = (learn(CLIFF, "sarsa", episodes=5, alpha=a) for a in (0.3, constant(0.3)))
    assert one.q.tolist() == two.q.tolist()
