"""Bandits: one decision, one reward."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.tables import check_at_least, from_outcomes, normal_points

__all__ = ["bandit"]


def bandit(
    means: ArrayLike = (0.2, 0.5, 0.8),
    *,
    deviation: float = 0.0,
    points: int = 11,
    policy: ArrayLike | None = None,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return a k-armed bandit: arm a pays `means[a]`, and the episode is over.

    `means` [k], or [contexts, k]: then one of several bandits is drawn, uniformly, and seen. With a
    `deviation` the reward is noisy: one of `points` values with the moments of N(mean, deviation²)
    up to 2·points − 1, each with its own terminal state. `policy` [k] or [contexts, k], where
    given, is what the model comes with. Sutton & Barto, chapter 2.

    >>> m = bandit([1.0, -1.0])
    >>> m.reward[0], m.terminal
    (array([ 1., -1.]), array([False, True]))
    """
    table = np.atleast_2d(np.asarray(means, float))
    contexts, arms = table.shape
    check_at_least(arms=(arms, 1))
    noise, weight = normal_points(deviation, points)
    states = contexts + len(noise)
    successor = np.broadcast_to(np.arange(contexts, states), (states, arms, len(noise)))
    reward = np.zeros((states, arms, len(noise)))
    reward[:contexts] = table[..., None] + noise
    held = np.zeros((states, arms))
    held[:contexts] = 0.0 if policy is None else policy
    names = ["pull"] if contexts == 1 else [f"context {i}" for i in range(contexts)]
    ends = ["end"] if len(noise) == 1 else [f"noise {x:+.3g}" for x in noise]
    return from_outcomes(
        successor, weight, reward, discount,
        terminal=np.arange(contexts, states),
        policy=None if policy is None else held,
        layout=Layout(states=(*names, *ends), actions=tuple(f"arm {a}" for a in range(arms))),
        name="bandit",
    )  # fmt: skip
