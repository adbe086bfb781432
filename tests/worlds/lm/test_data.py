import json
import re

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from logpi.core.errors import DataError
from logpi.recipes import RECIPES
from logpi.worlds.lm.chat import answer_of
from logpi.worlds.lm.data import _RECIPES, Example, encode, encode_all, read
from logpi.worlds.lm.tiny import character_tokenizer

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def said(role, content):
    return {"role": role, "content": content}


@pytest.fixture
def tokenizer():
    return character_tokenizer("abcdefghijklmnopqrstuvwxyz0123456789+=<>\n ", bos=True)


@pytest.fixture
def chat(tokenizer):
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def places(examples):
    return [e.place for e in examples]


# -- formats --------------------------------------------------------------------------------------


def test_jsonl_keeps_columns_and_true_line_numbers(file):
    first = '\ufeff{"prompt": "1+1=", "answer": 2, "level": [1]}\r\n\n'
    path = file("t.jsonl", first + '{"prompt": "a\u2028b", "answer": 3}')
    found = read(path, kind="prompts")
    assert places(found) == ["t.jsonl:1", "t.jsonl:3"]
    assert found[0].columns == {"answer": 2, "level": [1]}
    assert found[1].prompt == "a\u2028b"
    assert read(str(path), kind="prompts") == found


def test_json_list_has_line_numbers(file):
    path = file("t.json", '[{"prompt": "a"},\n\n {"prompt": "b"\n}, {"prompt": "c"}]\n')
    assert places(read(path, kind="prompts")) == ["t.json:1", "t.json:3", "t.json:4"]


def test_csv_with_quoted_newlines_has_true_line_numbers(file):
    path = file("t.csv", 'prompt,answer\n"a\nb",1\nc,"2, or ""3"""\n')
    found = read(path, kind="prompts")
    assert places(found) == ["t.csv:2", "t.csv:4"]
    assert found[0].prompt == "a\nb"
    assert found[1].columns == {"answer": '2, or "3"'}


def test_tab_separated(file):
    path = file("t.tsv", "prompt\tcompletion\na\tb, c\n")
    assert read(path, kind="demonstrations")[0].completion == "b, c"


def test_parquet_saved_folder_and_list_agree(tmp_path):
    rows = [{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "2"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    saved = datasets.Dataset.from_list(rows)
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"test": saved}).save_to_disk(str(tmp_path / "many"))
    spelled = [
        read(rows, kind="prompts"),
        read(tmp_path / "t.parquet", kind="prompts"),
        read(tmp_path / "one", kind="prompts"),
        read(tmp_path / "many", kind="prompts", split="test"),
    ]
    texts = [[(e.prompt, e.columns) for e in found] for found in spelled]
    assert all(one == texts[0] for one in texts)
    assert places(spelled[1]) == ["t.parquet, row 1", "t.parquet, row 2"]
    with pytest.raises(DataError, match=r"no split 'train'\. It has test"):
        read(tmp_path / "many", kind="prompts")


def test_pairs():
    (found,) = read([{"prompt": "p", "chosen": "a", "rejected": "b", "by": 1}], kind="pairs")
    assert (found.prompt, found.chosen, found.rejected, found.columns) == ("p", "a", "b", {"by": 1})


# -- conversations --------------------------------------------------------------------------------


def test_messages_as_prompt_and_as_demonstration(chat):
    talk = [said("user", "1+1="), said("assistant", "2")]
    (demo,) = read([{"messages": talk}], kind="demonstrations", tokenizer=chat)
    assert (demo.prompt, demo.completion) == ("<user>1+1=\n<assistant>", "2\n")
    (prompt,) = read([{"messages": talk[:1], "answer": "2"}], kind="prompts", tokenizer=chat)
    assert (prompt.prompt, prompt.columns) == ("<user>1+1=\n<assistant>", {"answer": "2"})
    assert prompt.templated


@pytest.mark.parametrize("whole", [True, False])
def test_pairs_of_messages(chat, whole):
    asked, good, bad = said("user", "q"), said("assistant", "a"), said("assistant", "b")
    if whole:
        row = {"chosen": [asked, good], "rejected": [asked, bad]}
    else:
        row = {"prompt": [asked], "chosen": [good], "rejected": "b"}
    (found,) = read([row], kind="pairs", tokenizer=chat)
    assert (found.prompt, found.chosen, found.rejected) == ("<user>q\n<assistant>", "a\n", "b\n")


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def chatting(tokenizer, template, *marks):
    tokenizer.chat_template = template
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    return tokenizer, [tokenizer.convert_tokens_to_ids(mark) for mark in marks]


