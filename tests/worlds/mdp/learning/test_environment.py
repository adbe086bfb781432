"""The same methods on Gymnasium environments."""

from __future__ import annotations

import numpy as np
import pytest

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.gymnasium_table import from_gymnasium
from logpi.worlds.mdp.learning import METHODS, learn, visits
from logpi.worlds.mdp.learning.environment import form_of, is_environment
from logpi.worlds.mdp.learning.numbering import numbering
from logpi.worlds.mdp.planning.evaluate import action_values, evaluate
from logpi.worlds.mdp.planning.policies import uniform
from logpi.worlds.mdp.zoo import blackjack_state, make

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


def test_spaces_of_several_parts_are_numbered():
    spaces = gym.spaces
    space = spaces.Tuple(
        [spaces.MultiDiscrete([2, 3], start=[0, 5]), spaces.MultiBinary(2), spaces.Discrete(2)]
    )
    found = numbering(space, "action")
    assert found.size == 48
    seen = [found.element(i) for i in range(48)]
    assert all(x in space for x in seen)
    assert [found.number(x) for x in seen] == list(range(48))
    with pytest.raises(ConfigError, match="more than the 10000000"):
        numbering(spaces.MultiBinary(24), "observation")
    with pytest.raises(ConfigError, match="the action space is Tuple"):
        numbering(spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)]), "action")


@pytest.mark.slow
def test_blackjack_is_learned_from_its_environment():
    """Gymnasium's states are (sum, dealer's card, usable ace): Sutton & Barto, Example 5.1."""
    env = gym.make("Blackjack-v1")  # its reward of a natural is that of any other 21
    sticks = np.zeros((32, 11, 2), dtype=int)
    sticks[:20] = 1
    r = learn(env, "mc_prediction", policy=sticks.ravel(), episodes=20_000, discount=1.0)
    m = make("blackjack")
    model_sticks = np.array([1] * 160 + [0] * 43)
    truth = evaluate(m, model_sticks)
    at = [(t, d, a) for t in (18, 20) for d in (5, 10) for a in (0, 1)]
    ours = np.array([truth[blackjack_state(*x)] for x in at])
    theirs = r.value.reshape(32, 11, 2)[tuple(np.array(at).T)]
    assert np.abs(ours - theirs)[::2].max() < 0.12  # without an ace, which is seldom
    assert abs(r.returns.mean() - m.start @ truth) < 0.03
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
    assert form_of(lake).layout.states == ()
    assert form_of(lake).layout.is_grid
    assert form_of(gym.make("Taxi-v4")).layout.actions[0] == "south"
    assert form_of(gym.make("Blackjack-v1")).layout.states[461] == "(20, 10, 1)"
    assert not is_environment(make("cliff"))
