"""Environments in processes of their own, several in each, that move at the same time."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper
from numpy import ndarray

from logpi.core.errors import ConfigError, EnvironmentFailure, LogpiError
from logpi.worlds.gym.history import History, Plan
from logpi.worlds.gym.recorded import failure
from logpi.worlds.gym.spaces import actions_of, observations_of
from logpi.worlds.gym.vector import Moved, Sync, ready_actions, warn_lost

__all__ = ["Async"]

_STARTUP = 600.0  # seconds to make the environments, or to bring them back to where they were
_FAREWELL = 2.0  # seconds that a process is given to close its environments
_HEARTBEAT = 5.0  # seconds after which an idle process looks whether its parent is still there


class Async:
    """Environments in processes of their own; `timeout` seconds are the most that a step may take.

    Each of `workers` processes (by default one a core) has some of them, one after the other as
    `Sync` has them, so the streams and the stored state are those of `Sync`, whatever the number of
    processes. Raises `EnvironmentFailure`, naming number, seed and step, where an environment
    raises, takes too long, or takes its process with it.
    """

    def __init__(
        self,
        make: Sequence[Callable[[], Any]],
        seed: int,
        *,
        timeout: float,
        workers: int | None = None,
    ) -> None:
        """`make` makes one environment each, in its process."""
        self.num, self._timeout = len(make), timeout
        one = make[0]()
        self.observations = observations_of(one.observation_space)
        self.actions, self._dtype = actions_of(one.action_space), one.action_space.dtype
        self._history = History(self.num, seed, self.actions, self._dtype)
        self._shown = np.empty(0)  # [n, *shape] what the next action reads
        one.close()
        count = min(self.num, workers or _cores())
        self._cuts = [self.num * w // count for w in range(count + 1)]
        self._boards: list[Any] = []
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        # Forked where that is safe to do: nothing is imported again, and scripts need no guard.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        for first, last in zip(self._cuts, self._cuts[1:], strict=False):
            self._start(context, make[first:last], first, seed)
        self._end = weakref.finalize(self, _end, self._pipes, self._processes)
        try:
            self._gather(_STARTUP)
        except BaseException:
            self.close()
            raise

    def reset(self, plan: Plan | None = None) -> tuple[ndarray, ndarray | None]:
        """First observations, and masks of the first action."""
        self._history.restart(plan)
        for i in range(self.num):
            self._history.begin(i)
        parts = [None if plan is None else plan[a:b] for a, b in self._spans()]
        self._shown, mask = _joined_first(self._ask("reset", parts, self._timeout))
        return self._shown, mask

    def step(self, actions: Sequence[Any] | ndarray) -> Moved:
        """What follows one action in each; an episode that ended is followed by a new one."""
        chosen = ready_actions(actions, self.num, self.actions, self._dtype)
        self._history.add(chosen)
        try:
            moved = _joined(
                self._ask("step", [chosen[a:b] for a, b in self._spans()], self._timeout)
            )
        except EnvironmentFailure as error:
            self._history.explain(error)
            raise
        for i in np.flatnonzero(moved.terminated | moved.truncated):
            self._history.begin(int(i))
        self._shown = moved.observation
        return moved

    def mark(self) -> None:
        """Let `state` tell of this place from now on."""
        self._history.mark(self._shown)

    def state(self) -> dict[str, Any]:
        """Each environment's reset seed and actions until the mark, and what it showed there.

        It is known here: also once a process hangs or is gone.
        """
        return self._history.state()

    def restore(self, state: dict[str, Any]) -> tuple[ndarray, ndarray | None, list[int]]:
        """Observations and masks after the same actions.

        Warns where an environment does not come back, which then begins a new episode.
        """
        self._history.restore(state)
        told = state["environments"]
        parts = [{"environments": told[a:b]} for a, b in self._spans()]
        found = self._ask("replay", parts, _STARTUP)
        lost = [number for *_, numbers in found for number in numbers]
        for number in lost:
            warn_lost(number)
            self._history.begin(number)
        self._shown, mask = _joined_first([(seen, mask) for seen, mask, _ in found])
        self.mark()
        return self._shown, mask, lost

    def close(self) -> None:
        """End the processes, also one that hangs."""
        self._end()

    def _start(self, context: Any, make: Sequence[Any], first: int, seed: int) -> None:
        here, there = context.Pipe()
        board = context.RawArray(ctypes.c_int64, 3)
        process = context.Process(
            target=_serve,
            args=(there, [CloudpickleWrapper(f) for f in make], seed, first, board),
            name=f"environments from {first}",
            daemon=True,
        )
        process.start()
        there.close()
        self._boards.append(board)
        self._pipes.append(here)
        self._processes.append(process)

    def _spans(self) -> list[tuple[int, int]]:
        return list(zip(self._cuts, self._cuts[1:], strict=False))

    def _ask(self, name: str, parts: Sequence[Any] | None, timeout: float) -> list[Any]:
        if not self._end.alive:
            raise ConfigError("the environments are closed. Make them again with make_vector.")
        try:
            for w, pipe in enumerate(self._pipes):
                try:
                    pipe.send((name, () if parts is None else (parts[w],)))
                except (BrokenPipeError, ConnectionResetError) as error:
                    raise self._lost(w) from error
            return self._gather(timeout)
        except BaseException:  # Ctrl-C too: who answers later is not listened to
            self.close()
            raise

    def _gather(self, timeout: float) -> list[Any]:
        found, until = [], time.monotonic() + timeout
        for w, pipe in enumerate(self._pipes):
            try:
                if not pipe.poll(max(0.0, until - time.monotonic())):
                    number, seed, step = self._boards[w]
                    slow = f"took longer than {timeout:g} s (world.step_timeout)"
                    raise failure(number, slow, seed=seed, step=step)
                fine, answer = pipe.recv()
            except (EOFError, ConnectionResetError) as error:
                raise self._lost(w) from error
            if not fine:
                raise answer
            found.append(answer)
        return found

    def _lost(self, w: int) -> EnvironmentFailure:
        process = self._processes[w]
        process.join(_FAREWELL)
        number, seed, step = self._boards[w]
        return failure(
            number, f"ended its process (exit code {process.exitcode})", seed=seed, step=step
        )


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _serve(pipe: Connection, make: Any, seed: int, first: int, board: Any) -> None:
    """The process: a `Sync` that does what comes through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    board[:] = (first, 0, 0)
    try:
        envs = Sync(make, seed, first=first, board=board)
        pipe.send((True, None))
        with contextlib.suppress(EOFError):
            while (asked := _next(pipe)) is not None:
                name, given = asked
                pipe.send((True, getattr(envs, name)(*given)))
        envs.close()
    except LogpiError as error:
        pipe.send((False, error))
    except Exception as error:
        what = f"raised {type(error).__name__}: {error}"
        pipe.send((False, failure(board[0], what, seed=board[1], step=board[2])))


