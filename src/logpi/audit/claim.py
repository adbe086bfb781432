"""`Claim`: a fact that computes its own numbers, and the sentence that quotes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Claim", "Claims", "Numbers"]

Numbers = dict[str, float]
"""What a claim computes, by the names of the places in its sentence."""


@dataclass(frozen=True)
class Claim:
    """One fact: its name, the sentence that states it, and the function that computes it."""

    name: str
    statement: str  # with a place for each number, as `str.format` has them
    function: Callable[[], Numbers]

    @cached_property
    def numbers(self) -> Numbers:
        """The numbers, computed once."""
        return self.function()

    def text(self) -> str:
        """The sentence with its numbers; what is rounding is said to be, on any machine alike."""
        return self.statement.format(**{name: _Shown(x) for name, x in self.numbers.items()})


class Claims(dict[str, Claim]):
    """Claims by their names, in the order in which they were told."""

    def claim(self, statement: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
        """A decorator that keeps a function as the claim of its name.

        >>> told = Claims()
        >>> @told.claim("Two and two are {sum:.0f}.")
        ... def sums():
        ...     return {"sum": 2 + 2}
        >>> told["sums"].text()
        'Two and two are 4.'
        """

        def register(function: Callable[[], Numbers]) -> Callable[[], Numbers]:
            self[function.__name__] = Claim(function.__name__, statement, function)
            return function

        return register


class _Shown(float):
    """A number whose format "tiny" does not print the digits of rounding errors."""

    def __format__(self, spec: str) -> str:
        if spec != "tiny":
            return super().__format__(spec)
        return "below 1e-12" if abs(self) < 1e-12 else f"{float(self):.0e}"
