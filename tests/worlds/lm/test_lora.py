"""Adapters: only they are trained, the reference is the model without, the export is plain."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from logpi.core.errors import ModelError
from logpi.worlds.lm.model import load
from logpi.worlds.lm.policy import LMPolicy
from worlds.lm.policy_cases import (
    Exact,
    accumulated,
    distance,
    folder,
    gradients,
    model,
    plain,
    ragged,
)

LORA = {"r": 3, "alpha": 6}


def moved(name="llama", **lora):
    """A model with an adapter that is not 0."""
    lm = model(name, lora={**LORA, **lora})
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, p in lm.named_parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return lm


@pytest.mark.parametrize("name", ["llama", "gpt2-tied", "gemma2"])
def test_gradient_of_the_adapter_is_that_of_plain_autograd(name):
    with Exact():
        lm = moved(name)
        inputs, live = ragged()
        coefficient = torch.randn(live.shape, dtype=torch.float64) * live
        plain(lm, inputs, coefficient, torch.zeros_like(coefficient))
        expected = gradients(lm)
        assert expected
        assert all("lora" in n for n in expected)
        policy = LMPolicy(lm, token_budget=30)
        assert policy.packed
        assert distance(accumulated(policy, inputs, live, coefficient), expected) < 1e-10


def test_reference_is_the_model_without_its_adapter():
    inputs, _ = ragged()
    policy = LMPolicy(moved())
    base = LMPolicy(model("llama")).log_prob(inputs)
    assert not torch.allclose(policy.log_prob(inputs), base, atol=1e-3)
    assert torch.allclose(policy.reference().log_prob(inputs), base, atol=1e-5)
    assert policy.reference().lm is policy.lm


def test_a_fresh_adapter_changes_nothing_and_is_the_same_every_time():
    inputs, _ = ragged()
    a, b = (LMPolicy(model("qwen2", lora=LORA)) for _ in range(2))
    assert torch.allclose(a.log_prob(inputs), LMPolicy(model("qwen2")).log_prob(inputs), atol=1e-6)
    for (_, p), (_, q) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        assert torch.equal(p, q)


def test_export_is_the_merged_model_and_leaves_the_adapter_alone(tmp_path):
    lm = moved()
    inputs, _ = ragged()
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    logp = LMPolicy(lm).log_prob(inputs)
    lm.save(tmp_path)
    for name, p in lm.model.named_parameters():
        assert torch.equal(p, before[name])
    assert not isinstance(AutoModelForCausalLM.from_pretrained(tmp_path), PeftModel)
    merged = load(tmp_path, dtype="float64")
    assert torch.allclose(LMPolicy(merged).log_prob(inputs), logp, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own
def test_adapter_can_be_saved_alone(tmp_path):
    lm = moved()
    lm.save_adapter(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(folder("llama"), dtype="float64")
    again = PeftModel.from_pretrained(base, str(tmp_path))
    ids = torch.randint(2, 17, (2, 6))
    assert torch.allclose(again(input_ids=ids).logits, lm.model(input_ids=ids).logits, atol=1e-6)


def test_targets_that_do_not_exist_and_dropout_are_refused():
    with pytest.raises(ModelError, match="adapter does not fit"):
        model("llama", lora={"targets": ["nonsense"]})
    with pytest.raises(ModelError, match="dropout"):
        model("llama", lora={"dropout": 0.1})


def test_without_an_adapter_there_is_none_to_switch_off(tmp_path):
    lm = model("llama")
    with pytest.raises(ModelError, match="no adapter"), lm.adapter_off():
        pass
    with pytest.raises(ModelError, match="no adapter"):
        lm.save_adapter(tmp_path)
