"""Nets from observations to numbers: small multilayer perceptrons, Nature's CNN, or one's own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logpi.core.errors import ConfigError, ShapeError
from logpi.core.nearest import did_you_mean

__all__ = ["ACTIVATIONS", "CNN", "MLP", "net_of"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
"""What stands between two layers, by name."""

_NETS = ("auto", "mlp", "cnn")
_SMALLEST = 36  # the side of the smallest image that Nature's three convolutions leave anything of


class MLP(nn.Module):
    """Layers of `hidden` units, an activation after each but the last: [k, *shape] to [k, outputs].

    Weights are orthogonal, √2 long between hidden layers and `gain` long in the last one, and
    biases 0 (Saxe et al., arXiv 1312.6120; the gains are those of PPO's implementations).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        gain: float = 1.0,
        orthogonal: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(
                f"activation is {activation!r}, but must be one of {sorted(ACTIVATIONS)}."
                f"{did_you_mean(activation, ACTIVATIONS)}"
            )
        if not all(width > 0 for width in hidden):
            raise ConfigError(f"hidden is {tuple(hidden)}, but every layer needs a unit.")
        self.activation = activation
        widths = [inputs, *hidden, outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self._between = ACTIVATIONS[activation]()
        for i, layer in enumerate(self.layers if orthogonal else ()):
            _orthogonal(layer, gain if i == len(hidden) else math.sqrt(2), generator)

    def forward(self, x: Float[Tensor, "k ..."]) -> Float[Tensor, "k o"]:
        """W_L f(… f(W_1 x + b_1) …) + b_L."""
        x = x.flatten(1)
        for i, layer in enumerate(self.layers):
            x = layer(self._between(x) if i else x)
        return x


class CNN(nn.Module):
    """Three convolutions and a layer of 512: [k, height, width, channels] bytes to [k, outputs].

    Mnih et al., Human-level control through deep reinforcement learning, Nature 518 (2015).
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        gain: float = 1.0,
        orthogonal: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        height, width, channels = shape
        if min(height, width) < _SMALLEST:
            raise ConfigError(
                f"images are {height} × {width}, but the CNN needs {_SMALLEST} × {_SMALLEST} at "
                'least. Take net="mlp", a torch.nn.Module, or '
                "gymnasium.wrappers.ResizeObservation."
            )
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3, 1)]
        )
        flat = 64 * _left(height) * _left(width)
        self.layers = nn.ModuleList([nn.Linear(flat, 512), nn.Linear(512, outputs)])
        if orthogonal:
            for layer in [*self.convolutions, self.layers[0]]:
                _orthogonal(layer, math.sqrt(2), generator)
            _orthogonal(self.layers[1], gain, generator)

    def forward(self, x: Float[Tensor, "k h w c"]) -> Float[Tensor, "k o"]:
        """The numbers of images whose bytes were brought to between 0 and 1."""
        x = x.movedim(-1, 1)
        for layer in self.convolutions:
            x = layer(x).relu()
        return self.layers[1](self.layers[0](x.flatten(1)).relu())


def net_of(
    net: str | nn.Module,
    shape: Sequence[int],
    outputs: int,
    *,
    image: bool = False,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    gain: float = 1.0,
    init: str = "orthogonal",
    seed: int = 0,
) -> nn.Module:
    """A net from observations of `shape` to `outputs` numbers; "auto" is a CNN for images only.

    `init` is "orthogonal", or "torch" for PyTorch's own. Raises `ConfigError` for an unknown name,
    and `ShapeError` where a module of one's own gives something else than [k, outputs].

    >>> net_of("auto", (4,), 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    if isinstance(net, nn.Module):
        _check(net, shape, outputs)
        return net
    if net not in _NETS:
        raise ConfigError(
            f"net is {net!r}, but must be one of {_NETS} or a torch.nn.Module."
            f"{did_you_mean(net, _NETS)}"
        )
    if net == "cnn" and not image:
        raise ConfigError(
            f'net="cnn" reads images of bytes, [height, width, channels], but an observation is '
            f'{list(shape)} numbers. Take net="mlp".'
        )
    draws = torch.Generator().manual_seed(seed)
    told: dict[str, Any] = {"gain": gain, "orthogonal": init == "orthogonal", "generator": draws}
    with torch.random.fork_rng(devices=[]):  # layers draw weights, which ours replace
        torch.manual_seed(seed)
        if image and net != "mlp":
            return CNN(shape, outputs, **told)
        return MLP(math.prod(shape), outputs, hidden=hidden, activation=activation, **told)


def _orthogonal(layer: nn.Module, gain: float, generator: torch.Generator | None) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _left(side: int) -> int:
    for size, stride in ((8, 4), (4, 2), (3, 1)):
        side = (side - size) // stride + 1
    return side


def _check(net: nn.Module, shape: Sequence[int], outputs: int) -> None:
    dtype = next((p.dtype for p in net.parameters()), torch.float32)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    was = net.training
    try:
        with torch.no_grad():
            out = net.eval()(torch.zeros(2, *shape, dtype=dtype, device=device))
    except Exception as error:
        raise ShapeError(
            f"the net cannot read observations [2, {', '.join(map(str, shape))}], two of this "
            f"environment's: {error}"
        ) from error
    finally:
        net.train(was)
    if tuple(out.shape) != (2, outputs):
        raise ShapeError(
            f"the net turns observations [2, {', '.join(map(str, shape))}] into "
            f"{list(out.shape)}, but must give [2, {outputs}]: one number an output that the "
            "action's distribution reads."
        )
