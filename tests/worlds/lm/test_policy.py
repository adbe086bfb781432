"""The gradient of `LMPolicy.parts` is plain autograd's, whatever was merged, shared or split."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from logpi.core.errors import ShapeError
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.policy import LMPolicy
from worlds.lm.policy_cases import (
    MODELS,
    Exact,
    accumulated,
    distance,
    gradients,
    model,
    plain,
    ragged,
)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_is_that_of_plain_autograd(name):
    with Exact():
        lm = model(name)
        inputs, live = ragged()
        coefficient, weight = (
            torch.randn(live.shape, dtype=torch.float64) * live for _ in range(2)
        )
        logp = plain(lm, inputs, coefficient, weight)
        expected = gradients(lm)
        for share in (True, False):
            for budget in (1, 30, 10000):
                policy = LMPolicy(lm, token_budget=budget, share_prompts=share)
                assert policy.packed == share
                for part in policy.parts(inputs, live, entropy=True):
                    here = live[part.rows]
                    assert torch.allclose(part.logp, logp[part.rows] * here, atol=1e-12)
                    loss = coefficient[part.rows] * part.logp + weight[part.rows] * part.entropy
                    loss.sum().backward()
                assert distance(gradients(lm), expected) < 1e-10
        assert torch.allclose(policy.log_prob(inputs), logp * inputs.mask, atol=1e-12)


@pytest.fixture(scope="module")
def llama():
    return model("llama")


@given(st.integers(1, 200), st.booleans(), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=20)
def test_budget_sharing_and_units_are_invisible(llama, budget, share, together, seed):
    inputs, _ = ragged()
    g = torch.Generator().manual_seed(seed)
    live = inputs.mask & (torch.rand(inputs.mask.shape, generator=g) < 0.6)
    coefficient = torch.randn(live.shape, dtype=torch.float64, generator=g)
    whole = LMPolicy(llama, token_budget=10**6)
    unit = inputs.prompt_of if together else None
    with Exact():
        expected = accumulated(whole, inputs, live, coefficient)
        policy = LMPolicy(llama, token_budget=budget, share_prompts=share)
        found = accumulated(policy, inputs, live, coefficient, unit=unit)
    assert distance(found, expected) < 1e-10


@given(st.permutations(range(14)), st.integers(0, 3))
@settings(max_examples=10)
def test_row_order_and_padding_are_invisible(llama, order, extra):
    inputs, live = ragged()
    coefficient = torch.randn(
        live.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    policy = LMPolicy(llama, token_budget=40)

    def padded(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x[list(order)], (0, extra))

    moved = Completions(
        inputs.prompts,
        inputs.prompt_of[list(order)],
        padded(inputs.tokens),
        inputs.length[list(order)],
        inputs.temperature,
    )
    with Exact():
        expected = accumulated(policy, inputs, live, coefficient)
        found = accumulated(policy, moved, padded(live), padded(coefficient))
    assert distance(found, expected) < 1e-10


def test_every_live_row_comes_once_and_units_come_together(llama):
    inputs, live = ragged()
    for budget in (1, 25, 1000):
        policy = LMPolicy(llama, token_budget=budget)
        parts = [part.rows.tolist() for part in policy.parts(inputs, live, unit=inputs.prompt_of)]
        assert sorted(row for rows in parts for row in rows) == live.any(1).nonzero()[:, 0].tolist()
        for rows in parts:
            units = set(inputs.prompt_of[rows].tolist())
            assert all(units.isdisjoint(inputs.prompt_of[r].tolist()) for r in parts if r != rows)


def test_counts_say_what_ran_and_what_was_skipped(llama):
    prompts = (torch.tensor([3, 4, 5]), torch.tensor([6, 7]))
    tokens = torch.tensor([[2, 3, 1], [2, 3, 1], [2, 4, 1], [9, 1, 0], [8, 1, 0]])
    inputs = Completions(
        prompts, torch.tensor([0, 0, 0, 1, 1]), tokens, torch.tensor([3, 3, 3, 2, 2])
    )
    live = inputs.mask.clone()
    live[3] = False  # a dead row
    live[2, 1:] = False  # only its first token matters: the prompt alone decides it
    policy = LMPolicy(llama)
    list(policy.parts(inputs, live))
    counts = policy.counts
    assert (counts.rows_total, counts.rows_run, counts.rows_merged) == (5, 3, 1)
    assert (counts.decisions_total, counts.decisions_live) == (13, 9)
    # Prompt 0 once (3), the first row's two tokens that decide others (2), the row of [2] none,
    # prompt 1 with its row's first token (2 + 1).
    assert counts.tokens_run == 3 + 2 + 0 + 3
    assert counts.parts == 1


def test_equal_prompts_are_one(llama):
    prompt = torch.tensor([3, 4, 5])
    tokens = torch.tensor([[2, 1], [4, 1]])
    inputs = Completions(
        (prompt, prompt.clone()), torch.tensor([0, 1]), tokens, torch.tensor([2, 2])
    )
    policy = LMPolicy(llama)
    list(policy.parts(inputs, inputs.mask))
    assert policy.counts.tokens_run == 3 + 1 + 1


def test_log_prob_has_no_gradient_and_nothing_live_runs_nothing(llama):
    inputs, live = ragged()
    policy = LMPolicy(llama)
    assert not policy.log_prob(inputs).requires_grad
    assert list(policy.parts(inputs, torch.zeros_like(live))) == []
    assert policy.counts.tokens_run == 0


def test_live_must_fit(llama):
    inputs, live = ragged()
    policy = LMPolicy(llama)
    with pytest.raises(ShapeError, match="one per token"):
        next(policy.parts(inputs, live[:, 1:]))
    with pytest.raises(ShapeError, match="beyond the end"):
        next(policy.parts(inputs, torch.ones_like(live)))


def test_reference_stays_where_the_policy_was():
    lm = model("qwen2")
    policy = LMPolicy(lm)
    reference, (inputs, _) = policy.reference(), ragged()
    before = policy.log_prob(inputs)
    with torch.no_grad():
        for _, p in policy.named_parameters():
            p.add_(0.1 * torch.randn_like(p))
    assert not torch.allclose(policy.log_prob(inputs), before, atol=1e-3)
    assert torch.equal(reference.log_prob(inputs), before)
    assert list(reference.named_parameters()) == []


def test_autocast_is_near_and_its_gradient_points_the_same_way():
    lm = model("llama", dtype="float32")
    inputs, live = ragged()
    exact, cheap = LMPolicy(lm), LMPolicy(lm, autocast=True)
    one = torch.ones(live.shape)
    a, b = (accumulated(p, inputs, live, one) for p in (exact, cheap))
    flat_a, flat_b = (torch.cat([x.flatten() for x in g.values()]) for g in (a, b))
    assert torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=0) > 0.99
    assert b["model.embed_tokens.weight"].dtype == torch.float32
    assert torch.allclose(exact.log_prob(inputs), cheap.log_prob(inputs), atol=0.1)


def test_a_model_whose_layers_packing_does_not_know_runs_row_by_row():
    lm = model("llama")
    lm.causal.config.layer_types = ["chunked_attention", "full_attention"]
    inputs, _ = ragged()
    policy = LMPolicy(lm)
    assert not policy.packed
    with Exact():
        assert torch.allclose(
            policy.log_prob(inputs), LMPolicy(model("llama")).log_prob(inputs), atol=1e-10
        )


def test_a_head_that_is_no_linear_layer_uses_the_models_own_logits():
    inputs, live = ragged()
    with Exact():
        lm = model("gemma2")
        one = torch.ones(live.shape, dtype=torch.float64)
        expected = accumulated(LMPolicy(lm), inputs, live, one)
        lm.head = type(lm.head)(None)
        assert distance(accumulated(LMPolicy(lm), inputs, live, one), expected) < 1e-10
