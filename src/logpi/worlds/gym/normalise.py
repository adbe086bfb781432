"""Normalisation of observations and rewards, by what has been seen so far.

Statistics live in buffers of the model: they are saved, resumed and exported with it. What they
are, and what is used, are two things. `see` adds a rollout to the statistics; `adopt` puts them to
use. A source calls `adopt`, then draws, then `see`: the policy that learns from a batch reads its
observations as the policy that drew it did, and their ratio begins at 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from logpi.core.errors import ConfigError, ShapeError

__all__ = ["Moments", "Normaliser", "Reading", "RewardScale"]


class Moments(nn.Module):
    """Mean and variance of all rows seen, of numbers of some shape, in float64.

        M = M_a + M_b + (m_b − m_a)² n_a n_b / (n_a + n_b),    var = M / n
                                             Chan, Golub and LeVeque 1983, eq. 2.1

    Before anything was seen the mean is 0 and the variance 1. In evaluation mode nothing is seen.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def see(self, x: Float[ndarray, "..."] | Tensor) -> None:
        """Add rows [..., *shape]. Raises `ShapeError` where they have another shape.

        >>> moments = Moments()
        >>> moments.see(np.array([1.0, 3.0])), moments.see(np.array([5.0]))
        (None, None)
        >>> moments.mean.item(), moments.var.item()
        (3.0, 2.6667)
        """
        x = torch.as_tensor(x)
        if self.shape and tuple(x.shape[-len(self.shape) :]) != self.shape:
            raise ShapeError(
                f"rows are {list(x.shape)}, but must be [..., "
                f"{', '.join(map(str, self.shape))}]. Was the model made for another space?"
            )
        rows = x.reshape(-1, *self.shape).to(self.mean)
        n = len(rows)
        if not self.training or not n:
            return
        mean, var = rows.mean(0), rows.var(0, unbiased=False)
        total = self.count + n
        seen = self.count / total
        gap = mean - self.mean
        self.var.copy_(self.var * seen + var * (1 - seen) + gap.square() * seen * (1 - seen))
        self.mean += gap * (1 - seen)
        self.count.copy_(total)


class Normaliser(nn.Module):
    """Observations less their mean, in standard deviations, cut at ±`clip`.

    x ↦ clip((x − mean) / √(var + 1e−8)), with the statistics that were last adopted
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, clip: float = 10.0, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.clip = clip
        self.moments = Moments(shape)
        self.register_buffer("shift", torch.zeros(shape, dtype=dtype))
        self.register_buffer("scale", torch.ones(shape, dtype=dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one observation."""
        return self.moments.shape

    def see(self, x: Float[ndarray, "..."] | Tensor) -> None:
        """Add observations [..., *shape] to the statistics; not yet to what is used."""
        self.moments.see(x)

    @torch.no_grad()
    def adopt(self) -> None:
        """Use the statistics of all that was seen. In evaluation mode nothing changes."""
        if not self.training:
            return
        self.shift.copy_(self.moments.mean)
        self.scale.copy_((self.moments.var + 1e-8).rsqrt())

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Normalised observations [..., *shape]."""
        return ((x - self.shift) * self.scale).clamp(-self.clip, self.clip)


class Reading(nn.Module):
    """Observations as a net reads them: images divided by 255, others normalised where asked for.

    Raises `ConfigError` for a normaliser of images, and `ShapeError` for one of another shape.
    """

    unit: Tensor  # its dtype and device are those of the net

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        image: bool = False,
        normaliser: Normaliser | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if normaliser is not None and image:
            raise ConfigError(
                "images are divided by 255, and a normaliser of every pixel would hide what "
                "moves. Leave out normalise_observations (of a policy: normaliser)."
            )
        if normaliser is not None and normaliser.shape != shape:
            raise ShapeError(
                f"the normaliser is of observations {list(normaliser.shape)}, but these are "
                f"{list(shape)}."
            )
        self.shape, self.image, self.normaliser = shape, image, normaliser
        self.register_buffer("unit", torch.ones((), dtype=dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Observations [..., *shape] as numbers of the net's dtype, on its device."""
        x = x.to(self.unit)
        if self.image:
            return x / 255
        return x if self.normaliser is None else self.normaliser(x)

    def reads_as(self, other: Reading) -> bool:
        """Whether the other gives the same numbers.

        >>> Reading((2,)).reads_as(Reading((2,))), Reading((2,)).reads_as(Reading((2,), image=True))
        (True, False)
        """
        same = self.normaliser is other.normaliser and self.image == other.image
        return same and self.unit.dtype == other.unit.dtype

    def of_array(self, x: ndarray) -> ndarray:
        """The same of an array, on the CPU."""
        return self.array_reader()(x)

    def array_reader(self) -> Callable[[ndarray], ndarray]:
        """The same as a function of arrays, of the statistics in use when it was made."""
        dtype = self.unit.numpy().dtype
        if self.image:
            return lambda x: x.astype(dtype, copy=False) / dtype.type(255)
        if self.normaliser is None:
            return lambda x: x.astype(dtype, copy=False)
        shift, scale = (b.numpy().copy() for b in (self.normaliser.shift, self.normaliser.scale))
        clip = self.normaliser.clip

        def read(x: ndarray) -> ndarray:
            y = x.astype(dtype, copy=False) - shift
            y *= scale
            return np.clip(y, -clip, clip, out=y)

        return read


class RewardScale(nn.Module):
    """Rewards divided by the standard deviation of the discounted return so far, cut at ±`clip`.

    r ↦ clip(r / √(Var(G) + 1e−8)),    G ← γ G + r in every stream, 0 after an end

    Engstrom et al., arXiv 2005.12729, algorithm 1. No mean is taken off, which would change what an
    episode's length is worth.
    """

    running: Tensor

    def __init__(self, streams: int, *, discount: float = 0.99, clip: float = 10.0) -> None:
        super().__init__()
        self.discount, self.clip = discount, clip
        self.moments = Moments()
        self.register_buffer("running", torch.zeros(streams, dtype=torch.float64))

    @torch.no_grad()
    def see(
        self,
        reward: Float[ndarray, "n t"],
        over: Float[ndarray, "n t"],
        mask: Float[ndarray, "n t"] | None = None,
    ) -> None:
        """Add the rewards of n streams; `over` where an episode ended, not where only the row did.

        Steps that the mask leaves out were never taken. In evaluation mode nothing is seen.
        """
        if not self.training:
            return
        if len(reward) != len(self.running):
            raise ShapeError(
                f"there are {len(reward)} streams of rewards, but {len(self.running)} were "
                "announced. Was the model made for another number of environments?"
            )
        rewards = np.ascontiguousarray(np.asarray(reward, dtype=np.float64).T)
        goes_on = np.ascontiguousarray(self.discount * ~np.asarray(over, dtype=np.bool_).T)
        if mask is not None:
            taken = np.asarray(mask, dtype=np.bool_).T
            rewards, goes_on = np.where(taken, rewards, 0.0), np.where(taken, goes_on, 1.0)
        carried = self.running.numpy().copy()  # what was gathered, discounted to the next step
        gathered = np.empty_like(rewards)
        for t in range(len(rewards)):
            np.add(carried, rewards[t], out=gathered[t])
            np.multiply(gathered[t], goes_on[t], out=carried)
        self.running.copy_(torch.from_numpy(carried))
        self.moments.see(gathered if mask is None else gathered[np.asarray(mask, np.bool_).T])

    def forward(self, reward: Tensor) -> Tensor:
        """The rewards as the credit reads them."""
        return (reward * (self.moments.var + 1e-8).rsqrt().to(reward)).clamp(-self.clip, self.clip)
