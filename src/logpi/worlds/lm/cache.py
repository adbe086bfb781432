"""`BranchCache`: keys and values of each prompt once, and of each branch that continues it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

__all__ = ["BranchCache", "BranchLayer"]

_STEP = 16  # room is made for at least this many tokens at a time


class BranchLayer(CacheLayerMixin):
    """One layer's keys and values: of the prompts, read by all their branches, and of the branches.

    `keys` and `values` are [branches with room, heads, tokens with room, size]. The first
    `branches` of them are in use and hold `length` tokens each. The rest of their room is zero,
    not uninitialised: an attention that reads it with weight 0 must not meet a NaN there.
    """

    is_sliding = False  # all positions are kept, so a sliding window is a matter of the mask

    def __init__(self, prompt_keys: Tensor, prompt_values: Tensor, *, shared: bool) -> None:
        super().__init__()
        self.prompt_keys = prompt_keys  # [prompts, heads, longest prompt, size]
        self.prompt_values = prompt_values
        self.shared = shared
        self.branches, self.length, self.room = len(prompt_keys), 0, len(prompt_keys)
        self.dtype, self.device = prompt_keys.dtype, prompt_keys.device
        if shared:
            self.keys = prompt_keys.new_zeros(_empty(prompt_keys))
            self.values = prompt_values.new_zeros(_empty(prompt_values))
        else:
            # Every branch carries its prompt: what a model's own attention can read.
            self.keys, self.values, self.length = prompt_keys, prompt_values, prompt_keys.shape[2]
            self.prompt_keys = self.prompt_values = prompt_keys.new_zeros(0)
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the prompts' keys and values were given."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The branches' keys and values with these written behind them.

        Prompts apart (`shared`) they come with the unused room of their last tokens, so that
        memory is read in one piece: skipping the room made attention three times as slow on a
        CPU. `branching.attend` masks it.
        """
        start, self.length = self.length, self.length + key_states.shape[2]
        self._make_room()
        assert self.keys is not None
        assert self.values is not None
        self.keys[: self.branches, :, start : self.length] = key_states
        self.values[: self.branches, :, start : self.length] = value_states
        end = self.keys.shape[2] if self.shared else self.length
        return self.keys[: self.branches, :, :end], self.values[: self.branches, :, :end]

    def fork(self, source: Tensor, target: Tensor, *, branches: int, room: int) -> None:
        """Copy branches `source` to places `target`, none of which is a source."""
        self.room = room
        if branches > self._places():
            self._resize(self._tokens())
        assert self.keys is not None
        assert self.values is not None
        if self.length and len(source):
            # Whole rows, zeros included: what no branch has used yet was never initialised.
            self.keys.index_copy_(0, target, self.keys.index_select(0, source))
            self.values.index_copy_(0, target, self.values.index_select(0, source))
        self.branches = branches

    def keep_prompts(self, index: Tensor) -> None:
        """Drop the other prompts."""
        if self.shared:
            self.prompt_keys = self.prompt_keys[index]
            self.prompt_values = self.prompt_values[index]

    def get_seq_length(self) -> int:
        """How many tokens a branch holds here."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that the next tokens see."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """-1: room is made when it is needed."""
        return -1

    def _places(self) -> int:
        return 0 if self.keys is None else self.keys.shape[0]

    def _tokens(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def _make_room(self) -> None:
        tokens = self._tokens()
        if self.length > tokens:
            # A quarter more, so that copying stays linear in the length and unread room below a
            # fifth.
            grown = max(self.length, tokens + max(_STEP, tokens // 4))
            self._resize(-(-grown // _STEP) * _STEP)

    def _resize(self, tokens: int) -> None:
        assert self.keys is not None
        assert self.values is not None
        places = max(self.room, self.branches)
        self.keys = _resized(self.keys, places, tokens, self.branches)
        self.values = _resized(self.values, places, tokens, self.branches)


def _empty(like: Tensor) -> tuple[int, int, int, int]:
    return (0, like.shape[1], 0, like.shape[3])


def _resized(old: Tensor, places: int, tokens: int, branches: int) -> Tensor:
    new = old.new_empty((places, old.shape[1], tokens, old.shape[3]))
    kept, length = min(branches, old.shape[0]), old.shape[2]
    new[:kept, :, :length] = old[:kept]
    new[:kept, :, length:] = 0
    new[kept:branches] = 0
    return new


class BranchCache(Cache):
    """The cache of a batch of branches: they fork, and vanish when their rows have ended.

    With `shared` every prompt's keys and values are stored once, and only `branching.attend` can
    read them; without, every branch holds its prompt, and the prompts must be equally long.

    >>> import torch
    >>> prefill = DynamicCache()
    >>> _ = prefill.update(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2), 0)
    >>> cache = BranchCache([prefill], shared=False)
    >>> cache.fork(torch.tensor([0]), torch.tensor([1]), branches=2, room=4)
    >>> cache.layers[0].keys.shape, cache.get_seq_length()
    (torch.Size([4, 1, 3, 2]), 3)
    """

    def __init__(self, prefills: Sequence[DynamicCache], *, shared: bool) -> None:
        """Take over the keys and values of right-padded prompts, run in one or several pieces."""
        layers = []
        for i in range(len(prefills[0].layers)):
            keys = _stacked([_held(p, i).keys for p in prefills])
            values = _stacked([_held(p, i).values for p in prefills])
            layers.append(BranchLayer(keys, values, shared=shared))
            for prefill in prefills:  # layer by layer, so that two copies of the whole never exist
                _held(prefill, i).keys = _held(prefill, i).values = None
        super().__init__(layers=layers)

    def fork(self, source: Tensor, target: Tensor, *, branches: int, room: int) -> None:
        """Copy branches `source` to places `target`, of which no one is a source.

        `branches` are in use afterwards; `room` is how many there can ever be from now on.
        """
        for layer in self.layers:
            layer.fork(source, target, branches=branches, room=room)  # type: ignore[union-attr]  # all BranchLayer

    def keep_prompts(self, index: Tensor) -> None:
        """Drop the keys and values of the other prompts."""
        for layer in self.layers:
            layer.keep_prompts(index)  # type: ignore[union-attr]  # all BranchLayer


def _held(cache: DynamicCache, layer: int) -> CacheLayerMixin:
    return cache.layers[layer]  # type: ignore[return-value]  # attention layers only, or `load` had refused the model


def _stacked(pieces: Sequence[Tensor | None]) -> Tensor:
    given = [p for p in pieces if p is not None]
    if len(given) == 1:
        return given[0]
    longest = max(p.shape[2] for p in given)
    whole = given[0].new_zeros(
        (sum(map(len, given)), given[0].shape[1], longest, given[0].shape[3])
    )
    start = 0
    for piece in given:
        whole[start : start + len(piece), :, : piece.shape[2]] = piece
        start += len(piece)
    return whole
