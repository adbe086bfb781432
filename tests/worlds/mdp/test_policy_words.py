"""What stands for a policy, and for episodes, wherever one is asked for."""

import numpy as np
import pytest

from logpi import mdp
from logpi.core.errors import ConfigError, ShapeError


def test_uniform_is_a_policy_by_name():
    m = mdp.zoo.make("student")
    for question in (mdp.evaluate, mdp.action_values, mdp.advantages, mdp.stationary):
        assert np.allclose(question(m, "uniform"), question(m, mdp.uniform(m)))
    with pytest.raises(ShapeError, match="uniform"):
        mdp.evaluate(m, "unifrom")


def test_a_rollout_takes_what_evaluate_takes():
    m = mdp.zoo.make("cliff")
    drawn = mdp.rollout(m, "uniform", [36, 36], limit=5, seed=0)
    assert np.array_equal(
        drawn.state, mdp.rollout(m, mdp.uniform(m), np.array([36, 36]), limit=5, seed=0).state
    )
    assert mdp.rollout(m, [0] * 48, [36], limit=3, seed=0).state.tolist() == [[36, 24, 12]]


@pytest.mark.parametrize("start", [36, [], [48], [-1], [0.5], [[36]]])
def test_a_rollout_begins_in_a_state(start):
    with pytest.raises(ConfigError, match="start"):
        mdp.rollout(mdp.zoo.make("cliff"), "uniform", start, limit=3, seed=0)


def test_stored_episodes_that_were_only_cut_go_on():
    cut = mdp.stored([[0, 1.0, 1, 2.0, 0]], terminated=False)
    # v0 = 1 + v1 / 2, v1 = 2 + v0 / 2
    assert np.allclose(mdp.batch_td(cut, 2, discount=0.5), [8 / 3, 10 / 3])
    ended = mdp.stored([[0, 1.0, 1, 2.0, 2]])
    assert np.allclose(mdp.batch_td(ended, 3, discount=0.5), [2, 2, 0])
    assert ended.length.tolist() == [2]
    assert ended.mask.tolist() == [[True, True]]


@pytest.mark.parametrize(
    "episode", [[], [0], [0, 1.0], [0, 1.0, 1, 2.0], [0.5, 1.0, 1], [-1, 0, 0]]
)
def test_what_is_no_episode(episode):
    with pytest.raises(ConfigError, match="episode 1 is"):
        mdp.stored([[0, 1.0, 1], episode])


@pytest.mark.parametrize("horizon", [0, 2.5, "3", None])
def test_a_horizon_counts_decisions(horizon):
    m = mdp.zoo.make("two_state")
    if horizon is None:  # there is none: the task goes on
        assert mdp.evaluate(m, [2, 1], horizon=horizon) == pytest.approx([10, 10])
        return
    for question in (
        lambda: mdp.evaluate(m, [0, 0], horizon=horizon),
        lambda: mdp.solve(m, horizon=horizon),
    ):
        with pytest.raises(ConfigError, match="counts decisions"):
            question()
