"""`Shuffle`: the order in which examples are shown."""

from __future__ import annotations

from typing import Any

import torch

from logpi.core.errors import DataError
from logpi.core.seeds import mix

__all__ = ["Shuffle"]


class Shuffle:
    """An endless pass through `count` examples, in a new order each epoch; its state is one number.

    >>> pass_through = Shuffle(3, seed=0)
    >>> sorted(pass_through.take(3)), pass_through.position
    ([0, 1, 2], 3)
    """

    def __init__(self, count: int, *, seed: int) -> None:
        """Begin at the first example of the first epoch."""
        if count < 1:
            raise DataError("the data has no rows. Give at least one prompt.")
        self.count, self.seed, self.position = count, seed, 0
        self._epoch, self._order = -1, [0]

    def take(self, wanted: int) -> list[int]:
        """The next `wanted` positions in the data."""
        taken = [self._at(self.position + k) for k in range(wanted)]
        self.position += wanted
        return taken

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch))
            self._order = torch.randperm(self.count, generator=generator).tolist()
            self._epoch = epoch
        return self._order[place]

    def state(self) -> dict[str, Any]:
        """How far into the data it has come."""
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.position = int(state["position"])
