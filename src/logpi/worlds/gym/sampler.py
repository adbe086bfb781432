"""Actions for a whole vector of environments at once, without an operation's overhead."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import nn

from logpi.worlds.gym.columns import columns_of
from logpi.worlds.gym.heads import Head
from logpi.worlds.gym.nets import MLP
from logpi.worlds.gym.normalise import Reading
from logpi.worlds.gym.perceptron import activation_of, qualifies, through

__all__ = ["Sampler"]


class Sampler:
    """A policy's actions and their log-probabilities, as a function of uniform numbers.

    It is the policy as it stood when the sampler was made: make one for every rollout. Small
    perceptrons on the CPU run in NumPy; everything else in torch, with the same distribution.
    """

    def __init__(self, reading: Reading, net: nn.Module, head: Head) -> None:
        """Of the parts of a policy."""
        self._reading, self._net = reading, net
        self._columns = columns_of(head, frozen=True)
        self._layers: list[ndarray] = []
        self._room: list[ndarray] = []
        if isinstance(net, MLP) and qualifies(net):
            pairs = (layer.parameters() for layer in net.layers)
            arrays = ([p.detach().numpy() for p in pair] for pair in pairs)
            self._layers = [np.concatenate((w, b[:, None]), 1) for w, b in arrays]
            self._read = reading.array_reader()
            self._f = activation_of(net)

    def __call__(
        self,
        observation: ndarray,
        mask: Bool[ndarray, "n A"] | None,
        u: Float[ndarray, "n k"],
    ) -> tuple[ndarray, Float[ndarray, " n"]]:
        """Actions of n observations [n, *shape], drawn by `u` in (0, 1), and log-probabilities."""
        action, out = self.draw(observation, mask, self.noise(u))
        return action, self.log_prob(out, action, mask)

    def noise(self, u: Float[ndarray, "... k"]) -> Float[ndarray, "... k"]:
        """What `draw` reads of uniform numbers in (0, 1): made for a whole rollout at once."""
        return self._columns.noise(u)

    def draw(
        self, observation: ndarray, mask: Bool[ndarray, "n A"] | None, noise: Float[ndarray, "n k"]
    ) -> tuple[ndarray, Float[ndarray, "o n"]]:
        """Actions of n observations, and the numbers that the net gave, which `log_prob` reads."""
        out = self._numbers(observation)
        return self._columns.sample(out, noise, mask), out

    def log_prob(
        self, out: Float[ndarray, "o n"], action: ndarray, mask: Bool[ndarray, "n A"] | None
    ) -> Float[ndarray, " n"]:
        """Log-probabilities of n actions, of what the net gave when they were drawn."""
        return self._columns.log_prob(out, action, mask, entropy=False)[0]

    def mode(self, observation: ndarray, mask: Bool[ndarray, "n A"] | None = None) -> ndarray:
        """The likeliest actions of n observations [n, *shape]."""
        return self._columns.mode(self._numbers(observation), mask).copy()

    def to_env(self, action: ndarray) -> ndarray:
        """Actions as the environment numbers, bounds or scales them, [n, ...]."""
        return self._columns.to_env(action)

    def _numbers(self, observation: ndarray) -> Float[ndarray, "o n"]:
        """What the net gives, a column an observation."""
        if not self._layers:
            # In one order of memory: another, as after a resume, lets kernels round differently.
            with torch.no_grad():
                out = self._net(self._reading(torch.from_numpy(np.ascontiguousarray(observation))))
            return out.cpu().numpy().T
        n = len(observation)
        if not self._room or self._room[0].shape[1] != n:
            self._make_room(n)
        x = self._read(observation)
        first = self._room[0]
        first[:-1] = x.reshape(n, len(first) - 1).T
        return through(self._layers, first, self._room[1:], self._f)

    def _make_room(self, n: int) -> None:
        """What each layer reads of n observations, with a last row of ones that meets the bias."""
        self._room = [np.ones((w.shape[1], n), dtype=w.dtype) for w in self._layers]
