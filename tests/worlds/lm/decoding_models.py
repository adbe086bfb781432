"""Small models that the decoding tests load, each built once a session."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from logpi.worlds.lm.model import LanguageModel, load
from logpi.worlds.lm.pretrained import quiet
from logpi.worlds.lm.tiny import character_tokenizer, tiny

ALPHABET = "0123456789+-*= "
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_GROUPED = {**_SMALL, "num_key_value_heads": 2, "intermediate_size": 96, "initializer_range": 0.2}

CONFIGS = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 1},
    "qwen2-window": {
        "architecture": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 1,
    },
    "qwen3": {},
    "gpt2": {},
    "gemma": {},
    "gemma2": {"sliding_window": 8, "num_key_value_heads": 2},
}
OTHERS = {
    "mistral": {**_GROUPED, "sliding_window": 8, "max_position_embeddings": 256},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "gpt_oss": {
        **_GROUPED,
        "head_dim": 16,
        "sliding_window": 8,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "max_position_embeddings": 256,
    },
}


@functools.cache
def model(name: str, *, tie: bool = False, alphabet: str = ALPHABET, **config) -> LanguageModel:
    folder = Path(tempfile.mkdtemp())
    if name in OTHERS:
        return load(_other(folder, name))
    given = {"architecture": name, "initializer_range": 0.2, **CONFIGS[name], **config}
    return load(tiny(folder, alphabet=alphabet, tie=tie, **{"seed": 3, **given}))


def _other(folder: Path, name: str) -> Path:
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    tokenizer = character_tokenizer(ALPHABET)
    config = AutoConfig.for_model(name, vocab_size=len(tokenizer), **special, **OTHERS[name])
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(config)
        network.generation_config = GenerationConfig(**special)
        network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompts(*lengths: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, 2 + len(ALPHABET), (n,), generator=generator) for n in lengths]
