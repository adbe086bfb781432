"""Episodes as pictures: one frame a step, of the episode that is told."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from tests.worlds.gym.scripted import Masked, Scripted

from logpi.core.errors import ConfigError, EnvironmentFailure
from logpi.worlds.gym.film import Shown, drawn, episode, frames_a_second
from logpi.worlds.gym.policy import GymPolicy


class Drawn(Masked):
    """Draws how far it is: a picture whose every value is the step."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 7}

    def __init__(self, render_mode=None, pixels=(4, 6, 4), ends=(5, False)):
        super().__init__(ends)
        self.render_mode, self.pixels = render_mode, pixels

    def render(self):
        return np.full(self.pixels, self.at, dtype=np.uint8) if self.pixels else None


def filmed(env, **told):
    policy = GymPolicy(env.observation_space, env.action_space)
    shown = Shown(seed=3)
    return list(episode(env, policy, shown, **told)), shown


@pytest.mark.parametrize("greedy", [True, False])
def test_every_step_is_one_frame_and_masks_are_kept(greedy):
    env = drawn(Drawn)
    frames, shown = filmed(env, greedy=greedy)
    assert [int(f[0, 0, 0]) for f in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[0].shape == (4, 6, 3)
    assert (shown.length, shown.ended) == (5, "truncated")
    assert shown.total == sum(10 * t + t % 3 for t in range(5))
    assert frames_a_second(env) == 7


def test_an_episode_without_an_end_is_cut():
    frames, shown = filmed(drawn(Drawn), longest=2)
    assert (len(frames), shown.length, shown.ended) == (3, 2, "running")


def test_one_that_raises_is_named():
    class Brittle(Drawn):
        def step(self, action):
            return super().step(action) if self.at < 2 else 1 / 0

    says = r"raised ZeroDivisionError: .* at step 3 after `reset\(seed=3\)`"
    with pytest.raises(EnvironmentFailure, match=says):
        filmed(drawn(Brittle))


def test_what_draws_nothing_is_refused():
    with pytest.raises(ConfigError, match="`Scripted` cannot be filmed"):
        drawn(partial(Scripted, (2, True)))
    with pytest.raises(ConfigError, match="Scripted` cannot be filmed: it draws itself as nothing"):
        drawn(Scripted)


@pytest.mark.parametrize(("pixels", "what"), [(None, "nothing"), ((4, 6), r"an array \[4, 6\]")])
def test_what_is_no_picture_is_refused(pixels, what):
    with pytest.raises(ConfigError, match=f"drew {what}"):
        filmed(drawn(Drawn, {"pixels": pixels}))


def test_what_cannot_draw_says_what_to_install():
    class Broken(Drawn):
        def render(self):
            raise RuntimeError("no pixels here")

    with pytest.raises(ConfigError, match=r"no pixels here\. Install what it draws with"):
        filmed(drawn(Broken))
