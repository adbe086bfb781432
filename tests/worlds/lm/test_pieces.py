"""The pieces of a completion are its text."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from logpi.worlds.lm.demos import demo_model
from logpi.worlds.lm.pieces import pieces

TEXT = "naïve café — 価格 😀 and so on"


@pytest.fixture(scope="module")
def byte_level():
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def test_ascii_pieces_of_a_byte_level_tokenizer_join_to_the_text(byte_level):
    ids = byte_level("and so on, and on")["input_ids"]
    assert "".join(pieces(byte_level, [], ids)) == "and so on, and on"


def test_half_a_character_is_no_error(byte_level):
    ids = byte_level(TEXT)["input_ids"]
    told = pieces(byte_level, [], ids)
    assert len(told) == len(ids)
    assert all(told)


def test_words_keep_their_spaces(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(demo_model("demo:capital", tmp_path))
    prompt = tokenizer("France:")["input_ids"]
    tokens = tokenizer("The capital of France is Paris")["input_ids"]
    told = pieces(tokenizer, prompt, tokens)
    assert "".join(told).strip() == "The capital of France is Paris"
