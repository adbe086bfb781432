"""The branch cache against plain lists of keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from logpi.worlds.lm.cache import BranchCache
from logpi.worlds.lm.tree import _places


def prefill(count, length, *, layers=2, start=0):
    cache = DynamicCache()
    for layer in range(layers):
        x = start + layer + torch.arange(count * 2 * length * 3.0).view(count, 2, length, 3)
        cache.update(x, -x, layer)
    return cache


def fork(cache, source, target, branches, room):
    cache.fork(torch.tensor(source), torch.tensor(target), branches=branches, room=room)


@pytest.mark.parametrize("shared", [False, True])
def test_branches_hold_what_was_written_through_forks_and_growth(shared):
    generator = np.random.default_rng(0)
    cache = BranchCache([prefill(2, 5)], shared=shared)
    first = prefill(2, 5).layers[1].keys
    held = [[] if shared else [first[i, :, t] for t in range(5)] for i in range(2)]
    room = 12
    for step in range(70):
        rows = np.sort(generator.integers(0, len(held), size=generator.integers(1, room + 1)))
        place = _places(rows)
        moved = np.flatnonzero(place != rows)
        fork(cache, rows[moved].tolist(), place[moved].tolist(), len(rows), room)
        children = [None] * len(rows)
        for source, target in zip(rows, place, strict=True):
            children[target] = list(held[source])
        held = children
        new = torch.randn(len(rows), 2, 1, 3)
        cache.update(new, -new, 0)
        keys, values = cache.update(new, -new, 1)
        for i, row in enumerate(held):
            row.append(new[i, :, 0])
            expected = torch.stack(row, 1)
            assert torch.equal(keys[i, :, : len(row)], expected)
            assert torch.equal(values[i, :, : len(row)], -expected)
            assert (keys[i, :, len(row) :] == 0).all()
        assert cache.get_seq_length() == len(held[0]) == step + 1 + (0 if shared else 5)
        assert cache.get_mask_sizes(1, 0) == (cache.get_seq_length() + 1, 0)
        assert shared or keys.shape[2] == cache.get_seq_length()


def test_pieces_of_different_length_are_put_together():
    cache = BranchCache([prefill(2, 3), prefill(1, 5, start=100)], shared=True)
    layer = cache.layers[0]
    assert layer.prompt_keys.shape == (3, 2, 5, 3)
    assert torch.equal(layer.prompt_keys[:2, :, :3], prefill(2, 3).layers[0].keys)
    assert torch.equal(layer.prompt_keys[2:], prefill(1, 5, start=100).layers[0].keys)
    assert (layer.prompt_keys[:2, :, 3:] == 0).all()


def test_prompts_without_branches_can_be_dropped():
    cache = BranchCache([prefill(3, 4)], shared=True)
    cache.keep_prompts(torch.tensor([0, 2]))
    assert torch.equal(cache.layers[0].prompt_keys, prefill(3, 4).layers[0].keys[[0, 2]])


def test_room_grows_with_what_is_written_and_shrinks_with_the_branches():
    cache = BranchCache([prefill(4, 4)], shared=True)
    fork(cache, [], [], 4, 1000)
    for _ in range(17):
        new = torch.ones(4, 2, 1, 3)
        keys, _ = cache.update(new, new, 0)
    assert keys.shape[2] == 32
    fork(cache, [], [], 2, 2)
    for _ in range(17):
        new = torch.ones(2, 2, 1, 3)
        keys, _ = cache.update(new, new, 0)
    assert keys.shape == (2, 2, 48, 3)
    assert cache.layers[0].keys.shape[0] == 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=14))
def test_few_children_move(parents):
    parent = np.sort(np.array(parents))
    place = _places(parent)
    assert sorted(place.tolist()) == list(range(len(parent)))
    stay = place == parent
    survivors = {p for p in parents if p < len(parents)}
    assert stay.sum() >= len(survivors)
    moved_onto, moved_from = set(place[~stay].tolist()), set(parent[~stay].tolist())
    assert not moved_onto & moved_from
