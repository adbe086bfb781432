"""Attention over shared prompts against softmax written out."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.worlds.lm.decoding_models import model
from transformers import DynamicCache

from logpi.worlds.lm import branching
from logpi.worlds.lm.branching import Branching, Forest, attend
from logpi.worlds.lm.cache import BranchCache


def written_out(query, keys, values, scaling, softcap):
    scores = (keys @ query) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return scores.softmax(-1) @ values


@pytest.mark.parametrize("window", [None, 3, 6, 100])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("lengths", [[4, 4, 4], [2, 7, 5]])
def test_one_softmax_over_prompt_and_branch(window, softcap, lengths):
    heads, grouped, size, written = 4, 2, 5, 4
    prefill = DynamicCache()
    prompt = torch.randn(2, 3, grouped, max(lengths), size, dtype=torch.float64)
    prefill.update(prompt[0], prompt[1], 0)
    cache = BranchCache([prefill], shared=True)
    parent = np.array([0, 2, 2, 1, 2])
    cache.fork(torch.tensor([1, 2]), torch.tensor([3, 4]), branches=5, room=5)
    own = torch.randn(2, 5, grouped, written, size, dtype=torch.float64)
    for t in range(written):
        keys, values = cache.update(own[0, :, :, t : t + 1], own[1, :, :, t : t + 1], 0)
    query = torch.randn(5, heads, 1, size, dtype=torch.float64)
    forest = Forest(cache, parent, np.array(lengths), written, torch.device("cpu"))
    token = branching._shown.set(forest)
    try:
        output, _ = attend(
            SimpleNamespace(layer_idx=0),
            query,
            keys,
            values,
            None,
            scaling=0.4,
            softcap=softcap,
            sliding_window=window,
        )
    finally:
        branching._shown.reset(token)
    for row in range(5):
        for head in range(heads):
            kv = head // (heads // grouped)
            seen = [
                torch.cat([prompt[i, parent[row], kv, : lengths[parent[row]]], own[i, row, kv]])
                for i in range(2)
            ]
            keys, values = (x if window is None else x[-window:] for x in seen)
            expected = written_out(query[row, head, 0], keys, values, 0.4, softcap)
            torch.testing.assert_close(output[row, 0, head], expected, atol=1e-12, rtol=0)


def test_the_model_s_attention_comes_back_after_an_error():
    network = model("gemma2").causal
    before = network.config._attn_implementation
    forest = Forest(None, np.zeros(1), np.ones(1), 1, torch.device("cpu"))
    inside = []
    with contextlib.suppress(ZeroDivisionError), Branching(network)(forest):
        inside.append(network.config._attn_implementation)
        raise ZeroDivisionError
    assert inside == ["logpi_branches"]
    assert network.config._attn_implementation == before