@pytest.mark.parametrize(
    ("template", "marks", "head"),
    [
        (CHATML, ("<|im_start|>", "<|im_end|>"), "assistant"),
        (GEMMA, ("<start_of_turn>", "<end_of_turn>"), "model"),
    ],
    ids=["chatml", "gemma"],
)
def test_what_is_trained_is_what_the_template_writes(tokenizer, template, marks, head):
    tokenizer, (start, end) = chatting(tokenizer, template, *marks)
    two, three = (tokenizer.convert_tokens_to_ids(x) for x in "23")
    asked = said("user", "1+1=")
    talk = {"messages": [asked, said("assistant", "2")]}
    (demo,) = read([talk], kind="demonstrations", tokenizer=tokenizer)
    assert demo.prompt.endswith(f"{marks[0]}{head}\n")
    assert demo.completion == f"2{marks[1]}\n"
    eos = (tokenizer.eos_token_id, end)
    prompt, completion = encode(tokenizer, demo, kind="demonstrations", eos=eos)
    assert completion.tolist() == [two, end]
    assert prompt.tolist().count(start) == 2
    without = encode(tokenizer, demo, kind="demonstrations")[1].tolist()
    line = tokenizer.convert_tokens_to_ids("\n")
    assert without == [two, end, line, tokenizer.eos_token_id]

    pair = {"prompt": [asked], "chosen": [said("assistant", "2")], "rejected": "3"}
    (found,) = read([pair], kind="pairs", tokenizer=tokenizer)
    _, chosen, rejected = encode(tokenizer, found, kind="pairs", eos=eos)
    assert (chosen.tolist(), rejected.tolist()) == ([two, end], [three, end])


def test_an_answer_may_be_a_text(chat):
    said_and_text = ([said("assistant", "a")], "a")
    asked = [said("user", "q")]
    for value in said_and_text:
        assert answer_of("x:1", "chosen", value, prompt=asked, tokenizer=chat) == "a\n"
    with pytest.raises(DataError, match="holds messages by user"):
        answer_of("x:1", "chosen", asked, prompt=asked, tokenizer=chat)


def test_a_template_that_rewrites_earlier_turns(tokenizer):
    tokenizer.chat_template = TEMPLATE.replace("<assistant>", "<assistant><think>")
    talk = [said("user", "q"), said("assistant", "a")]
    with pytest.raises(DataError, match=r"data\[0\]: column 'completion': .*rewrites earlier"):
        read([{"messages": talk}], kind="demonstrations", tokenizer=tokenizer)


def test_a_message_that_goes_on_after_its_end(tokenizer):
    tokenizer, (_, end) = chatting(tokenizer, CHATML, "<|im_start|>", "<|im_end|>")
    talk = [said("user", "q"), said("assistant", "a<|im_end|>b")]
    (demo,) = read([{"messages": talk}], kind="demonstrations", tokenizer=tokenizer)
    with pytest.raises(DataError, match=r"column 'completion': the text goes on after '<\|im_end"):
        encode(tokenizer, demo, kind="demonstrations", eos=(1, end))


def test_a_template_writes_the_special_tokens_itself(chat):
    chat.post_processor = None
    plain = Example("ab", "c")
    templated = Example("ab", "c", templated=True)
    first = encode(chat, plain, kind="demonstrations")[0]
    assert encode(chat, templated, kind="demonstrations")[0].tolist() == first.tolist()[-2:]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([said("usr", "x")], "message 0 is by 'usr'. Did you mean `user`"),
        ([said("user", "")], "message 0 has no text"),
        ([{"role": "user"}], "no object with `role` and `content`"),
        ([], "not a list of messages"),
        ("hello", "not a list of messages"),
        ([said("user", "x")], "by 'user', but a demonstration ends with the assistant"),
        ([said("assistant", "x")], "nothing stands before the completion"),
    ],
)
def test_conversations_that_cannot_be(chat, messages, told):
    with pytest.raises(DataError, match=rf"data\[0\]: column 'messages': .*{re.escape(told)}"):
        read([{"messages": messages}], kind="demonstrations", tokenizer=chat)


def test_a_conversation_without_a_template(tokenizer):
    with pytest.raises(DataError, match="the tokenizer has no chat template"):
        read([{"messages": [said("user", "x")]}], kind="prompts", tokenizer=tokenizer)


def test_a_template_that_refuses(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('users first') }}"
    with pytest.raises(DataError, match="refuses the conversation: users first"):
        read([{"messages": [said("user", "x")]}], kind="prompts", tokenizer=tokenizer)


# -- bad rows -------------------------------------------------------------------------------------

