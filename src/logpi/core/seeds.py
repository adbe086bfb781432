"""Seeds as a function of numbers: all randomness of a run follows from (seed, iteration)."""

from __future__ import annotations

import torch

__all__ = ["mix", "seed_torch"]


def mix(*numbers: int) -> int:
    """A seed of 63 bits made of several numbers, so that neighbours share nothing.

    splitmix64 (Steele, Lea and Flood 2014), one round a number.

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state >> 1


def seed_torch(seed: int) -> None:
    """Nothing; torch's own random numbers follow from the seed, on every device.

    `torch.manual_seed` does the same, and where there is no accelerator takes a hundred times as
    long to find that out.

    >>> seed_torch(3)
    >>> x = torch.rand(2)
    >>> _ = torch.manual_seed(3)
    >>> torch.equal(x, torch.rand(2))
    True
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType] # its seed is untyped
    else:
        torch.default_generator.manual_seed(seed)
