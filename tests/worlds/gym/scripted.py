"""Environments whose episodes say what they are: number, step, and when and how they end."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


class Scripted(gymnasium.Env):
    """Shows (number of the episode, step, length, 1 if it terminates); pays 10·step + action.

    `ends` fixes length and ending of every episode; without it the reset seed decides them.
    """

    observation_space = spaces.Box(-1e9, 1e9, (4,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, ends: tuple[int, bool] | None = None, longest: int = 6) -> None:
        self.ends, self.longest = ends, longest

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(1000))
        self.length, self.dies = self.ends or (
            1 + int(self.np_random.integers(self.longest)),
            bool(self.np_random.integers(2)),
        )
        self.at = 0
        return self.seen(), self.info()

    def step(self, action):
        assert self.at < self.length, "the episode was over"
        reward = 10.0 * self.at + float(np.sum(action))
        self.at += 1
        over = self.at == self.length
        return self.seen(), reward, over and self.dies, over and not self.dies, self.info()

    def seen(self):
        return np.array([self.number, self.at, self.length, self.dies], dtype=np.float32)

    def info(self):
        return {}


class Masked(Scripted):
    """Allows only the action that the step says."""

    def info(self):
        return {"action_mask": np.arange(3) == self.at % 3}

    def step(self, action):
        assert action == self.at % 3, f"action {action} is not allowed"
        return super().step(action)


class Told(Scripted):
    """The same, shown as a dictionary."""

    observation_space = spaces.Dict(
        number=spaces.Box(-1e9, 1e9, (1,), np.float32),
        rest=spaces.Tuple((spaces.Box(0, 1e9, (2,), np.float32), spaces.Discrete(2))),
    )

    def seen(self):
        x = super().seen()
        return {"number": x[:1], "rest": (x[1:3], int(x[3]))}


class Continuous(Scripted):
    """The same, with numbers as actions."""

    action_space = spaces.Box(-1, 1, (2, 1), np.float32)


class Broken(Scripted):
    """Does at a step what it should not: `how` is a function of the environment."""

    def __init__(self, how, step: int = 2) -> None:
        super().__init__((9, True))
        self.how, self.when = how, step

    def step(self, action):
        found = super().step(action)
        return self.how(found) if self.at == self.when else found


class Uniform:
    """Chooses evenly among what is allowed."""

    def __init__(self, num: int = 3, width: int | None = None) -> None:
        self.num, self.width = num, width

    def sampler(self):
        return self

    def noise(self, u):
        return u

    def draw(self, observation, mask, u):
        action, logp = self.choose(observation, mask, u)
        return action, logp[None]

    def log_prob(self, out, action, mask):
        return out[0]

    def __call__(self, observation, mask, u):
        return self.choose(observation, mask, u)

    def choose(self, observation, mask, u):
        if self.width is not None:
            return u.astype(np.float32), np.zeros(len(u), np.float32)
        allowed = np.ones((len(u), self.num), bool) if mask is None else mask
        count = allowed.sum(1)
        place = (u[:, 0] * count).astype(int)
        action = (np.cumsum(allowed, 1) > place[:, None]).argmax(1)
        return action, -np.log(count).astype(np.float32)

    def to_env(self, action):
        return action


def consistent(observation, final, discount, end, *, gamma: float) -> int:
    """How many ends these decisions hold, each [k, ...]; each must be what the environment says.

    What followed is one step further in the same episode: no reset step is among them, and the
    last observation is the true one. Discount 0 exactly at terminations.
    """
    assert np.array_equal(final[:, [0, 2, 3]], observation[:, [0, 2, 3]])
    assert np.array_equal(final[:, 1], observation[:, 1] + 1)
    over, dies = final[:, 1] == final[:, 2], final[:, 3] == 1
    assert np.array_equal(discount == 0, over & dies)
    assert np.allclose(discount[~(over & dies)], gamma)
    assert end[over].all()
    return int(over.sum())
