"""What is compared: an environment, how it is played, and the settings of both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LINES", "Line"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: PPO, two nets of 64 × 64 tanh, float32, one thread."""

    env: str
    envs: int
    steps: int  # decisions of each environment an iteration
    batch: int  # decisions a mini-batch
    epochs: int
    iterations: int  # that are timed, after one that is not
    mode: str = "sync"  # of our side and skrl; Stable-Baselines3 steps one after the other
    ratio: float | None = None  # asked for, against Stable-Baselines3
    rate: float | None = None  # asked for, steps per CPU second
    learn: int | None = None  # decisions at most until a mean return of 475
    rl: float = 3e-4
    lam: float = 0.95
    discount: float = 0.99
    decay: str = "constant"  # of learning rate and clipping

    @property
    def decisions(self) -> int:
        """Decisions an iteration."""
        return self.envs * self.steps

    @property
    def minibatches(self) -> int:
        """Steps of the optimizer an epoch."""
        return self.decisions // self.batch


_ZOO: dict[str, Any] = {"rl": 1e-3, "lam": 0.8, "discount": 0.98, "decay": "linear"}

LINES = {
    "cartpole": Line("CartPole-v1", 8, 128, 256, 4, 40, ratio=4),
    "cartpole vector": Line("CartPole-v1", 8, 128, 256, 4, 40, "vector_entry_point", ratio=4.5),
    "cartpole wide": Line("CartPole-v1", 1024, 32, 4096, 4, 8, "vector_entry_point", rate=140_000),
    "cartpole to 475": Line("CartPole-v1", 8, 32, 256, 20, 391, ratio=2.5, learn=100_000, **_ZOO),
    "cartpole to 475 vector": Line(
        "CartPole-v1", 8, 32, 256, 20, 391, "vector_entry_point", learn=100_000, **_ZOO
    ),
    "pendulum": Line("Pendulum-v1", 4, 1024, 64, 10, 4, ratio=5),
    "lunarlander": Line("LunarLander-v3", 8, 128, 256, 4, 20, ratio=1),
    "hopper": Line("Hopper-v5", 4, 256, 64, 10, 8, ratio=1),
}
