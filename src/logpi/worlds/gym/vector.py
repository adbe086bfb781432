"""Several environments at once, with the observation that truly followed every action.

Gymnasium resets an environment that is done in one of two ways: in the same step, or in the next
one, whose action is then ignored. `Moved` hides neither: `final` is what followed the action, also
where the episode ended, and `idle` marks steps that only reset, or that nobody asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, MutableSequence, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy import ndarray

from logpi.core.errors import EnvironmentFailure
from logpi.worlds.gym.finite import all_finite
from logpi.worlds.gym.history import History, Plan
from logpi.worlds.gym.recorded import Recorded, digest
from logpi.worlds.gym.spaces import Actions, Observations, Reader, actions_of, mask_row

__all__ = ["Moved", "Sync", "Vector", "ready_actions", "warn_lost"]


class Moved(NamedTuple):
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

    def mark(self) -> None:
        """Let `state` tell of this place from now on, wherever the environments go."""
        ...

    def state(self) -> dict[str, Any]:
        """What brings the environments back to the marked place, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None, list[int]]:
        """Observations and masks at that place; which environments begin a new episode instead."""
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
        self.num = len(self._envs)
        space = self._envs[0].env.action_space
        self.actions, self._dtype = actions_of(space), space.dtype
        self._reader = Reader(self._envs[0].env.observation_space, self.num)
        self.observations = self._reader.observations
        self._history = History(self.num, seed, self.actions, self._dtype, first=first)
        self._rows: list[Any] = []  # the observations as the environments gave them
        self._masks: list[ndarray] | None = None
        self._shown = np.empty(0)  # [n, *shape] what the next action reads

    def reset(self, plan: Plan | None = None) -> tuple[ndarray, ndarray | None]:
        """First observations, and masks of the first action."""
        self._history.restart(plan)
        self._rows, self._masks = [None] * self.num, None
        for i in range(self.num):
            if not self._begin(i):
                self._show(i, 0)  # it plays nothing, but something is seen of it
        self._shown = self._seen()
        return self._shown, self._mask()

    def step(self, actions: Sequence[Any] | ndarray) -> Moved:
        """What follows one action in each; an episode that ended is followed by a new one."""
        chosen = ready_actions(actions, self.num, self.actions, self._dtype)
        self._history.add(chosen)
        try:
            return self._step(chosen)
        except EnvironmentFailure as error:
            self._history.explain(error)
            raise

    def _step(self, chosen: ndarray) -> Moved:
        n, idle = self.num, self._history.over
        rows, reward, done = self._rows.copy(), [0.0] * n, list[int]()
        terminated, truncated = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        waits = idle.tolist()
        for i, (env, action) in enumerate(zip(self._envs, chosen, strict=True)):
            if waits[i]:
                continue
            rows[i], reward[i], ended, cut, info = env.step(action)
            if ended or cut:
                terminated[i], truncated[i] = ended, cut
                done.append(i)
            elif info or self._masks is not None:
                self._note_mask(i, info)
        self._rows = rows
        paid = np.array(reward, dtype=np.float64)
        if not all_finite(paid):
            bad = int((~np.isfinite(paid)).argmax())
            raise self._envs[bad].failed(f"gave the reward {reward[bad]}")
        final = self._shown = self._seen()
        if done:
            self._rows = rows.copy()
            for i in done:
                self._begin(i)
            self._shown = self._seen()
        return Moved(self._shown, final, paid, terminated, truncated, idle, self._mask())

    def mark(self) -> None:
        """Let `state` tell of this place from now on."""
        self._history.mark(self._shown)

    def state(self) -> dict[str, Any]:
        """Each environment's reset seed and actions until the mark, and what it showed there."""
        return self._history.state()

    def restore(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None, list[int]]:
        """Observations and masks after the same actions.

        Warns where an environment does not come back, which then begins a new episode.
        """
        seen, mask, lost = self.replay(state)
        for number in lost:
            warn_lost(number)
        return seen, mask, lost

    def replay(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None, list[int]]:
        """The same, and the numbers of those that did not come back, which begin a new episode."""
        lost: list[int] = []
        self._rows, self._masks = [None] * self.num, None
        for i, running in enumerate(self._history.restore(state)):
            env = self._envs[i]
            self._rows[i], info, whole = env.replay(running.seed, running.actions)
            self._note_mask(i, info)
            if not whole or self._looks(i) != running.shows:
                lost.append(env.number)
                self._begin(i)
        self._shown = self._seen()
        self.mark()
        return self._shown, self._mask(), lost

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.env.close()

    def _begin(self, i: int) -> bool:
        """Whether environment i has another episode, which has then begun."""
        seed = self._history.begin(i)
        if seed is not None:
            self._show(i, seed)
        return seed is not None

    def _show(self, i: int, seed: int) -> None:
        self._rows[i], info = self._envs[i].reset(seed)
        self._note_mask(i, info)

    def _looks(self, i: int) -> str:
        """What tells the observation of environment i from others."""
        if wrong := self._reader.wrong(self._rows[i]):
            raise self._envs[i].failed(wrong)
        return digest(self._reader.one(self._rows[i]))

    def _seen(self) -> ndarray:
        try:
            flat = self._reader.flat(self._rows)
        except Exception:  # one of them is no observation of this space
            for i in range(self.num):
                self._looks(i)
            raise
        if not all_finite(flat):
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


def warn_lost(number: int) -> None:
    """Nothing; a warning that this environment does not come back.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_lost(3)
    >>> str(caught[0].message)[:33]
    'environment 3 does not come back:'
    """
    warnings.warn(
        f"environment {number} does not come back: the same actions after the same reset lead "
        "elsewhere, so something else decides it too. It begins a new episode, and the run is not "
        "what it would have been without the stop; with world.renew=true it would be, where what "
        "else decides is what earlier episodes left in the environment.",
        stacklevel=3,
    )
