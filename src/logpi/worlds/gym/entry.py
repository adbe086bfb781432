"""Environments that are many by themselves: Gymnasium's vector environments, as they are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import concatenate, create_empty_array
from numpy import ndarray

from logpi.core.errors import ConfigError, EnvironmentFailure, LogpiError
from logpi.core.seeds import mix
from logpi.worlds.gym.finite import all_finite
from logpi.worlds.gym.history import Plan
from logpi.worlds.gym.recorded import failure, packed, unpacked
from logpi.worlds.gym.snapshot import put_back, snapshot
from logpi.worlds.gym.spaces import actions_of, mask_row, observations_of
from logpi.worlds.gym.vector import Moved, ready_actions

__all__ = ["Entry"]


class Entry:
    """A Gymnasium `VectorEnv`, which decides itself how episodes follow one another.

    One that resets in the next step has idle steps. Its state is what its attributes hold; one
    that is not `stored` begins new episodes when a run is resumed. Raises `ConfigError` where the
    environment does not say how it resets.
    """

    def __init__(self, env: Any, seed: int, *, stored: bool = True) -> None:
        """Wrap the environment."""
        self._env, self._run_seed, self._stored = env, seed, stored
        self.num: int = env.num_envs
        self.observations = observations_of(env.single_observation_space)
        self.actions = actions_of(env.single_action_space)
        self._dtype = env.single_action_space.dtype
        self._autoreset = _autoreset_of(env)
        self._seed = self._steps = 0
        self._all = f"0..{self.num - 1}"
        self._nobody = np.zeros(self.num, dtype=np.bool_)
        self._nobody.flags.writeable = False
        self._ended, self._over = self._nobody, False  # whose last step ended; whether one did
        self._left: ndarray | None = None  # [n] episodes of the plan that are not over
        self._now: tuple[ndarray, ndarray | None] | None = None
        self._place: dict[str, Any] = {}

    def reset(self, plan: Plan | None = None) -> tuple[ndarray, ndarray | None]:
        """First observations, and masks of the first action.

        A plan only says how many episodes each plays: raises `ConfigError` where it gives one seed
        to several, because such an environment has one seed for all.
        """
        seeds = [seed for x in plan or () for seed in x]
        if len(seeds) != len(set(seeds)):
            raise ConfigError(
                "episodes that share a reset seed need environments that are reset one by one. "
                "Take mode=sync or mode=async."
            )
        self._left = None if plan is None else np.array([len(x) for x in plan])
        return self._reset(mix(self._run_seed, *seeds) % 2**31)

    def step(self, actions: Sequence[Any] | ndarray) -> Moved:
        """What follows one action in each."""
        chosen = ready_actions(actions, self.num, self.actions, self._dtype)
        idles = self._autoreset is AutoresetMode.NEXT_STEP and self._over
        idle = self._ended if idles else self._nobody
        if self._left is not None:
            idle = idle | (self._left <= 0)
        self._steps += 1
        try:
            observation, reward, terminated, truncated, infos = self._env.step(chosen)
        except Exception as error:
            raise self._raised(error) from error
        try:
            ends = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
            return self._moved(idle, observation, np.array(reward, np.float64), ends, infos)
        except Exception as error:
            raise self._unread(error, "step") from error

    def _moved(
        self,
        idle: ndarray,
        observation: Any,
        reward: ndarray,
        ends: tuple[ndarray, ndarray],
        infos: dict[str, Any],
    ) -> Moved:
        """What the environment gave, read."""
        terminated, truncated = ends
        if not reward.shape == terminated.shape == truncated.shape == idle.shape:
            told = ", ".join(str(list(x.shape)) for x in (reward, *ends))
            raise self._failed(self._all, f"gave rewards and ends {told} instead of [{self.num}]")
        done = terminated | truncated
        self._over = np.count_nonzero(done) > 0  # quicker than `any`
        following = final = self._flat(observation)
        if self._over and self._autoreset is AutoresetMode.SAME_STEP:
            if "final_obs" not in infos:
                raise self._failed(self._all, "ended an episode without infos['final_obs']")
            final = self._finals(following, infos["final_obs"], done)
        elif self._over and self._autoreset is AutoresetMode.DISABLED:
            following, infos = self._begin(done, infos)
        if idle is not self._nobody:
            reward[idle] = 0.0
            terminated[idle] = truncated[idle] = False
        self._check(following, final, reward)
        self._ended = done
        self._now = (following, self._mask(infos, done))
        if self._left is not None:
            self._left = self._left - (done & ~idle)
        return Moved(following, final, reward, terminated, truncated, idle, self._now[1])

    def mark(self) -> None:
        """Let `state` tell of this place from now on.

        It is told by the environment's attributes, its random generators among them. Raises
        `ConfigError`, naming the attribute, where one cannot be stored.
        """
        self._place = {"seed": self._seed, "steps": self._steps}
        if not self._stored or self._now is None:
            return
        observation, mask = self._now
        self._place |= {
            "environment": snapshot(self._env),
            "ended": self._ended.tolist(),
            "observation": packed(observation),
            "mask": None if mask is None else packed(mask),
        }

    def state(self) -> dict[str, Any]:
        """The marked place, as JSON."""
        return self._place

    def restore(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None, list[int]]:
        """Observations and masks at that place; new episodes where the state was not stored."""
        if "environment" not in state:
            warnings.warn(
                "these environments cannot be brought back to where they were. They begin new "
                "episodes, and the run is not what it would have been without the stop.",
                stacklevel=2,
            )
            # From the last seed, so that stops after equally many steps do not begin alike.
            seen, mask = self._reset(mix(int(state["seed"]), int(state["steps"])) % 2**31)
            self.mark()
            return seen, mask, list(range(self.num))
        if len(state["ended"]) != self.num:
            raise ConfigError(
                f"the checkpoint has {len(state['ended'])} environments, and this run {self.num}. "
                f"Resume with num_envs={len(state['ended'])}."
            )
        self._reset(int(state["seed"]))  # makes what only a reset makes
        put_back(self._env, state["environment"])
        self._steps = int(state["steps"])
        self._ended = np.array(state["ended"], dtype=np.bool_)
        self._over = bool(self._ended.any())
        mask = None if state["mask"] is None else unpacked(state["mask"])
        self._now, self._place = (unpacked(state["observation"]), mask), state
        return *self._now, []

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _reset(self, seed: int) -> tuple[ndarray, ndarray | None]:
        self._seed, self._steps = seed, 0
        self._ended, self._over = self._nobody, False
        try:
            observation, infos = self._env.reset(seed=seed)
        except Exception as error:
            raise self._raised(error) from error
        try:
            seen = self._flat(observation)
            self._check(seen, seen, np.zeros(self.num))
            self._now = (seen, self._mask(infos, self._ended))
        except Exception as error:
            raise self._unread(error, "reset") from error
        return self._now

    def _begin(self, done: ndarray, before: dict[str, Any]) -> tuple[ndarray, dict[str, Any]]:
        """New episodes where one ended: their infos there, and elsewhere those of before."""
        try:
            observation, infos = self._env.reset(options={"reset_mask": done.copy()})
        except Exception as error:
            raise self._raised(error) from error
        if "action_mask" in before:
            told = [(infos if ended else before).get("action_mask") for ended in done]
            infos = {**infos, "action_mask": [_mask_of(x, i) for i, x in enumerate(told)]}
        return self._flat(observation), infos

    def _flat(self, observation: Any) -> ndarray:
        """A copy: the environment may write the next observation where it wrote this one."""
        try:
            return np.array(self.observations.flatten(observation, self.num))
        except Exception as error:
            space, told = self._env.single_observation_space, f"{type(error).__name__}: {error}"
            raise self._failed(
                self._all, f"gave observations that are not in {space} ({told})"
            ) from error

    def _finals(self, following: ndarray, finals: Any, done: ndarray) -> ndarray:
        """Where an episode ended, what it showed last; elsewhere what follows."""
        out, space = following.copy(), self._env.single_observation_space
        for i in np.flatnonzero(done):
            one = [_entry(finals, int(i), space)]
            batch = concatenate(space, one, create_empty_array(space, 1))
            out[i] = self.observations.flatten(batch, 1)[0]
        return out

    def _mask(self, infos: dict[str, Any], ended: ndarray) -> ndarray | None:
        masks = infos.get("action_mask")
        if masks is None:
            if self._now is not None and self._now[1] is not None and self._steps:
                raise self._failed(0, "gave no action mask, but gave one before")
            return None
        rows: list[ndarray] = []
        ignored = ended & (self._autoreset is AutoresetMode.NEXT_STEP)
        for i in range(self.num):
            row = mask_row(_mask_of(masks, i), self.actions)
            if ignored[i]:  # the next action is not read
                row = np.ones(self.actions.choices, dtype=np.bool_)
            if isinstance(row, str):
                raise self._failed(i, row)
            rows.append(row)
        return np.array(rows)

    def _check(self, following: ndarray, final: ndarray, reward: ndarray) -> None:
        if not all_finite(reward):
            bad = int((~np.isfinite(reward)).argmax())
            raise self._failed(bad, f"gave the reward {reward[bad]}")
        for seen in (following,) if final is following else (following, final):
            if not all_finite(seen):
                bad = int((~np.isfinite(seen.reshape(self.num, -1)).all(1)).argmax())
                raise self._failed(bad, "gave an observation that is NaN or infinite")

    def _raised(self, error: Exception) -> EnvironmentFailure:
        return self._failed(self._all, f"raised {type(error).__name__}: {error}")

    def _unread(self, error: Exception, what: str) -> Exception:
        """Why what the environment gave could not be read."""
        if isinstance(error, LogpiError):  # which says it already
            return error
        told = f"{type(error).__name__}: {error}"
        return self._failed(self._all, f"gave a {what} that cannot be read ({told})")

    def _failed(self, number: int | str, what: str) -> EnvironmentFailure:
        return failure(number, what, seed=self._seed, step=self._steps)


def _mask_of(masks: Any, i: int) -> Any:
    """The i-th environment's of a batch of action masks, where there are any."""
    if masks is None:
        return None
    return tuple(m[i] for m in masks) if isinstance(masks, tuple) else masks[i]


def _entry(batch: Any, i: int, space: Any) -> Any:
    """The i-th of a batch of observations, which may be dictionaries or tuples of arrays."""
    if isinstance(batch, dict):
        return {key: _entry(batch[key], i, space[key]) for key in space.spaces}
    if isinstance(batch, tuple):
        return tuple(_entry(x, i, s) for x, s in zip(batch, space.spaces, strict=True))
    return batch[i]


def _autoreset_of(env: Any) -> AutoresetMode:
    mode = env.metadata.get("autoreset_mode")
    if isinstance(mode, AutoresetMode):
        return mode
    raise ConfigError(
        f"{type(env).__name__} does not say in metadata['autoreset_mode'] when it resets (found "
        f"{mode!r}), and so what its last observations are. Take mode=sync, or have it say so."
    )
