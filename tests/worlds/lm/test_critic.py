"""Critics: values where they belong, gradients that equal the written-out squared error."""

from __future__ import annotations

import pytest
import torch

from logpi.worlds.lm.critic import ValueHead, ValueModel
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.policy import LMPolicy
from worlds.lm.policy_cases import Exact, accumulated, model, ragged


def states(lm, inputs: Completions):
    """[n, t + 1, d] hidden states before every token and after the last, row by row."""
    n, t = inputs.tokens.shape
    found = torch.zeros(n, t + 1, lm.size, dtype=torch.float64)
    for i, length in enumerate(inputs.length.tolist()):
        prompt = inputs.prompts[int(inputs.prompt_of[i])]
        ids = torch.cat([prompt, inputs.tokens[i, :length]])[None]
        found[i, : length + 1] = lm.hidden(ids)[0, len(prompt) - 1 :]
    return found


def moved(critic):
    """The critic after its head was moved away from 0."""
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in critic.head.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype))
    return critic


@pytest.mark.parametrize("width", [None, 5])
@pytest.mark.parametrize("kind", [ValueHead, ValueModel])
def test_values_are_the_heads_of_the_states_before_and_after_each_token(kind, width):
    with Exact():
        lm = model("llama")
        inputs, _ = ragged()
        critic = moved(kind(LMPolicy(lm, token_budget=30), width=width))
        value, next_value = critic.values(inputs)
        expected = critic.head(states(lm, inputs)).squeeze(-1).detach()
    assert torch.allclose(value, expected[:, :-1] * inputs.mask, atol=1e-10)
    assert torch.allclose(next_value, expected[:, 1:] * inputs.mask, atol=1e-10)


@pytest.mark.parametrize("kind", [ValueHead, ValueModel])
def test_loss_and_its_gradient_are_the_written_out_ones(kind):
    with Exact():
        lm = model("qwen3")
        inputs, live = ragged()
        critic = moved(kind(LMPolicy(lm, token_budget=30)))
        target, weight = (torch.randn(live.shape, dtype=torch.float64) for _ in range(2))
        weight = weight.abs() * live
        loss = critic.loss(inputs, target, weight)
        found = {name: p.grad.clone() for name, p in critic.named_parameters()}
        for _, p in critic.named_parameters():
            p.grad = None
        trunk = lm if kind is ValueHead else critic.policy.lm
        hidden = states(trunk, inputs)
        hidden = hidden.detach() if kind is ValueHead else hidden
        error = critic.head(hidden[:, :-1]).squeeze(-1) - target
        written = (weight * error.square()).sum()
        written.backward()
    assert torch.allclose(loss, written.detach(), atol=1e-10)
    for name, p in critic.named_parameters():
        assert torch.allclose(found[name], p.grad, atol=1e-9), name


def test_a_head_leaves_the_policy_alone_and_runs_its_trunk_once():
    lm = model("llama")
    inputs, live = ragged()
    policy = LMPolicy(lm)
    critic = ValueHead(policy)
    accumulated(policy, inputs, live, torch.ones(live.shape, dtype=torch.float64))
    counts = policy.counts
    critic.values(inputs)
    ran = critic._pass.counts
    critic.loss(inputs, torch.ones(live.shape, dtype=torch.float64), live.double())
    assert critic._pass.counts is ran
    assert policy.counts is counts
    assert all(p.grad is None for _, p in policy.named_parameters())


def test_a_value_model_has_weights_of_its_own():
    lm = model("gpt2")
    critic = ValueModel(LMPolicy(lm))
    own = {id(p) for _, p in critic.named_parameters()}
    assert own.isdisjoint(id(p) for p in lm.model.parameters())
    names = [name for name, _ in critic.named_parameters()]
    assert not any("lm_head" in name for name in names)


@pytest.mark.parametrize("kind", [ValueHead, ValueModel])
def test_values_start_at_zero_and_learn(kind):
    inputs, _ = ragged()
    critic = kind(LMPolicy(model("llama", dtype="float32")))
    target = inputs.tokens.float() / 8
    weight = inputs.mask / inputs.mask.sum()
    assert not critic.values(inputs)[0].any()
    optimizer = torch.optim.Adam([p for _, p in critic.named_parameters()], lr=0.02)
    losses = []
    for _ in range(15):
        losses.append(float(critic.loss(inputs, target, weight)))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0]
