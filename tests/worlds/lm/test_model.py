"""Loading: what a model must have, how its head is found, what it is saved as."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    DynamicCache,
    GraniteConfig,
    Llama4TextConfig,
    MambaConfig,
    OPTConfig,
)

from logpi.core.errors import ModelError
from logpi.worlds.lm.head import Head, head_of
from logpi.worlds.lm.model import load
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.pretrained import quiet
from logpi.worlds.lm.tiny import character_tokenizer
from worlds.lm.policy_cases import MODELS, folder, model, ragged

SHAPE = {
    "vocab_size": 17,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}


def saved(place, config):
    with quiet():
        AutoModelForCausalLM.from_config(config).save_pretrained(place)
    character_tokenizer("0123456789+-*= ").save_pretrained(place)
    return place


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_and_head_make_the_models_own_logits(name):
    lm = model(name, dtype="float32")
    ids = torch.randint(2, 17, (3, 9))
    assert not lm.head.plain
    assert torch.allclose(lm.logits(lm.hidden(ids)), lm.model(input_ids=ids).logits, atol=1e-5)
    cache = DynamicCache()
    pieces = torch.cat([lm.hidden(ids[:, :4], cache=cache), lm.hidden(ids[:, 4:], cache=cache)], 1)
    assert torch.allclose(pieces, lm.hidden(ids), atol=1e-4)
    assert not lm.model.training
    assert (lm.eos, lm.pad, lm.context) == ((1,), 0, 512)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        (CohereConfig(**SHAPE, logit_scale=0.25), 0.25),
        (GraniteConfig(**SHAPE, logits_scaling=4.0), 0.25),
    ],
    ids=["cohere", "granite"],
)
def test_scaled_logits_are_recognised(tmp_path, config, scale):
    lm = load(saved(tmp_path, config))
    assert lm.head.scale == scale
    assert not lm.head.plain
    assert LMPolicy(lm).packed


def test_a_head_that_does_not_fit_falls_back_to_the_models_logits():
    lm = model("llama", dtype="float32")
    lm.causal.lm_head = torch.nn.Sequential(lm.causal.lm_head, torch.nn.Tanh())
    assert head_of(lm.causal).plain
    copy = lm.copy()
    ids = torch.randint(2, 17, (2, 5))
    assert copy.head == Head(None)
    assert torch.equal(copy.logits(copy.hidden(ids)), lm.model(input_ids=ids).logits)
    assert copy.size == 17


def test_an_architecture_nobody_listed_has_the_right_log_probabilities(tmp_path):
    lm = load(saved(tmp_path, OPTConfig(**SHAPE, ffn_dim=32, word_embed_proj_dim=16)))
    inputs, _ = ragged()
    row_by_row = LMPolicy(lm, share_prompts=False).log_prob(inputs)
    assert torch.allclose(LMPolicy(lm).log_prob(inputs), row_by_row, atol=1e-4)


def test_saved_and_loaded_again_is_the_same(tmp_path):
    lm = model("gemma2", dtype="float32")
    lm.save(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    for (name, a), (_, b) in zip(
        lm.model.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    assert AutoTokenizer.from_pretrained(tmp_path)("1+2")["input_ids"] == [3, 12, 4]
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 1


def copied(tmp_path, name="llama"):
    shutil.copytree(folder(name), tmp_path, dirs_exist_ok=True)
    return tmp_path


def edited(path, **fields):
    content = json.loads(path.read_text())
    content.update(fields)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        load(tmp_path / "nowhere")


def test_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(tmp_path)


def test_missing_tokenizer_is_refused(tmp_path):
    place = copied(tmp_path)
    (place / "tokenizer.json").unlink()
    (place / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load(place)


def test_no_end_of_sequence_token_is_refused(tmp_path, capsys):
    place = copied(tmp_path)
    for name in ("tokenizer_config.json", "generation_config.json"):
        edited(place / name, eos_token=None, eos_token_id=None, pad_token=None)
    edited(place / "config.json", eos_token_id=None)
    with pytest.raises(ModelError, match="end-of-sequence"):
        load(place)
    assert "pads" not in capsys.readouterr().err  # there is no end token that could


def test_every_end_of_sequence_id_counts_and_pad_falls_back(tmp_path, capsys):
    place = copied(tmp_path)
    edited(place / "generation_config.json", eos_token_id=[1, 5])
    edited(place / "tokenizer_config.json", pad_token=None)
    lm = load(place)
    load(place)
    assert lm.eos == (1, 5)
    assert (lm.pad, lm.frozen_copy().pad) == (1, 1)
    (told,) = capsys.readouterr().err.splitlines()
    assert f"the tokenizer of {str(place)!r} has no padding token; its end token pads" in told


def test_a_token_that_the_model_lacks_neither_ends_nor_pads(tmp_path):
    place = copied(tmp_path)
    edited(place / "generation_config.json", eos_token_id=[1, 99])
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.add_special_tokens({"pad_token": "<pad2>"})
    tokenizer.save_pretrained(place)
    lm = load(place)
    assert tokenizer.pad_token_id == lm.vocabulary == 17
    assert (lm.eos, lm.pad) == ((1,), 1)
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    tokenizer.save_pretrained(place)
    with pytest.raises(ModelError, match=r"with '<end>', whose id is 18, but the model knows 17"):
        load(place)


def test_a_base_model_that_is_the_causal_model_itself(tmp_path):
    config = Llama4TextConfig(
        **SHAPE, intermediate_size_mlp=32, num_local_experts=2, head_dim=8, attention_chunk_size=16
    )
    lm = load(saved(tmp_path, config))
    assert lm.causal.base_model is lm.causal
    assert lm.trunk is not lm.causal
    assert not lm.head.plain
    ids = torch.randint(2, 17, (2, 5))
    assert torch.allclose(lm.logits(lm.hidden(ids)), lm.model(input_ids=ids).logits, atol=1e-5)
    inputs, _ = ragged()
    row_by_row = LMPolicy(lm, share_prompts=False).log_prob(inputs)
    assert torch.allclose(LMPolicy(lm).log_prob(inputs), row_by_row, atol=1e-4)


def test_a_trunk_without_hidden_states_falls_back_to_the_models_logits():
    lm = model("llama", dtype="float32")
    inner = lm.causal.model.forward
    lm.causal.model.forward = lambda **given: SimpleNamespace(logits=inner(**given)[0])
    with pytest.raises(ModelError, match="LlamaModel returns no hidden states"):
        lm.hidden(torch.randint(2, 17, (2, 5)))


def test_a_model_without_a_key_value_cache_is_refused(tmp_path):
    config = MambaConfig(
        vocab_size=17, hidden_size=16, num_hidden_layers=1, state_size=4, eos_token_id=1
    )
    with pytest.raises(ModelError, match="key-value cache"):
        load(saved(tmp_path, config))


def test_unknown_options_are_refused():
    with pytest.raises(ModelError, match="dtype"):
        load(folder("llama"), dtype="float8")
    with pytest.raises(ModelError, match="lora"):
        load(folder("llama"), lora={"rank": 4})


@pytest.mark.parametrize(
    "lora", [{"r": 0}, {"r": "x"}, {"r": 2.5}, {"r": True}, {"alpha": "x"}, {"alpha": -1.0}]
)
def test_an_impossible_size_of_an_adapter_is_said(lora):
    (key,) = lora
    with pytest.raises(ModelError, match=f"lora {key} is .*must be a positive"):
        load(folder("llama"), lora=lora)


@pytest.mark.parametrize("targets", [5, [], ["q_proj", 3]])
def test_layers_of_an_adapter_are_named(targets):
    with pytest.raises(ModelError, match=r"lora targets are .* but must be the names of layers"):
        load(folder("llama"), lora={"targets": targets})


@pytest.mark.parametrize("attention", ["sdpaa", "logpi_packed", "paged|eager"])
def test_an_unknown_attention_is_said_with_those_there_are(attention):
    with pytest.raises(ModelError) as refused:
        load("nowhere", attention=attention, called="demo:arithmetic")
    said = str(refused.value)
    assert said.startswith(f"'demo:arithmetic' cannot be loaded with the attention '{attention}'")
    assert "Choose one of auto, eager, " in said
    assert "logpi_" not in said.partition("Choose")[2]


def test_an_attention_that_cannot_run_here_is_said_of_the_model(monkeypatch):
    def missing(*_, **__):
        raise ImportError("the package of flash_attention_2 is not installed.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", missing)
    with pytest.raises(ModelError, match=r"^'mine' cannot be loaded with the attention 'eager'"):
        load(folder("llama"), attention="eager", called="mine")


@pytest.mark.parametrize("device", ["nonsense", "hpu:0", "cuda:99"])
def test_a_device_that_is_not_there_is_said_before_anything_is_loaded(device):
    with pytest.raises(ModelError, match=f"device '{device}' cannot be used here"):
        load("nowhere", device=device)


def test_a_model_that_is_no_causal_one_is_refused(tmp_path):
    place = copied(tmp_path)
    edited(place / "config.json", model_type="vit", architectures=["ViTModel"])
    with pytest.raises(ModelError, match="causal"):
        load(place)


def test_quiet_ends():
    with quiet():
        pass
