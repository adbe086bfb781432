"""Folders that are laid out as data sets of the hub: the files, splits and configurations there."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from logpi.core.errors import DataError
from logpi.worlds.lm.data import read
from logpi.worlds.lm.rows import rows

TWO = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "1+2=", "answer": "3"}]


@pytest.fixture(autouse=True)
def _cached_here(tmp_path_factory, monkeypatch):
    datasets.disable_progress_bars()
    cache = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    yield
    datasets.enable_progress_bars()


def jsonl(path: Path, some=TWO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")


def test_splits_are_those_that_the_files_are_named_for(tmp_path):
    place = tmp_path / "set"
    jsonl(place / "train.jsonl")
    jsonl(place / "test.jsonl", TWO[1:])
    assert rows(place) == [(f"set/train.jsonl:{k}", row) for k, row in enumerate(TWO, 1)]
    assert rows(str(place), split="test") == [("set/test.jsonl:1", TWO[1])]
    with pytest.raises(
        DataError, match=r"no split 'dev'\. It has train, test: set `split` \(of he"
    ):
        rows(place, split="dev")


def test_shards_of_a_split_follow_one_another(tmp_path):
    (tmp_path / "data").mkdir()
    for shard, row in enumerate(TWO):
        name = f"train-0000{shard}-of-00002.parquet"
        datasets.Dataset.from_list([row]).to_parquet(tmp_path / "data" / name)
    found = rows(tmp_path)
    assert [row for _, row in found] == TWO
    assert found[1][0] == f"{tmp_path.name}/data/train-00001-of-00002.parquet, row 1"


def test_configurations_are_those_of_the_card(tmp_path):
    for name in ("easy", "hard"):
        jsonl(tmp_path / name / "some.jsonl", TWO[:1] if name == "easy" else TWO)
    listed = "".join(f"- config_name: {n}\n  data_files: {n}/*.jsonl\n" for n in ("easy", "hard"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{listed}---\n# Sums\n")
    assert [len(rows(f"{tmp_path}:{name}")) for name in ("easy", "hard")] == [1, 2]
    with pytest.raises(DataError, match=r"among the available configs: \['easy', 'hard'\]"):
        rows(tmp_path)
    with pytest.raises(DataError, match=r"'odd' not found.* as .*:NAME"):
        rows(f"{tmp_path}:odd")


def test_a_bad_row_is_named_by_file_and_line(tmp_path):
    place = tmp_path / "set"
    jsonl(place / "train.jsonl", [*TWO, {"prompt": "", "answer": "3"}])
    with pytest.raises(DataError, match=r"^set/train\.jsonl:3: column 'prompt': is empty"):
        read(place, kind="prompts")
    (place / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt":\n')
    with pytest.raises(DataError, match=r"^set/train\.jsonl:2: character 11 is not JSON"):
        rows(place)


def test_what_only_datasets_reads_is_left_to_it(tmp_path):
    place = tmp_path / "set"
    jsonl(place / "train.json")  # JSON lines, in spite of its name
    assert rows(place) == [(f"set, row {k}", row) for k, row in enumerate(TWO, 1)]
    (place / "train.json").write_text(json.dumps(TWO))
    assert rows(place) == [("set/train.json:1", row) for row in TWO]
    other = tmp_path / "other"
    other.mkdir()
    (other / "data.csv").write_text("prompt;answer\n1+1=;two\n")
    card = "---\nconfigs:\n- config_name: default\n  data_files: data.csv\n  sep: ';'\n---\n"
    (other / "README.md").write_text(card)
    assert rows(other) == [("other, row 1", {"prompt": "1+1=", "answer": "two"})]


def test_a_folder_of_other_things_is_no_data_set(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is no data set that can be read: .*model\.safetensors"):
        rows(tmp_path)
