"""A critic on the policy's own layers: one body, two heads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logpi.core.errors import ConfigError
from logpi.core.near import within_reach
from logpi.worlds.gym.nets import CNN, MLP
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.steps import Steps

__all__ = ["SharedValue"]


class SharedValue(nn.Module):
    """V(s): one more number of the layer that the policy's last one reads.

    Its squared error reaches the policy's layers, so both take their steps together, along one
    gradient (A3C, arXiv 1602.01783, section 4; PPO, arXiv 1707.06347, eq. 9). Raises `ConfigError`
    for a policy whose net is a module of one's own.

    >>> from gymnasium import spaces
    >>> policy = GymPolicy(spaces.Box(-1, 1, (4,)), spaces.Discrete(2))
    >>> [name for name, _ in SharedValue(policy).named_parameters()]
    ['head.weight', 'head.bias']
    """

    shares_policy = True

    def __init__(self, policy: GymPolicy, *, seed: int = 0) -> None:
        super().__init__()
        net = policy.net
        if not isinstance(net, MLP | CNN) or len(net.layers) < 2:
            raise ConfigError(
                "the critic reads the layer before the policy's last one, which a module of one's "
                "own or a net without hidden layers does not have. Take shared=False."
            )
        last = net.layers[-1]
        assert isinstance(last, nn.Linear)
        self._policy = (policy,)  # in a tuple, it is no part of this module
        self.head = _value_head(last, seed)

    def named_parameters(
        self, *args: object, **kwargs: object
    ) -> Iterator[tuple[str, nn.Parameter]]:  # type: ignore[override] # its options are not asked for
        """The head's alone: the other layers are the policy's."""
        return ((f"head.{name}", p) for name, p in self.head.named_parameters())

    def value(self, observation: Tensor) -> Float[Tensor, "k 1"]:
        """V of observations [k, *shape], with gradient."""
        policy = self._policy[0]
        return self.head(_features(policy.net, policy.reading(observation)))

    @torch.no_grad()
    def values(self, inputs: Steps) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
        """V(s_t) and V(s_{t+1}), without gradient; the second of what truly followed."""
        n, t = inputs.observation.shape[:2]
        both = (inputs.observation, inputs.final)
        here, after = (self.value(x.flatten(0, 1)).cpu().view(n, t) for x in both)
        return here, after

    def loss(
        self, inputs: Steps, target: Float[Tensor, "n t"], weight: Float[Tensor, "n t"]
    ) -> Float[Tensor, ""]:
        """Σ weight (V(s_t) − target)², its gradient added to the head's and the policy's layers."""
        return self._loss(inputs, target, weight, None, reach=0.0)

    def loss_near(
        self,
        inputs: Steps,
        target: Float[Tensor, "n t"],
        weight: Float[Tensor, "n t"],
        *,
        before: Float[Tensor, "n t"],
        reach: float,
    ) -> Float[Tensor, ""]:
        """The same of the decisions whose value is within reach of `before`: value clipping."""
        return self._loss(inputs, target, weight, before, reach=reach)

    def _loss(
        self, inputs: Steps, target: Tensor, weight: Tensor, before: Tensor | None, *, reach: float
    ) -> Tensor:
        on = weight != 0
        if not on.any():
            return weight.new_zeros(())
        v = self.value(inputs.observation[on])[:, 0]
        wanted, share = target[on].to(v), weight[on].to(v)
        if before is not None:
            share = share * within_reach(v.detach(), before[on].to(v), wanted, reach=reach)
        loss = (share * (v - wanted).square()).sum()
        loss.backward()
        return loss.detach().to(target)


def _value_head(last: nn.Linear, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        head = nn.Linear(last.in_features, 1).to(last.weight)
    nn.init.orthogonal_(head.weight, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(head.bias)
    return head


def _features(net: nn.Module, x: Tensor) -> Tensor:
    """What the last layer of a net reads."""
    assert isinstance(net, MLP | CNN)
    if isinstance(net, CNN):
        x = x.movedim(-1, 1)
        for layer in net.convolutions:
            x = layer(x).relu()
        return net.layers[0](x.flatten(1)).relu()
    x = x.flatten(1)
    between = torch.tanh if net.activation == "tanh" else torch.relu
    for layer in net.layers[:-1]:
        x = between(layer(x))
    return x