GOOD = '{"prompt": "a", "completion": "b", "answer": "c"}\n'


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"prompt": "a" "completion": "b"}', ":2: character 16 is not JSON: Expecting ','"),
        ('["a"]', ":2: a row is an object"),
        ('{"prompt": "a", "prompt": "b"}', ":2: column 'prompt': stands there twice"),
        ('{"prompt": "a"}', ":2: column 'completion': missing"),
        ('{"prompt": "a", "completion": null}', ":2: column 'completion': is null, not a text"),
        ('{"prompt": "a", "completion": 3}', ":2: column 'completion': is int '3', not a text"),
        ('{"prompt": "a", "completion": " "}', ":2: column 'completion': is empty"),
        ('{"prompt": "", "completion": "b"}', ":2: column 'prompt': is empty"),
        ('{"prompt": "a", "completion": "b", "x": NaN}', ":2: column 'x': holds nan"),
        ('{"prompt": "a", "completion": "b", "x": [-Infinity]}', ":2: column 'x': holds -inf"),
    ],
)
def test_bad_demonstrations_are_refused_by_place(file, row, told):
    with pytest.raises(DataError, match=re.escape("t.jsonl" + told)):
        read(file("t.jsonl", GOOD + row), kind="demonstrations")


@pytest.mark.parametrize("answer", ['"answer": ""', '"answer": null', '"level": 1'])
def test_an_answer_that_other_rows_have(file, answer):
    path = file("t.jsonl", f'{{"prompt": "a", "answer": "c"}}\n{{"prompt": "a", {answer}}}')
    with pytest.raises(DataError, match=r"t.jsonl:2: column 'answer': (is empty|missing)"):
        read(path, kind="prompts")


def test_nothing_is_preferred(file):
    path = file("t.jsonl", json.dumps({"prompt": "p", "chosen": "a", "rejected": "a"}))
    with pytest.raises(DataError, match=r"t.jsonl:1: column 'rejected': is the same as `chosen`"):
        read(path, kind="pairs")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.jsonl", "", "t.jsonl has no rows"),
        ("t.csv", "prompt,answer\n", "t.csv has no rows"),
        ("t.json", "[]", "t.json has no rows"),
        ("t.json", '{"data": []}', "t.json:1: the file holds one object, not a list of rows"),
        ("t.json", '[{"prompt": "a"},\n{"prompt": "b"}', "t.json:2: .* the list does not end here"),
        ("t.json", '[{"prompt": "a"},\n{"prompt: "b"}]', "t.json:2: character 12 is not JSON"),
        (
            "t.jsonl",
            b'{"prompt": "a"}\n{"prompt": "\xff"}',
            "t.jsonl:2: byte 13 .*0xff.* not UTF-8",
        ),
        ("t.csv", "prompt,prompt\na,b\n", "t.csv:1: column 'prompt': stands there twice"),
        ("t.csv", "prompt,\na,b\n", "t.csv:1: column 2 of the header has no name"),
        ("t.csv", 'prompt,answer\n"a\nb",c\na,b,c\n', "t.csv:4: 3 fields, but the header has 2"),
        ("t.csv", 'prompt,answer\na,b\n"c,d\n', "t.csv:3: not CSV"),
        ("t.txt", "x", "ends in .txt, which says nothing about its format"),
        ("t.parquet", "x", "not a Parquet file"),
    ],
)
def test_bad_files(file, name, content, told):
    with pytest.raises(DataError, match=told):
        read(file(name, content), kind="prompts")


def test_files_that_are_not_there(file, tmp_path):
    file("train.jsonl", GOOD)
    with pytest.raises(DataError, match=r"no file .*trian.jsonl'. Did you mean .*train.jsonl"):
        read(tmp_path / "trian.jsonl", kind="prompts")
    with pytest.raises(DataError, match=r"The folder .* does not exist either"):
        read(tmp_path / "x" / "train.jsonl", kind="prompts")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is no data set that can be read: .* It holds nothing"):
        read(tmp_path / "empty", kind="prompts")


@pytest.mark.parametrize("given", [{"prompt": "a"}, 3, ["a"], []])
def test_lists_that_are_none(given):
    with pytest.raises(DataError):
        read(given, kind="prompts")


# -- the wrong kind -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "kind", "told"),
    [
        (
            {"prompt": "p", "chosen": "a", "rejected": "b"},
            "prompts",
            "`prompt`, `chosen`, `rejected`: these are pairs, the data of dpo.* takes prompts",
        ),
        (
            {"prompt": "p", "completion": "a"},
            "pairs",
            "these are demonstrations, the data of sft.* takes pairs, with .*`rejected`",
        ),
        ({"prompt": "p", "answer": "a"}, "pairs", "column 'chosen': missing.*`prompt`, `answer`"),
        ({"prompt": "p", "completion": "a"}, "prompts", "Rename the column .to `answer`"),
        ({"promt": "p"}, "prompts", "column 'prompt': missing.* Did you mean `promt`"),
    ],
)
def test_the_wrong_kind_says_what_would_fit(row, kind, told):
    with pytest.raises(DataError, match=told):
        read([row], kind=kind)


