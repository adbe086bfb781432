"""Small perceptrons in closed form: forward and backward as a few products of NumPy arrays.

    z_l = W_l h_{l−1} + b_l,  h_l = f(z_l):    ∂W_l = δ_l h_{l−1}ᵀ,  ∂b_l = δ_l 1,
                                               δ_{l−1} = (W_lᵀ δ_l) ∘ f'(z_{l−1})

Autograd computes the same with an operation's overhead for each of some forty small operations.
Arrays are [numbers, k], a column a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from logpi.worlds.gym.nets import MLP

__all__ = [
    "Perceptron",
    "activation_of",
    "perceptron_of",
    "qualifies",
    "squared_error",
    "through",
    "with_ones",
]

_BLOCK = 512  # observations at a time: what a layer gives of them stays in the processor's cache
_KEPT = 2**25  # bytes of room that are kept for the next observations

_Block = tuple[ndarray, list[ndarray]]
"""What a block of columns reads, [i + 1, k], and what its hidden layers gave, each with ones."""


def _slope_of_tanh(h: ndarray, out: ndarray) -> ndarray:
    np.multiply(h, h, out=out)
    return np.subtract(1, out, out=out)


def _relu(z: ndarray, out: ndarray) -> ndarray:
    return np.maximum(z, 0, out=out)


def _slope_of_relu(h: ndarray, out: ndarray) -> ndarray:
    return np.sign(h, out=out)  # no number of h is below 0


_ACTIVATIONS: dict[str, tuple[Callable[..., ndarray], Callable[[ndarray, ndarray], ndarray]]] = {
    "tanh": (np.tanh, _slope_of_tanh),
    "relu": (_relu, _slope_of_relu),
}


def qualifies(net: nn.Module) -> bool:
    """Whether the net is a plain perceptron of float32 or float64 on the CPU.

    >>> qualifies(MLP(4, 2)), qualifies(nn.Linear(4, 2))
    (True, False)
    """
    if type(net) is not MLP or net.activation not in _ACTIVATIONS or _hooked(net):
        return False
    return all(
        type(layer) is nn.Linear
        and layer.weight.is_cpu
        and layer.weight.dtype in (torch.float32, torch.float64)
        for layer in net.layers
    )


def _hooked(net: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def with_ones(x: Float[ndarray, "k i"]) -> Float[ndarray, "i+1 k"]:
    """Observations as columns, with a last row of ones that meets the bias.

    >>> with_ones(np.array([[1.0, 2.0]])).tolist()
    [[1.0], [2.0], [1.0]]
    """
    k, i = x.shape
    columns = np.empty((i + 1, k), dtype=x.dtype)
    columns[:i], columns[i] = x.T, 1
    return columns


def activation_of(net: MLP) -> Callable[..., ndarray]:
    """What stands between the layers of a net that qualifies, as a function of `z` and `out`.

    >>> activation_of(MLP(4, 2)) is np.tanh
    True
    """
    return _ACTIVATIONS[net.activation][0]


def through(
    wide: Sequence[ndarray], x: ndarray, units: Sequence[ndarray], f: Callable[..., ndarray]
) -> Float[ndarray, "o k"]:
    """What layers [o, i + 1], biases last, give of columns x [i + 1, k] that end in ones.

    Each of `units` [o + 1, k], whose last row is ones, is written with what a hidden layer gives.

    >>> one = np.ones((2, 1))
    >>> through([one.T, one.T], one, [one.copy()], np.tanh).item()
    1.964
    """
    h = x
    for w, following in zip(wide[:-1], units, strict=True):
        z = following[:-1]
        np.dot(w, h, out=z)
        f(z, out=z)
        h = following
    return np.dot(wide[-1], h)


def perceptron_of(net: nn.Module, known: Perceptron | None) -> Perceptron | None:
    """The net in closed form, where it qualifies: `known`, if that is still what it was.

    >>> one = perceptron_of(net := MLP(2, 1), None)
    >>> perceptron_of(net, one) is one, perceptron_of(nn.Linear(2, 1), one) is None
    (True, True)
    """
    if known is not None and known.serves(net):
        return known
    return Perceptron(net) if isinstance(net, MLP) and qualifies(net) else None


class Perceptron:
    """A net that qualifies, as arrays that share the memory of its parameters.

    Made once and kept: finding a module's parameters costs as much as a layer. `serves` says
    whether they are still what was found. It keeps what its layers gave of the last observations,
    in memory that the next ones reuse: go backward before going forward again.
    """

    def __init__(self, net: MLP) -> None:
        """Of these parameters; W₁, b₁, W₂, b₂, ... is their order."""
        self.net, self.parameters = net, list(net.parameters())
        self._f, self._slope = _ACTIVATIONS[net.activation]
        self._owners = [layer._parameters for layer in net.layers]
        self._memory = [p.data_ptr() for p in self.parameters]
        arrays = [p.detach().numpy() for p in self.parameters]
        self._layers = list(zip(arrays[::2], (b[:, None] for b in arrays[1::2]), strict=True))
        self._wide = [np.concatenate(pair, 1) for pair in self._layers]
        self._units: dict[tuple[int, int], list[ndarray]] = {}  # by block and its columns
        self._scratch: dict[int, list[tuple[ndarray, ndarray]]] = {}  # by columns
        self._last: list[_Block] = []
        self._held = 0  # bytes of all units

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

    def __deepcopy__(self, memo: dict[int, object]) -> None:
        """A copied net has parameters elsewhere: whoever holds the copy finds them anew."""

    def forward(self, x: Float[ndarray, "i+1 k"]) -> Float[ndarray, "o k"]:
        """What the net gives of observations, as `with_ones` gives them.

        >>> net, x = MLP(3, 2), torch.ones(1, 3)
        >>> out = Perceptron(net).forward(with_ones(x.numpy()))
        >>> bool(np.allclose(out.T, net(x).detach().numpy(), atol=1e-6))
        True
        """
        self._renew()
        if x.shape[1] < 2 * _BLOCK:
            self._last = [(x, self._room(0, x.shape[1]))]
            return self._through(*self._last[0])
        blocks = _blocks(x)
        self._last = [(b, self._room(i, b.shape[1])) for i, b in enumerate(blocks)]
        return np.concatenate([self._through(*block) for block in self._last], 1)

    def numbers(self, x: Float[ndarray, "i+1 k"]) -> Float[ndarray, "o k"]:
        """The same, of which `backward` does not know: less memory where there are many."""
        self._renew()
        self._last = []
        found = [self._through(b, self._room(0, b.shape[1])) for b in _blocks(x)]
        return np.concatenate([np.empty((len(self._wide[-1]), 0), x.dtype), *found], 1)

    def backward(self, d: Float[ndarray, "o k"], into: Sequence[ndarray]) -> None:
        """Write the slopes along W₁, b₁, W₂, b₂, ... of a loss whose slope along the numbers is d.

        The numbers are those that `forward` gave last; what `into` held before is gone.

        >>> one = Perceptron(MLP(3, 1, hidden=()))
        >>> _ = one.forward(with_ones(np.array([[1, 2, 3]], dtype=np.float32)))
        >>> slopes = [np.empty((1, 3), np.float32), np.empty(1, np.float32)]
        >>> one.backward(np.ones((1, 1), dtype=np.float32), slopes)
        >>> [g.tolist() for g in slopes]
        [[[1.0, 2.0, 3.0]], [1.0]]
        """
        assert self._last, "nothing went forward"
        if len(self._last) == 1:
            self._slopes(*self._last[0], d, into)
            return
        start, parts = 0, [np.empty_like(g) for g in into]
        for x, units in self._last:
            end = start + x.shape[1]
            self._slopes(x, units, d[:, start:end], parts if start else into)
            for whole, part in zip(into, parts if start else (), strict=False):
                whole += part
            start = end

    def _renew(self) -> None:
        """The bias as a last column of the weights: it meets the row of ones."""
        for pair, both in zip(self._layers, self._wide, strict=True):
            np.concatenate(pair, 1, out=both)

    def _through(self, x: ndarray, units: list[ndarray]) -> ndarray:
        return through(self._wide, x, units, self._f)

    def _slopes(
        self, x: ndarray, units: list[ndarray], d: ndarray, into: Sequence[ndarray]
    ) -> None:
        k = x.shape[1]
        if k not in self._scratch:
            self._scratch[k] = [(np.empty_like(h[:-1]), np.empty_like(h[:-1])) for h in units]
        for i in range(len(self._layers) - 1, -1, -1):
            h = units[i - 1] if i else x
            np.dot(d, h[:-1].T, out=into[2 * i])
            np.dot(d, h[-1], out=into[2 * i + 1])
            if i:
                back, slope = self._scratch[k][i - 1]
                np.dot(self._layers[i][0].T, d, out=back)
                back *= self._slope(h[:-1], slope)
                d = back

    def _room(self, block: int, k: int) -> list[ndarray]:
        """What the hidden layers' numbers are written into: the same for as many columns."""
        if (block, k) not in self._units:
            made = [np.ones((len(w) + 1, k), dtype=w.dtype) for w in self._wide[:-1]]
            self._held += sum(h.nbytes for h in made)
            if self._held > _KEPT:
                self._units, self._scratch, self._held = {}, {}, 0
            self._units[block, k] = made
        return self._units[block, k]


