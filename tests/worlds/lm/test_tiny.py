"""The tiny builder: the same bytes every time, a folder that Hugging Face reads, exact text."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from logpi.core.errors import ModelError
from logpi.worlds.lm.model import load
from logpi.worlds.lm.tiny import ARCHITECTURES, character_tokenizer, tiny


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tie", [False, True])
def test_same_seed_same_bytes_and_readable(tmp_path, architecture, tie):
    options = {"architecture": architecture, "hidden": 16, "tie": tie}
    a = tiny(tmp_path / "a", seed=3, **options)
    b = tiny(tmp_path / "b", seed=3, **options)
    c = tiny(tmp_path / "c", seed=4, **options)
    assert content(a) == content(b)
    assert content(a)["model.safetensors"] != content(c)["model.safetensors"]
    model = AutoModelForCausalLM.from_pretrained(a)
    assert model.config.model_type == architecture
    assert model.config.tie_word_embeddings == tie
    assert AutoTokenizer.from_pretrained(a).eos_token == "<eos>"
    assert load(a).eos == (1,)


def test_text_comes_back_as_it_was():
    tokenizer = character_tokenizer("ab \n.")
    text = " a  b.\n a "
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text
    assert character_tokenizer("ab", bos=True).bos_token_id == 2


def test_what_it_cannot_build_is_refused(tmp_path):
    with pytest.raises(ModelError, match="llama"):
        tiny(tmp_path, architecture="lama")
    with pytest.raises(ModelError, match="heads"):
        tiny(tmp_path, hidden=30, heads=4)
    assert not any(tmp_path.iterdir())
