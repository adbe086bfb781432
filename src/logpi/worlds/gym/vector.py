"""Several environments at once, with the observation that truly followed every action.

Gymnasium resets an environment that is done in one of two ways: in the same step, or in the next
one, whose action is then ignored. `Moved` hides neither: `final` is what followed the action, also
where the episode ended, and `idle` marks steps that only reset, or that nobody asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy import ndarray

from logpi.core.errors import ConfigError
from logpi.core.seeds import mix
from logpi.worlds.gym.recorded import Recorded, digest
from logpi.worlds.gym.spaces import Actions, Observations, Reader, actions_of, mask_row

__all__ = ["Moved", "Plan", "Sync", "Vector", "ready_actions"]

Plan = Sequence[Sequence[int]]
"""For each environment the reset seeds of the episodes that it plays, one after the other."""


@dataclass(frozen=True, slots=True)
class Moved:
    """n environments after one step."""

    observation: ndarray  # what the next action reads: of the new episode, where one began
    final: ndarray  # what followed this action: the ended episode's last, where one ended
    reward: ndarray  # [n] float64
    terminated: ndarray  # [n] bool
    truncated: ndarray  # [n] bool
    idle: ndarray  # [n] bool; the action was not read: nothing was decided
    action_mask: ndarray | None = None  # [n, A] bool, of the next action


class Vector(Protocol):
    """Several environments, as the rollout sees them."""

    @property
    def num(self) -> int:
        """How many."""
        ...

    @property
    def observations(self) -> Observations:
        """What one of them shows."""
        ...

    @property
    def actions(self) -> Actions:
        """What one of them asks to choose."""
        ...

    def reset(self, plan: Plan | None = None) -> tuple[ndarray, ndarray | None]:
        """First observations, and masks of the first action.

        Episodes follow one another without end, or those of the plan, and then the environment
        idles.
        """
        ...

    def step(self, actions: Sequence[Any] | ndarray) -> Moved:
        """What follows one action in each."""
        ...

    def state(self) -> dict[str, Any]:
        """What brings the environments back to where they are, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None]:
        """Observations and masks at that place."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


class Sync:
    """Environments in this process, one after the other."""

    def __init__(
        self,
        make: Sequence[Callable[[], Any]],
        seed: int,
        *,
        first: int = 0,
        board: MutableSequence[int] | None = None,
    ) -> None:
        """`make` makes one environment each, with the numbers that follow `first`."""
        self._envs = [Recorded(f(), first + i, board) for i, f in enumerate(make)]
        self.num, self._seed = len(self._envs), seed
        space = self._envs[0].env.action_space
        self.actions, self._dtype = actions_of(space), space.dtype
        self._reader = Reader(self._envs[0].env.observation_space, self.num)
        self.observations = self._reader.observations
        self._seeds: list[Iterator[int]] = []
        self._begun = [0] * self.num
        self._over = np.zeros(self.num, dtype=np.bool_)
        self._rows: Any = None  # the observations as the environments gave them
        self._masks: list[ndarray] | None = None

    def reset(self, plan: Plan | None = None) -> tuple[ndarray, ndarray | None]:
        """First observations, and masks of the first action."""
        self._begun = [0] * self.num
        self._over = np.zeros(self.num, dtype=np.bool_)
        self._set_seeds(plan)
        self._rows, self._masks = self._reader.empty(), None
        for i in range(self.num):
            if not self._begin(i):
                self._show(i, 0)  # it plays nothing, but something is seen of it
        return self._seen(), self._mask()

    def step(self, actions: Sequence[Any] | ndarray) -> Moved:
        """What follows one action in each; an episode that ended is followed by a new one."""
        n, idle = self.num, self._over
        chosen = ready_actions(actions, n, self.actions, self._dtype)
        rows, reward = self._reader.empty(), np.zeros(n)
        terminated, truncated = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        done: list[int] = []
        for i, env in enumerate(self._envs):
            if idle[i]:
                rows[i] = self._rows[i]
                continue
            rows[i], reward[i], ended, cut, info = env.step(chosen[i])
            terminated[i], truncated[i] = ended, cut
            if ended or cut:
                done.append(i)
            elif self._masks is not None:
                self._masks[i] = self._allowed(i, info)
        self._rows = rows
        if not np.isfinite(reward).all():
            bad = int((~np.isfinite(reward)).argmax())
            raise self._envs[bad].failed(f"gave the reward {reward[bad]}")
        final = following = self._seen()
        if done:
            self._rows = rows.copy()
            self._over = idle.copy()
            for i in done:
                self._begin(i)
            following = self._seen()
        return Moved(following, final, reward, terminated, truncated, idle, self._mask())

    def state(self) -> dict[str, Any]:
        """Each environment's reset seed and actions since, and what it shows."""
        seen = self._seen()
        return {
            "environments": [
                {"begun": n, **env.history(), "shows": digest(seen[i])}
                for i, (n, env) in enumerate(zip(self._begun, self._envs, strict=True))
            ]
        }

    def restore(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None]:
        """Observations and masks after the same actions.

        Warns where an environment does not come back, which then begins a new episode.
        """
        told = state["environments"]
        if len(told) != self.num:
            raise ConfigError(
                f"the checkpoint has {len(told)} environments, and this run {self.num}. Resume "
                f"with num_envs={len(told)}."
            )
        self._begun = [int(x["begun"]) for x in told]
        self._set_seeds(None)
        self._rows, self._masks = self._reader.empty(), None
        self._over = np.zeros(self.num, dtype=np.bool_)
        for i, env in enumerate(self._envs):
            self._rows[i], info, whole = env.replay(told[i])
            self._note_mask(i, info)
            row = self._reader.one(self._rows[i])
            if not whole or digest(row) != told[i]["shows"]:
                _warn_lost(env)
                self._begin(i)
        return self._seen(), self._mask()

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.env.close()

    def _set_seeds(self, plan: Plan | None) -> None:
        if plan is None:
            numbers = [env.number for env in self._envs]
            seeds = [_endless(self._seed, k, n) for k, n in zip(numbers, self._begun, strict=True)]
        else:
            seeds = [iter(x) for x in plan]
        self._seeds = seeds

    def _begin(self, i: int) -> bool:
        """Whether environment i has another episode, which has then begun."""
        seed = next(self._seeds[i], None)
        if seed is None:
            self._over[i] = True
            return False
        self._begun[i] += 1
        self._show(i, seed)
        return True

    def _show(self, i: int, seed: int) -> None:
        env = self._envs[i]
        observation, info = env.reset(seed)
        if wrong := self._reader.wrong(observation):
            raise env.failed(wrong)
        self._rows[i] = observation
        self._note_mask(i, info)

    def _seen(self) -> ndarray:
        flat = self._reader.flat(self._rows)
        if flat.dtype != np.uint8 and not np.isfinite(flat).all():
            bad = ~np.isfinite(flat.reshape(self.num, -1)).all(1)
            raise self._envs[int(bad.argmax())].failed(
                "gave an observation that is NaN or infinite"
            )
        return flat

    def _note_mask(self, i: int, info: dict[str, Any]) -> None:
        if self._masks is None and "action_mask" in info:
            self._masks = [np.ones(self.actions.choices, dtype=np.bool_)] * self.num
        if self._masks is not None:
            self._masks[i] = self._allowed(i, info)

    def _allowed(self, i: int, info: dict[str, Any]) -> ndarray:
        row = mask_row(info.get("action_mask"), self.actions)
        if isinstance(row, str):
            raise self._envs[i].failed(row)
        return row

    def _mask(self) -> ndarray | None:
        return None if self._masks is None else np.array(self._masks)


def ready_actions(actions: Sequence[Any] | ndarray, num: int, kind: Actions, dtype: Any) -> ndarray:
    """A copy of the actions, [num, *shape], as the environments take them.

    >>> from logpi.worlds.gym.spaces import Actions
    >>> ready_actions([1.0, 0.0], 2, Actions("discrete", (2,)), np.int64)
    array([1, 0])
    """
    return np.array(actions, dtype=dtype).reshape(num, *kind.shape)


def _endless(seed: int, number: int, begun: int) -> Iterator[int]:
    """The seed of every episode: a function of run seed, environment and number of the episode."""
    while True:
        begun += 1
        yield mix(seed, number, begun) % 2**31


def _warn_lost(env: Recorded) -> None:
    warnings.warn(
        f"environment {env.number} does not come back: the same actions after "
        f"`reset(seed={env.seed})` lead elsewhere, so something else decides it too. It begins a "
        "new episode, and the run is not what it would have been without the stop.",
        stacklevel=3,
    )
