"""Small perceptrons in closed form: forward and backward as a few products of NumPy arrays.

The gradient of a log-probability along a net's numbers is known (`columns`), and that of a small
perceptron along its weights is one product a layer:

    z_l = W_l h_{l−1} + b_l,  h_l = f(z_l):    ∂W_l = δ_l h_{l−1}ᵀ,  ∂b_l = δ_l 1,
                                               δ_{l−1} = (W_lᵀ δ_l) ∘ f'(z_{l−1})

Autograd computes the same with an operation's overhead for each of some forty small operations.
Where a net does not qualify (another module, another device), autograd it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from logpi.worlds.gym.columns import Columns, Pushes
from logpi.worlds.gym.nets import MLP

__all__ = [
    "Perceptron",
    "Places",
    "closed_log_prob",
    "qualifies",
    "squared_error",
]

_BLOCK = 512  # observations at a time: what a layer gives of them stays in the processor's cache

Through = list[list[ndarray]]
"""Of each block what each layer reads, [i + 1, k], with a last row of ones that meets the bias."""


def _tanh_slope(h: ndarray) -> ndarray:
    slope = h * h
    return np.subtract(1, slope, out=slope)


def _relu(z: ndarray, out: ndarray) -> ndarray:
    return np.maximum(z, 0, out=out)


_ACTIVATIONS: dict[str, tuple[Callable[..., ndarray], Callable[[ndarray], ndarray]]] = {
    "tanh": (np.tanh, _tanh_slope),
    "relu": (_relu, lambda h: h > 0),
}


def qualifies(net: nn.Module) -> bool:
    """Whether the net is a plain perceptron of float32 or float64 on the CPU.

    >>> qualifies(MLP(4, 2)), qualifies(nn.Linear(4, 2))
    (True, False)
    """
    if type(net) is not MLP or net.activation not in _ACTIVATIONS:
        return False
    return all(
        type(layer) is nn.Linear
        and layer.weight.is_cpu
        and layer.weight.dtype in (torch.float32, torch.float64)
        for layer in net.layers
    )


class Perceptron:
    """A net that qualifies, as arrays that share the memory of its parameters.

    Made once and kept: finding a module's parameters costs as much as a layer. `serves` says
    whether they are still what was found.
    """

    def __init__(self, net: MLP, more: Sequence[nn.Parameter] = ()) -> None:
        """`more` are parameters of the head, which follow the net's own."""
        self.net = net
        self.parameters = [*net.parameters(), *more]
        self._f, self._slope = _ACTIVATIONS[net.activation]
        self._owners = [layer._parameters for layer in net.layers]
        self._memory = [p.data_ptr() for p in self.parameters]
        arrays = [p.detach().numpy() for p in net.parameters()]
        self._layers = list(zip(arrays[::2], (b[:, None] for b in arrays[1::2]), strict=True))
        self._wide = [np.concatenate(pair, 1) for pair in self._layers]
        # of each parameter the gradient that was last added to, and its numbers
        self._gradients: list[tuple[Tensor, ndarray] | None] = [None] * len(self.parameters)

    def serves(self, net: nn.Module) -> bool:
        """Whether this is that net, with its parameters where they were."""
        if net is not self.net:
            return False
        found = [p for owner in self._owners for p in (owner.get("weight"), owner.get("bias"))]
        # Our arrays keep the memory alive, so an address that is the same is the same memory.
        return all(
            p is q and p.data_ptr() == at  # type: ignore[union-attr] # q is none where p is
            for p, q, at in zip(found, self.parameters, self._memory, strict=False)
        )

    def forward(self, x: Float[ndarray, "k i"]) -> tuple[Float[ndarray, "o k"], Through]:
        """What the net gives, a column an observation, and what `backward` reads.

        >>> net, x = MLP(3, 2), torch.ones(1, 3)
        >>> out, _ = Perceptron(net).forward(x.numpy())
        >>> bool(np.allclose(out.T, net(x).detach().numpy(), atol=1e-6))
        True
        """
        wide = self._wide
        for pair, both in zip(self._layers, wide, strict=True):
            np.concatenate(pair, 1, out=both)
        size = len(x) if len(x) < 2 * _BLOCK else _BLOCK
        through, outs = [], []
        for i in range(0, len(x), max(size, 1)):
            out, layers = self._block(wide, x[i : i + size])
            through.append(layers)
            outs.append(out)
        if len(outs) == 1:
            return outs[0], through
        nothing = np.empty((len(wide[-1]), 0), dtype=wide[-1].dtype)
        return np.concatenate(outs, 1) if outs else nothing, through

    def backward(self, through: Through, d: Float[ndarray, "o k"]) -> list[ndarray]:
        """The slopes along W₁, b₁, W₂, b₂, ... of a loss whose slope along the numbers is `d`.

        >>> one = Perceptron(MLP(3, 1, hidden=()))
        >>> _, through = one.forward(np.array([[1, 2, 3]], dtype=np.float32))
        >>> [g.tolist() for g in one.backward(through, np.ones((1, 1), dtype=np.float32))]
        [[[1.0, 2.0, 3.0]], [1.0]]
        """
        found: list[ndarray] = []
        start = 0
        for layers in through:
            end = start + layers[0].shape[1]
            piece = self._slopes(layers, d[:, start:end])
            start = end
            if not found:
                found = piece
                continue
            for whole, part in zip(found, piece, strict=True):
                whole += part
        return found

    def add(self, found: Sequence[ndarray]) -> None:
        """Add slopes to the parameters' gradients, as `Tensor.backward` does.

        >>> one = Perceptron(MLP(3, 1, hidden=()))
        >>> one.add([np.ones((1, 3), np.float32), np.ones(1, np.float32)])
        >>> one.add([np.ones((1, 3), np.float32), np.ones(1, np.float32)])
        >>> [p.grad.tolist() for p in one.parameters]
        [[[2.0, 2.0, 2.0]], [2.0]]
        """
        for i, (p, slope) in enumerate(zip(self.parameters, found, strict=True)):
            gradient, known = p.grad, self._gradients[i]
            if gradient is None:
                p.grad = torch.from_numpy(slope)
                continue
            if known is None or known[0] is not gradient:
                known = self._gradients[i] = (gradient, gradient.numpy())
            np.add(known[1], slope, out=known[1])

    def _block(self, wide: Sequence[ndarray], x: ndarray) -> tuple[ndarray, list[ndarray]]:
        k, width = x.shape
        h = np.empty((width + 1, k), dtype=wide[0].dtype)
        h[:width], h[width] = x.T, 1
        layers = [h]
        for w in wide[:-1]:
            o = len(w)
            following = np.empty((o + 1, k), dtype=w.dtype)
            z = following[:o]
            np.dot(w, h, out=z)
            self._f(z, out=z)
            following[o] = 1
            h = following
            layers.append(h)
        return np.dot(wide[-1], h), layers

    def _slopes(self, layers: Sequence[ndarray], d: ndarray) -> list[ndarray]:
        found: list[ndarray] = []
        for i in range(len(layers) - 1, -1, -1):
            h = layers[i]
            found += [np.dot(d, h[-1]), np.dot(d, h[:-1].T)]
            if i:
                d = np.dot(self._layers[i][0].T, d)
                d *= self._slope(h[:-1])
        return found[::-1]


