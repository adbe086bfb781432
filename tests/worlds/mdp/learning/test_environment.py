"""The same methods on Gymnasium environments."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.gymnasium_table import from_gymnasium
from logpi.worlds.mdp.learning import METHODS, learn, visits
from logpi.worlds.mdp.learning.environment import is_environment
from logpi.worlds.mdp.planning.evaluate import action_values
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.zoo import make

gym = pytest.importorskip("gymnasium")


@pytest.fixture
def lake():
    env = gym.make("FrozenLake-v1", map_name="4x4")
    yield env
    env.close()


def needs(name):
    given = {"policy": "uniform"} if METHODS[name].judges == "given" else {}
    return given | ({"behaviour": "uniform"} if name.startswith("off_policy") else {})


@pytest.mark.parametrize("name", [n for n in METHODS if METHODS[n].family != "basic"])
def test_every_method_runs_and_repeats(lake, name):
    one, two, other = (
        learn(lake, name, episodes=12, discount=0.9, seed=s, **needs(name)) for s in (1, 1, 2)
    )
    assert one.value.tolist() == two.value.tolist()
    assert one.returns.tolist() == two.returns.tolist()
    assert one.lengths.tolist() != other.lengths.tolist()
    assert one.returns.shape == (1, 12)


def test_it_learns_what_it_learns_on_the_model(lake):
    m = from_gymnasium(lake, discount=0.9)
    given = {"steps": 12_000, "discount": 0.9, "alpha": visits(power=0.7)}
    outside = learn(lake, "expected_sarsa", policy="uniform", **given)
    inside = learn(m, "expected_sarsa", policy="uniform", max_steps=100, **given)
    truth = action_values(m, uniform(m))
    for r in (outside, inside):
        live = m.allowed[:16]
        assert np.abs(r.q[:16][live] - truth[:16][live]).mean() < 0.04
        assert abs(r.returns.mean() - 0.014) < 0.01  # a random walk reaches the goal 1 in 70
        assert abs(r.lengths.mean() - 7.7) < 0.7


def test_a_time_limit_goes_on():
    """A cliff walk that is cut after 2 steps: values fall by more than the two steps cost."""
    env = gym.make("CliffWalking-v1", max_episode_steps=2)
    up = np.zeros(48, dtype=int)
    r = learn(env, "td", policy=up, episodes=200, discount=0.9, alpha=0.5)
    assert r.truncated.all()
    # the walk goes 36, 24 and is cut in 12, whose value nobody learns: −1 − .9·1 − .81·0
    assert np.isclose(r.value[24], -1.0)
    assert np.isclose(r.value[36], -1.9)
    loop = gym.make("CliffWalking-v1", max_episode_steps=5)
    r = learn(loop, "td", policy=np.full(48, 2), episodes=400, discount=0.9, alpha=0.5)
    assert np.isclose(r.value[36], -10.0), "down in the corner for ever: −1/(1 − γ)"
    mc = learn(loop, "mc_prediction", policy=np.full(48, 2), episodes=3, discount=0.9)
    assert np.isclose(mc.value[36], -(1 - 0.9**5) / 0.1)
    env.close()
    loop.close()


def test_max_steps_cuts_an_environment_too():
    env = gym.make("CliffWalking-v1")
    r = learn(env, "sarsa", episodes=3, max_steps=7, discount=0.9)
    assert (r.lengths <= 7).all()
    env.close()


def test_it_must_be_discrete():
    env = gym.make("CartPole-v1")
    with pytest.raises(ConfigError, match=r"observation space is Box.*must be Discrete"):
        learn(env, "q_learning", discount=0.9)
    env.close()


def test_what_an_environment_cannot_do(lake):
    with pytest.raises(ConfigError, match="has no discount: give `discount=`"):
        learn(lake, "q_learning")
    with pytest.raises(ConfigError, match="leave `exploring_starts` out"):
        learn(lake, "mc_control", exploring_starts=True, discount=0.9)
    with pytest.raises(ConfigError, match="give a model"):
        learn(lake, "mc_basic", max_steps=3, discount=0.9)
    with pytest.raises(ShapeError, match=r"policy: .*\[3\]"):
        learn(lake, "td", policy=np.zeros(3, dtype=int), discount=0.9)


def test_spaces_that_do_not_begin_at_0():
    class Shifted(gym.Env):
        observation_space = gym.spaces.Discrete(2, start=10)
        action_space = gym.spaces.Discrete(2, start=5)

        def reset(self, *, seed=None, options=None):
            return 10, {}

        def step(self, action):
            assert action in (5, 6)
            return 11, float(action == 6), True, False, {}

    r = learn(Shifted(), "q_learning", episodes=60, discount=0.9, alpha=0.5, epsilon=0.5)
    assert r.policy[0] == 1
    assert np.isclose(r.q[0, 1], 1.0)


def test_what_an_environment_is(lake):
    assert is_environment(lake)
    assert not is_environment(make("cliff"))
