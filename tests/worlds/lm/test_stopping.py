"""Stop strings across token boundaries, multi-byte characters and dropped leading spaces."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from logpi.worlds.lm.stopping import Stops, cut
from logpi.worlds.lm.tiny import character_tokenizer


def tokenizer(pieces, decoder):
    vocabulary = {p: i for i, p in enumerate(["<eos>", "<sep>", *pieces])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    inner.decoder = decoder
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", additional_special_tokens=["<sep>"]
    )


def of_bytes():
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    return tokenizer([*pieces, "ND", "Dx", "Ġ"], decoders.ByteLevel())


def of_words():
    return tokenizer(["▁", "▁foo", "foo", "▁bar", "o▁b"], decoders.Metaspace())


def ids(tokenizer, *pieces):
    return tokenizer.convert_tokens_to_ids(list(pieces))


def in_bytes(tokenizer, text):
    coder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return ids(tokenizer, *(c for piece, _ in coder.pre_tokenize_str(text) for c in piece))


def first_end(stops, tokens):
    """The length at which the completion ends, None if it never does."""
    table = np.array([tokens])
    for length in range(1, len(tokens) + 1):
        if stops.ended(table, length, np.array([0]))[0]:
            return length
    return None


def test_a_stop_string_over_several_tokens():
    t = of_bytes()
    tokens = in_bytes(t, "the E") + ids(t, "ND") + in_bytes(t, " and END")
    stops = Stops(t, (0,), ("END",))
    assert first_end(stops, tokens) == 6
    assert stops.texts([np.array(tokens[:6])]) == ("the ",)


def test_a_stop_string_that_ends_within_a_token():
    t = of_bytes()
    tokens = in_bytes(t, "EN") + ids(t, "Dx") + in_bytes(t, "yz")
    stops = Stops(t, (0,), ("END",))
    assert first_end(stops, tokens) == 3
    assert stops.texts([np.array(tokens[:3])]) == ("",)


@pytest.mark.parametrize("stop", ["→", "é→", "日本", "🙂", " 🙂"])
def test_multi_byte_characters(stop):
    t = of_bytes()
    before = "né à 日 " if stop != "日本" else "né "
    tokens = in_bytes(t, before + stop + " rest")
    stops = Stops(t, (0,), (stop,))
    at = len((before + stop).encode())
    assert first_end(stops, tokens) == at
    assert stops.texts([np.array(tokens[:at])]) == (before,)


def test_a_long_completion_is_looked_at_near_its_end_only():
    t = of_bytes()
    text = "🙂" * 200 + " the End"
    stops = Stops(t, (0,), ("🙂 the End",))
    assert first_end(stops, in_bytes(t, text)) == len(text.encode())


def test_a_leading_space_that_decoding_drops():
    t = of_words()
    tokens = ids(t, "▁foo", "▁bar", "▁foo")
    assert t.decode(tokens) == "foo bar foo"
    assert first_end(Stops(t, (0,), (" foo",)), tokens) == 3
    assert first_end(Stops(t, (0,), ("foo",)), tokens) == 1
    long = ids(t, *["▁bar"] * 30, "▁", "foo")
    assert first_end(Stops(t, (0,), ("bar ",)), long) == 2
    assert first_end(Stops(t, (0,), (" foo",)), long) == 32


def test_a_find_in_a_part_is_confirmed_on_the_whole():
    t = of_words()
    # "bar bar ..." holds no "xbar"; a window that began with "▁bar" would show one at its start.
    stops = Stops(t, (0,), ("oobar",))
    assert first_end(stops, ids(t, "▁foo", "▁bar", "▁foo", "▁bar")) is None


def test_a_stop_string_that_is_a_special_token():
    t = of_bytes()
    tokens = in_bytes(t, "ab") + ids(t, "<sep>") + in_bytes(t, "c")
    stops = Stops(t, (0,), ("<sep>",))
    assert first_end(stops, tokens) == 3
    assert stops.texts([np.array(tokens[:3])]) == ("ab",)
    assert first_end(Stops(t, (0,), ()), [*tokens, 0, 0]) == 5


def test_rows_are_judged_one_by_one():
    t = character_tokenizer("abc")
    table = np.array([t("abcab")["input_ids"], t("acbcc")["input_ids"], t("aaabc")["input_ids"]])
    stops = Stops(t, (1,), ("bc",))
    assert stops.ended(table, 3, np.array([0, 1])).tolist() == [True, False]
    assert stops.ended(table, 4, np.array([1, 2])).tolist() == [True, False]
    assert stops.ended(table, 5, np.array([2])).tolist() == [True]
    assert stops.texts(list(table[[0, 2]])) == ("a", "aaa")


def test_the_first_stop_string_cuts():
    assert cut("a;b.c", (".", ";")) == "a"
    assert cut("abc", (".",)) == "abc"
