"""Plans and layouts: who runs with whom, and where in the packed row."""

from __future__ import annotations

import numpy as np
import torch

from logpi.worlds.lm.attention import packed_attention, supported, using
from logpi.worlds.lm.head import Head
from logpi.worlds.lm.packed import layout
from logpi.worlds.lm.packing import Counts, Plan, Row, plan
from worlds.lm.policy_cases import model, ragged


def planned(budget, *, shared=True, unit=None) -> Plan:
    inputs, live = ragged()
    return plan(inputs, live, unit=unit, budget=budget, shared=shared)


def test_parts_keep_to_the_budget_unless_one_row_is_above_it():
    for budget in (20, 40, 80):
        whole = planned(budget)
        for group in whole.parts:
            prompts = sum(len(whole.prompts[p]) for p in {row.prompt for row in group})
            spent = prompts + sum(len(row.tokens) - 1 for row in group)
            assert spent <= budget or len(group) == 1
        padded = planned(budget, shared=False)
        for group in padded.parts:
            widest = max(len(padded.prompts[r.prompt]) + len(r.tokens) - 1 for r in group)
            assert len(group) * widest <= budget or len(group) == 1


def test_a_prompt_that_fits_is_not_split():
    whole = planned(45)
    assert len(whole.parts) > 1
    homes = [{row.prompt for row in group} for group in whole.parts]
    for prompt in range(4):
        assert sum(prompt in home for home in homes) == 1


def test_counts_of_nothing():
    inputs, live = ragged()
    found = plan(inputs, torch.zeros_like(live), unit=None, budget=10, shared=True)
    assert found.parts == []
    assert found.counts == Counts(rows_total=14, decisions_total=int(inputs.length.sum()))


def test_layout_puts_a_shared_prompt_once_and_a_lone_row_behind_its_prompt():
    prompts = [np.array([11, 12, 13]), np.array([14, 15])]
    group = [Row(0, np.array([2, 3, 1])), Row(0, np.array([4, 1])), Row(1, np.array([5, 1]))]
    found = layout(group, prompts, torch.device("cpu"))
    assert found.ids.tolist() == [[11, 12, 13, 2, 3, 4, 14, 15, 5]]
    assert found.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 2]]
    assert [b.tolist() for b in found.before] == [[2, 3, 4], [2, 5], [7, 8]]
    assert [(b.start, b.stop) for b in found.all_blocks] == [(0, 3), (3, 6), (6, 9)]


def test_using_gives_the_model_its_attention_back():
    lm = model("llama")
    inputs, _ = ragged()
    before = lm.causal.config._attn_implementation
    where = layout([Row(0, inputs.tokens[0].numpy())], [inputs.prompts[0].numpy()], lm.device)
    with using(where, lm.causal.config):
        assert lm.causal.config._attn_implementation != before
    assert lm.causal.config._attn_implementation == before
    assert supported(lm.causal.config)


def test_attention_of_one_causal_row_is_softmax_attention():
    lm = model("llama")
    ids = np.arange(2, 8)
    where = layout([Row(0, ids[3:])], [ids[:3]], lm.device)
    q, k, v = (torch.randn(1, 2, 5, 4, dtype=torch.float64) for _ in range(3))
    for softcap in (None, 3.0):
        with using(where, lm.causal.config):
            ours, _ = packed_attention(lm.causal, q, k, v, None, scaling=0.4, softcap=softcap)
        score = 0.4 * q @ k.transpose(2, 3)
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        score = score.masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf)
        theirs = (score.softmax(-1) @ v).transpose(1, 2)
        # With a soft-cap, transformers' eager attention takes its softmax in float32 at least.
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_head_is_linear_capped_and_scaled():
    head = Head(torch.eye(2), torch.tensor([0.0, 1.0]), softcap=2.0, scale=0.5)
    expected = torch.tanh(torch.tensor([0.5, 1.5])) * 2 * 0.5
    assert torch.allclose(head.logits(torch.tensor([1.0, 2.0])), expected)
    assert Head(None).logits(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
