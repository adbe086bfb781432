"""What loading refuses, and quickly: code that comes with a model, and names that nobody knows."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from logpi.core.errors import ModelError
from logpi.worlds.lm.pretrained import from_pretrained, quiet
from worlds.lm.policy_cases import folder

LOAD = """
import sys
from logpi.core.errors import ModelError
from logpi.worlds.lm.pretrained import from_pretrained, quiet
import time
start = time.monotonic()
try:
    from_pretrained(sys.argv[1], dtype="float32")
    print("loaded")
except ModelError as error:
    print(error)
print(time.monotonic() - start)
"""


def loaded(name, *, said="", **environment):
    kept = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    return subprocess.run(
        [sys.executable, "-c", LOAD, str(name)],
        input=said,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def reachable():
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_code_that_comes_with_a_model_is_not_run(tmp_path, part):
    shutil.copytree(folder("llama"), tmp_path / "m")
    marker = tmp_path / "marker"
    (tmp_path / "m" / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    file, fields = {
        "model": ("config.json", {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}),
        "tokenizer": ("tokenizer_config.json", {"AutoTokenizer": [None, "evil.T"]}),
    }[part]
    config = json.loads((tmp_path / "m" / file).read_text())
    kind = {"model_type": "evil"} if part == "model" else {"tokenizer_class": "EvilTokenizer"}
    (tmp_path / "m" / file).write_text(json.dumps(config | kind | {"auto_map": fields}))
    done = loaded(tmp_path / "m", said="y\n" * 9, HF_HUB_OFFLINE="1")
    assert not marker.exists()
    if part == "model":
        assert "code of its own" in done.stdout
    assert "[y/N]" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nofolder", "nobody/nofolder"])
def test_a_name_that_is_nowhere_is_said_at_once_and_alone(name):
    if reachable():
        pytest.skip("the hub can be reached")
    done = loaded(name)
    told, seconds = done.stdout.splitlines()
    assert told.startswith(f"there is no folder {name!r} here, and the Hugging Face hub cannot be")
    assert float(seconds) < 5
    assert done.stderr == ""


@pytest.mark.slow
def test_what_the_hub_gave_before_is_read_without_it(tmp_path):
    if reachable():
        pytest.skip("the hub can be reached")
    stored = tmp_path / "models--nobody--known"
    revision = "0" * 40
    shutil.copytree(folder("llama"), stored / "snapshots" / revision)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(revision)
    done = loaded("nobody/known", HF_HUB_CACHE=str(tmp_path))
    said, seconds = done.stdout.splitlines()
    assert said == "loaded"
    assert float(seconds) < 5
    assert done.stderr == ""


def test_names_that_no_hub_is_asked_for(tmp_path):
    started = time.monotonic()
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file, not a model folder"):
        from_pretrained(tmp_path / "file", dtype="float32")
    for name in (tmp_path / "x", "./x", "a/b/c", "~/x"):
        with pytest.raises(ModelError, match="there is no model folder"):
            from_pretrained(name, dtype="float32")
    with pytest.raises(ModelError, match="no hub name looks like this"):
        from_pretrained("a name", dtype="float32")
    assert time.monotonic() - started < 5


def test_a_folder_is_read_from_where_the_person_is_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(folder("llama"), tmp_path / "m")
    model, tokenizer = from_pretrained(Path("~/m"), dtype="float32")
    assert model.config.model_type == "llama"
    assert tokenizer.eos_token == "<eos>"


def damaged(tmp_path, change):
    """A model folder whose tensors were changed, or, where that gives bytes, its file."""
    shutil.copytree(folder("llama"), tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    found = change(load_file(file), file.read_bytes())
    if isinstance(found, bytes):
        file.write_bytes(found)
    else:
        save_file(found, file, metadata={"format": "pt"})
    return tmp_path / "m"


def without(name):
    return lambda tensors, _: {k: x for k, x in tensors.items() if name not in k}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _, raw: raw[: len(raw) // 2], r"model.safetensors is torn or damaged"),
        (lambda _, raw: b"", r"model.safetensors is torn or damaged"),
        (without("q_proj"), r"`model.layers.0.self_attn.q_proj.weight` is not in them"),
        (without("layers.1."), r"and \d+ weights more"),
        (
            lambda tensors, _: {**tensors, "model.norm.weight": torch.ones(3)},
            r"`model.norm.weight` is \[3\] in them and \[\d+\] in it",
        ),
    ],
    ids=["torn", "empty", "a weight", "a layer", "a shape"],
)
def test_weights_that_would_be_made_up_are_refused(tmp_path, change, said, capsys):
    with pytest.raises(ModelError, match=said):
        from_pretrained(damaged(tmp_path, change), dtype="float32", called="mine")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_not_in_the_file_is_refused_unless_it_is_tied(tmp_path, tied):
    place = damaged(tmp_path, without("lm_head"))
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
    if tied:
        model, _ = from_pretrained(place, dtype="float32")
        assert model.lm_head.weight is model.model.embed_tokens.weight
    else:
        with pytest.raises(ModelError, match=r"`lm_head.weight` is not in them\. They would"):
            from_pretrained(place, dtype="float32")


def test_a_shard_that_is_missing_is_named(tmp_path):
    place = damaged(tmp_path, lambda tensors, _: tensors)
    model, _ = from_pretrained(place, dtype="float32")
    (place / "model.safetensors").unlink()
    with quiet():
        model.save_pretrained(place, max_shard_size="5KB")
    sorted(place.glob("model-*"))[1].unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-\d+\.safetensors"):
        from_pretrained(place, dtype="float32")


def test_weights_without_a_place_are_named_once(tmp_path, capsys):
    place = damaged(tmp_path, lambda tensors, _: {**tensors, "v_head.weight": torch.ones(3)})
    for _ in range(2):
        from_pretrained(place, dtype="float32")
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("no place for (1 in all, such as `v_head.weight`). They are left out.")