def _next(pipe: Connection) -> Any:
    """What the parent asks next; None where it is gone, which a killed parent does not say."""
    parent = os.getppid()
    while not pipe.poll(_HEARTBEAT):
        if os.getppid() != parent:
            return None
    return pipe.recv()


def _end(pipes: list[Connection], processes: list[Any]) -> None:
    for pipe in pipes:
        with contextlib.suppress(OSError):
            pipe.send(None)
    until = time.monotonic() + _FAREWELL
    for process, pipe in zip(processes, pipes, strict=True):
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        pipe.close()


def _joined_first(
    parts: Sequence[tuple[ndarray, ndarray | None]],
) -> tuple[ndarray, ndarray | None]:
    return np.concatenate([x for x, _ in parts]), _joined_masks([(m, len(x)) for x, m in parts])


def _joined(parts: Sequence[Moved]) -> Moved:
    if len(parts) == 1:
        return parts[0]
    names = ("observation", "reward", "terminated", "truncated", "idle")
    whole: dict[str, Any] = {k: np.concatenate([getattr(p, k) for p in parts]) for k in names}
    ended = any(p.final is not p.observation for p in parts)
    whole["final"] = np.concatenate([p.final for p in parts]) if ended else whole["observation"]
    whole["action_mask"] = _joined_masks([(p.action_mask, len(p.idle)) for p in parts])
    return Moved(**whole)


def _joined_masks(masks: Sequence[tuple[ndarray | None, int]]) -> ndarray | None:
    width = next((m.shape[1] for m, _ in masks if m is not None), None)
    if width is None:
        return None
    return np.concatenate([np.ones((n, width), np.bool_) if m is None else m for m, n in masks])
