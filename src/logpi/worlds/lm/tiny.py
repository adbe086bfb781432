"""`tiny`: a small character-level language model with random weights, for demos and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from logpi.core.errors import ModelError
from logpi.worlds.lm.pretrained import quiet

__all__ = ["ARCHITECTURES", "character_tokenizer", "tiny"]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gpt2", "gemma", "gemma2")
"""What `tiny` builds."""


def character_tokenizer(alphabet: str, *, bos: bool = False) -> PreTrainedTokenizerBase:
    """A tokenizer with <pad>, <eos>, perhaps <bos>, and a token per character of the alphabet.

    A character outside the alphabet is an error, not an unknown token.

    >>> t = character_tokenizer("ab ")
    >>> t("a b")["input_ids"], t.decode([2, 4, 3, 1])
    ([2, 4, 3], 'a b<eos>')
    """
    special = ["<pad>", "<eos>", *(["<bos>"] if bos else [])]
    vocabulary = {token: i for i, token in enumerate([*special, *dict.fromkeys(alphabet)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=None))  # type: ignore[arg-type]  # None: no unknown token
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>" if bos else None,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def tiny(
    folder: str | Path,
    *,
    architecture: str = "llama",
    alphabet: str = "0123456789+-*= ",
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    seed: int = 0,
    tie: bool = False,
    bos: bool = False,
    **config: Any,
) -> Path:
    """The folder, now a Hugging Face one with a small character-level model and its tokenizer.

    The same arguments write the same bytes. `config` overrides fields of the architecture's
    configuration (intermediate_size, sliding_window, initializer_range, ...).

    Raises `ModelError` for an architecture it does not build, or heads that do not divide `hidden`.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"tiny does not build {architecture!r}. Choose one of {', '.join(ARCHITECTURES)}."
        )
    if hidden % heads:
        raise ModelError(f"hidden is {hidden}, which {heads} heads do not divide.")
    folder = Path(folder)
    tokenizer = character_tokenizer(alphabet, bos=bos)
    names = [f"{name}_token_id" for name in ("pad", "eos", "bos")]
    special = {name: getattr(tokenizer, name) for name in names}
    fields = {"vocab_size": len(tokenizer), "tie_word_embeddings": tie, "dtype": "float32"}
    fields |= {**special, **_shape(architecture, hidden, layers, heads), **config}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **fields))
    model.generation_config = GenerationConfig(**special)
    with quiet():
        model.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _shape(architecture: str, hidden: int, layers: int, heads: int) -> dict[str, Any]:
    if architecture == "gpt2":
        return {"n_embd": hidden, "n_layer": layers, "n_head": heads, "n_positions": 512}
    shape: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": hidden // heads,
        "intermediate_size": 3 * hidden,
        "max_position_embeddings": 512,
    }
    if architecture == "gemma2":
        shape |= {"sliding_window": 16, "query_pre_attn_scalar": hidden // heads}
    return shape
