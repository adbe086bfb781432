"""A time limit for an environment that runs in this process: an alarm, where the system has one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import gymnasium

from logpi.core.errors import ConfigError

__all__ = ["Watched"]


class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose reset or step raises `TimeoutError` once it takes longer than `timeout`.

    The alarm interrupts what Python runs or waits for in the main thread. Native code that does not
    return is beyond it: `mode="async"` ends the process of such an environment. Raises
    `ConfigError` outside of the main thread, and where the system has no alarms.

    >>> from gymnasium.envs.classic_control.cartpole import CartPoleEnv
    >>> Watched(CartPoleEnv(), timeout=5.0).reset(seed=0)[0].shape
    (4,)
    """

    def __init__(self, env: Any, *, timeout: float) -> None:
        """Watch the environment, which may take `timeout` seconds."""
        super().__init__(env)
        main = threading.current_thread() is threading.main_thread()
        if not (main and hasattr(signal, "setitimer")):
            raise ConfigError(
                "world.watch needs the main thread, and a system with alarms. Take mode=async, "
                "which sees hangs everywhere."
            )
        self._timeout = timeout

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The environment's own reset, in time."""
        return self._in_time(lambda: self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The environment's own step, in time."""
        return self._in_time(lambda: self.env.step(action))

    def _in_time(self, call: Callable[[], Any]) -> Any:
        def late(number: int, frame: FrameType | None) -> None:
            del number, frame
            raise TimeoutError(f"it took longer than {self._timeout:g} s (world.step_timeout)")

        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, self._timeout)
        try:
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