def _blocks(x: ndarray) -> list[ndarray]:
    return [x[:, i : i + _BLOCK] for i in range(0, x.shape[1], _BLOCK)]


def squared_error(
    net: Perceptron,
    x: Float[ndarray, "k i"],
    target: Float[ndarray, " k"],
    weight: Float[ndarray, " k"],
    *,
    output: ndarray | None = None,
    counts: Callable[[ndarray], ndarray] | None = None,
) -> float:
    """Σ weight (v − target)² of a net's numbers v, its slopes added to the parameters' gradients.

    v is the net's only number, or of each row the one that `output` names; `counts` says of these
    numbers which are to count.

    >>> net = Perceptron(MLP(2, 1, hidden=()))
    >>> x, one = np.zeros((3, 2), dtype=np.float32), np.ones(3, dtype=np.float32)
    >>> squared_error(net, x, 2 * one, one / 3), net.parameters[1].grad.tolist()
    (4.0, [-4.0])
    """
    out = net.forward(with_ones(x))
    place = (0,) if output is None else (output, np.arange(len(x)))
    v = out[place]
    gap = v - target
    pull = weight * gap if counts is None else np.where(counts(v), weight * gap, 0.0)
    d = np.zeros_like(out)
    d[place] = 2 * pull
    found = [np.empty_like(p.detach().numpy()) for p in net.parameters]
    net.backward(d, found)
    for p, slope in zip(net.parameters, found, strict=True):
        if p.grad is None:
            p.grad = torch.from_numpy(slope)
        else:
            p.grad += torch.from_numpy(slope)
    return float(pull @ gap)
