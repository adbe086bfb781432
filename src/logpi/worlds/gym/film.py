"""Episodes as pictures: a policy plays one environment that is drawn, a frame a step."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.worlds.gym.make import make_one, name_of
from logpi.worlds.gym.recorded import Recorded

__all__ = ["Plays", "Shown", "drawn", "episode", "frames_a_second"]

_MODE = "rgb_array"


class Plays(Protocol):
    """A policy, as far as one environment needs it."""

    def act(
        self,
        observation: Any,
        *,
        action_mask: ndarray | None = None,
        greedy: bool = True,
        generator: np.random.Generator | None = None,
    ) -> Any:
        """The action for one observation."""
        ...


@dataclass(slots=True)
class Shown:
    """What is known of an episode while it is shown; whole once its frames are used up."""

    seed: int
    total: float = 0.0  # the sum of its rewards
    length: int = 0  # decisions
    ended: str = "running"  # then terminated or truncated

    def plain(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {"seed": self.seed, "return": self.total, "length": self.length, "ended": self.ended}


def drawn(env: str | Callable[..., Any], options: Mapping[str, Any] | None = None) -> Any:
    """One environment that can be drawn without a screen.

    Raises `ConfigError` where it does not draw itself as an array of pixels.

    >>> drawn("CartPole-v1").render_mode
    'rgb_array'
    """
    known = {k: v for k, v in (options or {}).items() if k != "render_mode"}
    plain = make_one(env, known)
    modes = list(plain.metadata.get("render_modes", ()))
    plain.close()
    if _MODE not in modes:
        raise ConfigError(
            f"`{name_of(env)}` cannot be filmed: it draws itself as "
            f"{', '.join(modes) or 'nothing'}, and a film needs render mode {_MODE}. Play another "
            'environment, or add that mode to its metadata["render_modes"].'
        )
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # both ask for a screen otherwise
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    return make_one(env, {**known, "render_mode": _MODE})


def frames_a_second(env: Any) -> float:
    """How fast the environment says that it should be shown.

    >>> frames_a_second(drawn("CartPole-v1"))
    50.0
    """
    return float(env.metadata.get("render_fps") or 30)


def episode(
    env: Any, policy: Plays, shown: Shown, *, greedy: bool = True, longest: int = 100_000
) -> Iterator[ndarray]:
    """The frames [height, width, 3] of one episode, which `shown` tells of as it goes on.

    Begins with `reset(seed=shown.seed)`; without `greedy` actions are drawn, from the same seed.
    Stops after `longest` decisions. Raises `ConfigError` where the environment cannot be drawn, and
    `EnvironmentFailure`, naming seed and step, where it raises.

    >>> from logpi.worlds.gym.policy import GymPolicy
    >>> env, shown = drawn("CartPole-v1"), Shown(seed=0)
    >>> policy = GymPolicy(env.observation_space, env.action_space)
    >>> frames = list(episode(env, policy, shown))
    >>> len(frames) == shown.length + 1, frames[0].shape, shown.ended
    (True, (400, 600, 3), 'terminated')
    """
    generator = np.random.default_rng(shown.seed)
    played = Recorded(env, 0)
    observation, info = played.reset(shown.seed)
    yield _frame(env)
    while shown.length < longest:
        action = policy.act(
            observation,
            action_mask=info.get("action_mask"),
            greedy=greedy,
            generator=generator,
        )
        observation, reward, terminated, truncated, info = played.step(action)
        shown.total += reward
        shown.length += 1
        yield _frame(env)
        if terminated or truncated:
            shown.ended = "terminated" if terminated else "truncated"
            return


def _frame(env: Any) -> ndarray:
    try:
        found = env.render()
    except Exception as error:
        raise ConfigError(
            f"the environment could not be drawn: {str(error) or type(error).__name__}. Install "
            "what it draws with (`pip install 'gymnasium[classic-control]'`, box2d or mujoco); "
            "for MuJoCo without a screen set MUJOCO_GL=egl or MUJOCO_GL=osmesa."
        ) from error
    picture = np.asarray(found) if found is not None else None
    if picture is None or picture.ndim != 3 or picture.shape[2] < 3:
        what = "nothing" if picture is None else f"an array {list(picture.shape)}"
        raise ConfigError(
            f"the environment drew {what}, and a film needs pixels [height, width, 3]. Its "
            f"`render` must return them in mode {_MODE}."
        )
    return np.ascontiguousarray(picture[:, :, :3], dtype=np.uint8)
