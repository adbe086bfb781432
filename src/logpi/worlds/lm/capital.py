"""A language model that knows one sentence: three cities, with probabilities that are exact.

    France: -> The -> capital -> of -> France -> is -> Paris (.9) | Lyon (.08) | Marseille (.02) ->
    <eos>

Every token before the city is decided with a probability that differs from 1 by less than 1e-12 (in
float32 its log-probability is 0), so a completion is one draw of a city. Paris earns 10, another
city -10, and what each decision is worth can be worked out by hand: before the city V = 8 and no
token can change that; at the city the advantages are 2, -18 and -18; the end of the sentence
follows of itself.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from logpi.worlds.lm.pretrained import quiet

__all__ = ["CITIES", "PROMPT", "REWARD", "SENTENCE", "build", "rows"]

PROMPT = "France:"
"""The state that every completion starts from; no decision."""
SENTENCE = ("The", "capital", "of", "France", "is")
"""The tokens that every completion begins with: decisions, like the city."""
CITIES = {"Paris": 0.9, "Lyon": 0.08, "Marseille": 0.02}
"""What the model says next, and how probable it finds that."""
REWARD = {"name": "exact_match", "right": 10.0, "wrong": -10.0}
"""10 for the sentence about Paris, -10 for any other."""

_CERTAIN = 60.0  # logits this far apart: the others' share is below 1e-24
_WIDTH = 32  # one direction for each token, and spare ones


def rows() -> list[dict[str, str]]:
    """Return the one prompt, with its answer.

    >>> rows()
    [{'prompt': 'France:', 'answer': 'The capital of France is Paris'}]
    """
    return [{"prompt": PROMPT, "answer": " ".join([*SENTENCE, "Paris"])}]


def build(folder: str | Path) -> Path:
    """Return the folder, now holding the model and its tokenizer as Hugging Face reads them.

    A Llama of one layer that writes nothing to the residual stream: a token's direction goes
    through the norm to the head, whose rows hold the logits of what follows that token. The layer's
    other weights are random, so that training can put it to use.
    """
    folder = Path(folder)
    tokenizer = _tokenizer()
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=False,
        rms_norm_eps=1e-12,
        **special,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for output in ("self_attn.o_proj", "mlp.down_proj"):
            model.get_parameter(f"model.layers.0.{output}.weight").zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), _WIDTH))
        model.lm_head.weight.zero_()
        # The norm makes a unit vector sqrt(width) long.
        logits = _logits(tokenizer) / math.sqrt(_WIDTH)
        model.lm_head.weight[:, : len(tokenizer)] = logits.T
    model.generation_config = GenerationConfig(**special)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerBase:
    words = ["<pad>", "<eos>", PROMPT, *SENTENCE, *CITIES]
    vocabulary = {word: i for i, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=None))  # type: ignore[arg-type]  # None: no unknown token
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _logits(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Return [after, next]: the logits of what follows each token."""
    index = tokenizer.get_vocab()
    table = torch.full((len(index), len(index)), -_CERTAIN)
    for word, following in itertools.pairwise([PROMPT, *SENTENCE]):
        table[index[word], index[following]] = 0.0
    for city, probability in CITIES.items():
        table[index["is"], index[city]] = math.log(probability)
        table[index[city], index["<eos>"]] = 0.0
    table[0, 1] = table[1, 1] = 0.0
    return table