class Places:
    """Where flat decisions stand among the rows of a part: k numbers to [rows, t] and back."""

    def __init__(self, shape: tuple[int, int], at: Int[ndarray, " k"] | None = None) -> None:
        """`at` holds flat positions in the part; None where it is full."""
        self.shape, self.at = shape, at

    def spread(self, x: Float[ndarray, " k"]) -> Tensor:
        """The numbers in their places, 0 elsewhere."""
        if self.at is None:
            return torch.from_numpy(x.reshape(self.shape))
        wide = np.zeros(self.shape, dtype=x.dtype)
        wide.ravel()[self.at] = x
        return torch.from_numpy(wide)

    def collect(self, x: Tensor) -> Float[ndarray, " k"]:
        """The numbers that stand in these places."""
        flat = x.numpy().reshape(-1)
        return flat if self.at is None else flat[self.at]


def closed_log_prob(
    perceptron: Perceptron,
    columns: Columns,
    places: Places,
    decisions: tuple[ndarray, ndarray, ndarray | None],
    *,
    entropy: bool,
) -> tuple[Tensor, Tensor | None, Callable[[Tensor, Tensor | None], None]]:
    """Log-probabilities and entropies [rows, t] of decisions, and what a loss of them pushes.

    The function adds a loss's gradient along the perceptron's parameters to theirs, given its
    slopes along both. Call it before the parameters move. `decisions` are what the net reads
    [k, i], actions, and masks.
    """
    x, action, mask = decisions
    out, through = perceptron.forward(x)
    logp, surprise, saved = columns.log_prob(out, action, mask, entropy=entropy)

    def push(d_logp: Tensor, d_entropy: Tensor | None = None) -> None:
        d = Pushes(places.collect(d_logp), None if d_entropy is None else places.collect(d_entropy))
        slope, along = columns.slope(saved, d)
        found = perceptron.backward(through, slope)
        perceptron.add(found if along is None else [*found, along])

    return places.spread(logp), None if surprise is None else places.spread(surprise), push


def squared_error(
    net: Perceptron,
    x: Float[ndarray, "k i"],
    target: Float[ndarray, " k"],
    weight: Float[ndarray, " k"],
    *,
    output: ndarray | None = None,
    counts: Callable[[ndarray], ndarray] | None = None,
) -> tuple[float, list[ndarray]]:
    """Σ weight (v − target)² of a net's numbers v, and its slopes along the net's parameters.

    v is the net's only number, or of each row the one that `output` names; `counts` says of these
    numbers which are to count.

    >>> net = Perceptron(MLP(2, 1, hidden=()))
    >>> x, one = np.zeros((3, 2), dtype=np.float32), np.ones(3, dtype=np.float32)
    >>> squared_error(net, x, 2 * one, one / 3)[0]
    4.0
    """
    out, through = net.forward(x)
    place = (0,) if output is None else (output, np.arange(len(x)))
    v = out[place]
    gap = v - target
    pull = weight * gap if counts is None else np.where(counts(v), weight * gap, 0.0)
    d = np.zeros_like(out)
    d[place] = 2 * pull
    return float(pull @ gap), net.backward(through, d)
