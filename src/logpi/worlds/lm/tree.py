"""`Tree`: prompts and the branches that completions of them have grown, one forward pass a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from logpi.worlds.lm.branching import Branching, Forest
from logpi.worlds.lm.cache import BranchCache
from logpi.worlds.lm.model import LanguageModel

__all__ = ["Tree", "shares_prompts"]

_PREFILL_TOKENS = 8192  # of one forward pass over prompts, padding included


class Tree:
    """The branches of some prompts: at first one a prompt, later one for each different beginning.

    With `shared`, prompts may differ in length, and their branches read them from one place.
    Without, they are equally long, and every branch carries its own copy.
    """

    def __init__(self, lm: LanguageModel, prompts: Sequence[Tensor], *, shared: bool) -> None:
        self._lm = lm
        self._branching = Branching(lm.causal) if shared else None
        self._lengths = np.array([len(p) for p in prompts])
        self._prompt = np.arange(len(prompts))  # of each branch
        self._written = 0
        pieces = [_prefill(lm, piece) for piece in _pieces(prompts)]
        self.hidden = torch.cat(
            [hidden for hidden, _ in pieces]
        )  # [branches, d] of the last tokens
        self._cache = BranchCache([cache for _, cache in pieces], shared=shared)

    def grow(self, branch: np.ndarray, token: np.ndarray, *, lazy: bool = True) -> np.ndarray:
        """The new branch of each row, after row i of branch `branch[i]` took `token[i]`.

        Rows of a branch that took the same token stay together (without `lazy`: none do). One
        child of every branch keeps its place, the others are copied into places that have become
        free; branches without rows vanish, and the places in use stay the first ones.
        """
        child = branch * (token.max() + 1) + token if lazy else np.arange(len(branch))
        _, first, which = np.unique(child, return_index=True, return_inverse=True)
        parent = branch[first]
        place = _places(parent)
        moved = np.flatnonzero(place != parent)
        self._cache.fork(
            self._index(parent[moved]),
            self._index(place[moved]),
            branches=len(parent),
            room=len(branch),
        )
        prompt, ids = np.empty_like(parent), np.empty_like(parent)
        prompt[place], ids[place] = self._prompt[parent], token[first]
        self._prompt = prompt
        self._forget_prompts()
        self.hidden = self._forward(self._index(ids)[:, None])
        return place[which]

    def _forward(self, ids: Tensor) -> Tensor:
        self._written += 1
        if self._branching is None:
            return self._lm.hidden(ids, cache=self._cache)[:, -1]
        forest = Forest(self._cache, self._prompt, self._lengths, self._written, ids.device)
        alike = (self._lengths == self._lengths[0]).all()
        lengths = self._lengths[:1] if alike else self._lengths[self._prompt]
        position = self._index(lengths + self._written - 1)[:, None]
        with self._branching(forest):
            return self._lm.hidden(ids, cache=self._cache, position_ids=position)[:, -1]

    def _forget_prompts(self) -> None:
        live = np.unique(self._prompt)
        if 4 * len(live) <= 3 * len(self._lengths):
            self._cache.keep_prompts(self._index(live))
            self._lengths = self._lengths[live]
            self._prompt = np.searchsorted(live, self._prompt)

    def _index(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self._lm.device, non_blocking=True)


def _places(parent: np.ndarray) -> np.ndarray:
    """Where each child goes: to its parent's place if that is still in use and not taken."""
    children = len(parent)
    first = np.zeros(children, dtype=bool)
    first[np.unique(parent, return_index=True)[1]] = True
    stays = first & (parent < children)
    free = np.ones(children, dtype=bool)
    free[parent[stays]] = False
    place = parent.copy()
    place[~stays] = np.flatnonzero(free)
    return place


def _pieces(prompts: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    start = 0
    for end in range(1, len(prompts) + 1):
        if end == len(prompts) or (end + 1 - start) * len(prompts[end]) > _PREFILL_TOKENS:
            yield prompts[start:end]
            start = end


def _prefill(lm: LanguageModel, prompts: Sequence[Tensor]) -> tuple[Tensor, DynamicCache]:
    """The last token's hidden state of each prompt, and the cache of all.

    Prompts are padded on the right, where causal attention needs no mask: what comes behind is
    not seen.
    """
    ids = nn.utils.rnn.pad_sequence(list(prompts), batch_first=True, padding_value=lm.pad).to(
        lm.device
    )
    cache = DynamicCache()
    hidden = lm.hidden(ids, cache=cache)
    last = torch.tensor([len(p) - 1 for p in prompts], device=lm.device)
    return hidden[torch.arange(len(prompts), device=lm.device), last], cache


_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def shares_prompts(lm: LanguageModel) -> bool:
    """True where branches may read their prompt from one place, found by trying it once a model.

    That replaces the model's own attention for new tokens, which transformers allows for most
    architectures. Where it does not, or the architecture does more than softmax(q kᵀ) v with
    soft-cap and window, branches carry copies of their prompts and the model's own attention
    reads them.
    """
    if lm.causal not in _known:
        _known[lm.causal] = _may_share(lm) and _agrees(lm)
    return _known[lm.causal]


def _may_share(lm: LanguageModel) -> bool:
    kinds = getattr(lm.causal.config.get_text_config(), "layer_types", None) or ()
    return lm.causal._supports_attention_backend and {
        "full_attention",
        "sliding_attention",
    }.issuperset(kinds)


def _agrees(lm: LanguageModel) -> bool:
    """Whether forked branches of two prompts have the hidden states that they have in one piece."""
    count = lm.causal.get_input_embeddings().num_embeddings
    ids = torch.arange(1, 14, device=lm.device) * 7919 % int(count)  # type: ignore[arg-type]  # an Embedding
    prompts, rows = [ids[:2], ids[3:6]], np.array([0, 1, 1])
    tokens = ids[6:12].view(2, 3).cpu().numpy()
    with torch.inference_mode():
        try:
            tree = Tree(lm, prompts, shared=True)
            branch = tree.grow(rows, tokens[0], lazy=False)
            branch = tree.grow(branch, tokens[1], lazy=False)
        except (AttributeError, TypeError, LookupError, ValueError, RuntimeError, AssertionError):
            return False
    with torch.inference_mode():
        for i in range(3):
            whole = torch.cat([prompts[rows[i]], ids[6 + i : 12 : 3]])[None]
            expected, got = lm.hidden(whole)[0, -1].double(), tree.hidden[branch[i]].double()
            tolerance = 1e-3 if tree.hidden.dtype in (torch.float32, torch.float64) else 5e-2
            if not (got - expected).norm() <= tolerance * expected.norm():
                return False
    return True
