"""Seeds as a function of numbers: all randomness of a run follows from (seed, iteration)."""

from __future__ import annotations

__all__ = ["mix"]


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