def test_the_recipes_that_errors_name_take_that_data():
    for kind in ("demonstrations", "pairs"):
        taking = {name for name, recipe in RECIPES.items() if recipe.data == kind}
        assert set(_RECIPES[kind].split(", ")) == taking


# -- tokens ---------------------------------------------------------------------------------------


def test_tokens_of_each_kind(tokenizer):
    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    end = [tokenizer.eos_token_id]
    example = Example("1+1=", completion="2", chosen="2", rejected="33")
    prompt, completion = encode(tokenizer, example, kind="demonstrations")
    assert prompt.tolist() == tokenizer("1+1=")["input_ids"]
    assert completion.tolist() == ids("2") + end
    assert [x.tolist() for x in encode(tokenizer, example, kind="pairs")[1:]] == [
        ids("2") + end,
        ids("33") + end,
    ]
    assert len(encode(tokenizer, example, kind="prompts")) == 1


def test_a_mark_in_a_text_is_text(tokenizer):
    example = Example("2<eos>", completion="2<eos>", place="t.jsonl:9")
    prompt, completion = encode(tokenizer, example, kind="demonstrations")
    assert tokenizer.decode(prompt) == "2<eos>"
    assert len(prompt) == 6
    assert completion.tolist() == [*prompt.tolist(), tokenizer.eos_token_id]
    narrow = character_tokenizer("0123456789")
    with pytest.raises(DataError, match=r"t.jsonl:9: column 'prompt': .* cannot write '2<eos>'"):
        encode(narrow, example, kind="demonstrations")


def test_a_tokenizer_without_an_end_takes_the_models(tokenizer):
    tokenizer.eos_token = None
    example = Example("1+1=", completion="2")
    completion = encode(tokenizer, example, kind="demonstrations", eos=(1, 5))[1]
    assert completion.tolist() == [tokenizer.convert_tokens_to_ids("2"), 1]
    with pytest.raises(DataError, match="no end-of-sequence token"):
        encode(tokenizer, example, kind="demonstrations")


def test_longer_than_the_context(tokenizer):
    example = Example("1+1=", completion="22", place="t.jsonl:9")
    encode(tokenizer, example, kind="demonstrations", context=7)
    with pytest.raises(
        DataError, match=r"t.jsonl:9: .* 4 tokens, and the completion 3, .* holds 6"
    ):
        encode(tokenizer, example, kind="demonstrations", context=6)
    with pytest.raises(DataError, match="no room for a token"):
        encode(tokenizer, example, kind="prompts", context=4)


def test_what_the_tokenizer_cannot_write(tokenizer):
    with pytest.raises(DataError, match=r"t.jsonl:9: column 'prompt': .*'é'"):
        encode(tokenizer, Example("é", place="t.jsonl:9"), kind="prompts")


@pytest.mark.parametrize("kind", ["demonstrations", "pairs"])
def test_many_rows_are_tokenised_as_each_alone(tokenizer, kind, monkeypatch):
    monkeypatch.setattr("logpi.worlds.lm.data._AT_ONCE", 4)
    examples = [
        Example(f"{i}+{i}=", completion="9" * i, chosen="1", rejected="7" * i, templated=i % 3 == 0)
        for i in range(1, 12)
    ]
    together = encode_all(tokenizer, examples, kind=kind)
    alone = [encode(tokenizer, e, kind=kind) for e in examples]
    assert [[x.tolist() for x in ids] for ids in together] == [
        [x.tolist() for x in ids] for ids in alone
    ]


@pytest.mark.parametrize("bad", [{"completion": "é"}, {"completion": "2" * 90}])
def test_the_row_that_cannot_be_used_is_named_among_many(tokenizer, bad):
    examples = [Example("1+1=", completion="2", place=f"t.jsonl:{i}") for i in range(1, 9)]
    examples[5] = Example("1+1=", place="t.jsonl:6", **bad)
    with pytest.raises(DataError, match=r"^t.jsonl:6: column"):
        encode_all(tokenizer, examples, kind="demonstrations", context=64)


def test_a_token_that_the_model_lacks_is_named_with_its_row(tokenizer):
    known = len(tokenizer)
    tokenizer.add_tokens(["zz"])
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "czz"}]
    examples = read(rows, kind="demonstrations")
    told = {"kind": "demonstrations", "vocabulary": known}
    assert len(encode_all(tokenizer, examples[:1], **told)) == 1
    said = rf"data\[1\]: column 'completion': holds the token 'zz', whose id is {known}, but"
    with pytest.raises(DataError, match=said):
        encode_all(tokenizer, examples, **told)
