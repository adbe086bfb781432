"""Policy and critic in closed form: what the mini-batches of a rollout are made of.

The gradient of a log-probability along a net's numbers is known (`columns`), and that of a small
perceptron along its weights is one product a layer (`perceptron`). Where a net does not qualify
(another module, another device), or reads more than states, autograd does it.
"""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float, Int
from numpy import ndarray
from torch import nn

from logpi.core.closed import Forward
from logpi.core.types import Critic
from logpi.worlds.gym.columns import Pushes, columns_of
from logpi.worlds.gym.critic import ValueNet
from logpi.worlds.gym.normalise import Reading
from logpi.worlds.gym.perceptron import Perceptron, with_ones
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.steps import Steps

__all__ = ["ClosedNets", "closed_nets"]


class ClosedNets:
    """The `ClosedForm` of a policy, and of a critic where there is one, for these decisions."""

    def __init__(
        self,
        policy: GymPolicy,
        nets: tuple[Perceptron, Perceptron | None],
        inputs: Steps,
        critic: ValueNet | None,
    ) -> None:
        """Each decision a row of its own; observations are read once for all mini-batches."""
        self._actor, self._critic = nets
        self._columns = columns_of(policy.head)
        seen = inputs.observation[:, 0].numpy()
        self._observed = [_read(policy.reading, seen)]
        if critic is not None:
            same = critic.reading.reads_as(policy.reading)
            self._observed.append(self._observed[0] if same else _read(critic.reading, seen))
        self._action = inputs.action[:, 0].numpy()
        self._mask = None if inputs.action_mask is None else inputs.action_mask[:, 0].numpy()
        self._into = [_gradients(self._actor), _gradients(self._critic)]
        # A Gaussian's free log σ, if there is one: the head has no other parameter.
        self._spread = next(map(_gradient, policy.head.parameters()), None)
        self._all = self._arranged = (self._observed, self._action, self._mask)
        self._saved: Any = None  # what the distribution's slope reads

    def arrange(self, order: Int[ndarray, " n"]) -> None:
        """Bring the decisions into this order."""
        observed, action, mask = self._all
        ordered = [observed[0].take(order, 1)]
        ordered += [ordered[0] if x is observed[0] else x.take(order, 1) for x in observed[1:]]
        self._arranged = (ordered, action[order], None if mask is None else mask[order])

    def forward(self, part: slice, *, entropy: bool) -> Forward:
        """Log-probabilities, entropies and values of the decisions of this slice."""
        observed, action, mask = self._arranged
        allowed = None if mask is None else mask[part]
        out = self._actor.forward(observed[0][:, part])
        told = self._columns.log_prob(out, action[part], allowed, entropy=entropy)
        logp, surprise, self._saved = told
        value = None if self._critic is None else self._critic.forward(observed[1][:, part])[0]
        return Forward(logp, surprise, value)

    def backward(self, logp: ndarray, entropy: ndarray | None, value: ndarray | None) -> None:
        """Write the gradient of a loss with these slopes over the parameters' own."""
        slope, along = self._columns.slope(self._saved, Pushes(logp, entropy))
        self._actor.backward(slope, self._into[0])
        if along is not None and self._spread is not None:
            self._spread[...] = along
        if value is not None and self._critic is not None:
            self._critic.backward(value[None], self._into[1])


def _read(reading: Reading, seen: ndarray) -> Float[ndarray, "i+1 k"]:
    return with_ones(reading.of_array(seen).reshape(len(seen), math.prod(seen.shape[1:])))


def _gradients(net: Perceptron | None) -> list[ndarray]:
    return [] if net is None else [_gradient(p) for p in net.parameters]


def _gradient(p: nn.Parameter) -> ndarray:
    assert p.grad is not None  # `closed_nets` has looked
    return p.grad.numpy()


def closed_nets(
    policy: GymPolicy, critic: Critic | None, inputs: Steps, *, entropy: bool
) -> ClosedNets | None:
    """Both in closed form, of decisions that are rows of their own; None where one is not."""
    # The entropy of a squashed Gaussian is a quadrature, which autograd differentiates.
    if (entropy and policy.options["squash"]) or not inputs.observation.is_cpu:
        return None
    if type(policy) is not GymPolicy or (critic is not None and type(critic) is not ValueNet):
        return None
    actor, valuer = policy.closed(), None if critic is None else critic.closed()
    if actor is None or (critic is not None and valuer is None):
        return None
    trained = [*actor.parameters, *policy.head.parameters()]
    trained += [] if valuer is None else valuer.parameters
    if any(p.grad is None or not p.requires_grad or p.dtype != trained[0].dtype for p in trained):
        return None
    return ClosedNets(policy, (actor, valuer), inputs, critic)
