"""Configuration: YAML, overrides, presets, and what is said about mistakes."""

import math
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.recipes import RECIPES, recipe
from logpi.train.config import (
    OptimConfig,
    RunConfig,
    build_config,
    check_directory,
    describe,
    load_config,
    presets,
    python_reward,
    validated,
)
from logpi.train.overrides import (
    apply_overrides,
    parse_override,
    parse_yaml,
    read_yaml,
    write_yaml,
)
from logpi.train.published import PUBLISHED, published_rate
from logpi.worlds.gym.world import Gym
from logpi.worlds.lm.world import LM

GOOD = """\
recipe: {name: grpo, beta: 0.04}
world:
  kind: lm
  model: some/folder
  data: train.jsonl
  stop: ["\\n"]
iterations: 20
optim: {lr: 3e-4, betas: [0.9, 0.95]}
"""


def write(tmp_path, text, name="run.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_overrides(tmp_path):
    file = write(tmp_path, GOOD)
    config = load_config(
        file, ["world.group_size=4", "optim.lr=1e-6", "recipe.beta=0.0", "log.tensorboard=true"]
    )
    assert config.recipe == {"name": "grpo", "beta": 0.0}
    assert config.world["group_size"] == 4
    assert (config.optim.lr, config.optim.betas) == (1e-6, (0.9, 0.95))
    assert config.log.tensorboard
    assert config.seed == 0


def test_another_recipe_takes_its_own_settings(tmp_path):
    config = load_config(write(tmp_path, GOOD), ["recipe=dapo"])
    assert config.recipe == {"name": "dapo"}
    bare = write(tmp_path, "recipe: grpo\niterations: 1\nworld: {}\n")
    config = load_config(bare, ["recipe.beta=1"])
    assert config.recipe == {"name": "grpo", "beta": 1}
    assert config.world == {"kind": "lm"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e6", 1e6),
        ("-1.5E+3", -1500.0),
        ("007", 7),
        ("0.0", 0.0),
        (".5", 0.5),
        ("'3e-4'", "3e-4"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("", None),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("[a, 1]", ["a", 1]),
        ("{r: 8}", {"r": 8}),
        ("file.py:reward", "file.py:reward"),
    ],
)
def test_values_are_typed_as_in_yaml_1_2(text, value):
    found = parse_override(f"world.x={text}")[1]
    assert found == value
    assert type(found) is type(value)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
    | st.sampled_from(["3e-4", "1_0", "no", "null", "~", "1:30", "0x1F", "=", "<<", "on", "-"])
    | st.sampled_from([".5", "\n"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(categories=["L", "N"]), max_size=5), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=5), plain, max_size=4))
def test_yaml_goes_out_and_back(data):
    printable = all(key.isprintable() for key in data)
    if printable:
        assert parse_yaml(write_yaml(data)) == data


@settings(max_examples=60)
@given(
    recipe=st.dictionaries(st.sampled_from(["beta", "low", "high"]), st.floats(0, 1), max_size=2),
    name=st.sampled_from(sorted(PUBLISHED)),
    world=st.dictionaries(st.sampled_from(["model", "stop", "lora", "top_p"]), plain, max_size=3),
    iterations=st.integers(1, 10**6),
    seed=st.integers(0, 2**63 - 1),
    lr=st.none() | st.floats(0, 1),
    clip=st.none() | st.floats(0.01, 10),
    decay=st.sampled_from(["constant", "linear", "cosine"]),
)
def test_a_run_goes_to_yaml_and_back(recipe, name, world, iterations, seed, lr, clip, decay):
    config = RunConfig(
        recipe={"name": name, **recipe},
        world=world,
        iterations=iterations,
        seed=seed,
        optim={"lr": lr, "clip": clip, "decay": decay},
    )
    again = build_config(parse_yaml(config.to_yaml()))
    assert again == config
    assert again.to_yaml() == config.to_yaml()
    assert again.resolved().learning_rate == config.learning_rate


def message(call, *arguments, **named):
    with pytest.raises(ConfigError) as error:
        call(*arguments, **named)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(("?", "."))
    return text


def test_an_unknown_key_names_its_neighbour_and_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD.replace("lr:", "lrr:"))
    assert (
        message(load_config, "run.yaml")
        == "unknown key `optim.lrr` in run.yaml. Did you mean `optim.lr`?"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optim.lrr=1", "in the override `optim.lrr=1`. Did you mean `optim.lr`?"),
        ("lr=1", "unknown key `lr` in the override `lr=1`. Did you mean `optim.lr`?"),
        ("learning_rate=1", "Did you mean `optim.lr`?"),
        ("iteration=1", "Did you mean `iterations`?"),
        ("optin.lr=1", "Did you mean `optim.lr`?"),
        ("group_size=4", "Did you mean `world.group_size`?"),
        ("worl.model=m", "Did you mean `world.model`?"),
        ("evaluate.each=1", "unknown key `evaluate.each`"),
        ("seed.x=1", "`seed` holds no keys"),
        ("optim.lr.x=1", "`optim.lr` holds no keys"),
        ("optim={lrr: 1}", "Did you mean `optim.lr`?"),
        ("optim.lr=fast", "`optim.lr` in"),
        ("optim.lr=-1", "greater than or equal to 0"),
        ("optim.lr=.nan", "finite number"),
        ("optim.betas=[0.9, 1.5]", "at least 0 and below 1"),
        ("optim.decay=exponential", "'constant', 'linear' or 'cosine'"),
        ("optim=3", "`optim` in"),
        ("optim.warmup=21", "`optim.warmup` is 21 but the run has 20 iterations"),
        ("iterations=0", "`iterations` in"),
        ("iterations=2.5", "valid integer"),
        ("checkpoint.keep=1", "greater than or equal to 2"),
        ("recipe=3", "`recipe` in"),
        ("recipe={beta: 1}", "which recipe"),
        ("iterations", "`iterations` is not an override"),
        ("=3", "is not an override"),
        ("a..b=3", "is not an override"),
        ("world.model.x=3", "looks for a key inside `world.model`"),
        ("optim.lr=[1", "is not valid YAML"),
        ("directory=../x", "leaves the working directory"),
        ("directory=/tmp/x", "leaves the working directory"),
    ],
)
def test_a_wrong_override_is_one_paragraph(tmp_path, override, said):
    text = message(load_config, write(tmp_path, GOOD), [override])
    assert said in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2\n", "the key `seed` is given twice, on lines 1 and 2 in"),
        ("optim:\n  lr: 1\n  lr: 2\n", "the key `lr` is given twice, on lines 2 and 3"),
        ("3: 1\n", "the key `3` (line 1) is not text"),
        ("- a\n", "holds a list, but a configuration is a mapping"),
        ("hello\n", "holds a line of text"),
        ("a: [1\n", "is not valid YAML at line"),
        ("a: b: c\n", "is not valid YAML at line 1"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
        ("a: !Custom 3\n", "is not valid YAML"),
        ("", "`recipe` is missing"),
        ("recipe: grpo\n", "`iterations` is missing"),
    ],
)
def test_a_wrong_file_is_one_paragraph(tmp_path, text, said):
    assert said in message(load_config, write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    file = write(tmp_path, GOOD, "grpo.yaml")
    assert f"Did you mean {file}?" in message(load_config, tmp_path / "grop.yaml")
    assert "does not exist either" in message(load_config, tmp_path / "no" / "x.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "is a folder" in message(load_config, tmp_path / "folder.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in message(load_config, tmp_path / "bytes.yaml")


def test_an_unknown_word_names_its_neighbour():
    assert "Did you mean `grpo`?" in message(load_config, "grop")
    assert "Did you mean `grpo/arithmetic`?" in message(load_config, "grpo/arithmetik")


@pytest.mark.parametrize(
    "reward",
    ["rewards.py:brief", "my.rewards:brief", "r.py", "[exact_match, a/b.py:c]", "{name: r.py:f}"],
)
def test_code_never_comes_from_yaml(tmp_path, reward):
    text = message(load_config, write(tmp_path, GOOD), [f"world.reward={reward}"])
    assert "names a Python function" in text
    assert "--reward" in text
    assert "on the command line" in text


@pytest.mark.parametrize(
    "reward", ["exact_match", "{name: regex, pattern: 'a:b'}", "[math, overlong]"]
)
def test_rewards_by_name_do(tmp_path, reward):
    config = load_config(write(tmp_path, GOOD), [f"world.reward={reward}"])
    assert config.world["reward"] == yaml.safe_load(reward)


def test_a_python_reward_is_stored_by_its_name():
    def brief(prompt, completion):
        return 1.0

    config = RunConfig(recipe="grpo", world={"reward": brief}, iterations=1)
    stored = parse_yaml(config.to_yaml())["world"]["reward"]
    assert python_reward(stored).endswith("brief")
    assert python_reward("exact_match") is None
    assert python_reward(None) is None


def test_many_rows_given_from_python_are_stored_as_a_fingerprint():
    rows = [{"prompt": str(i), "answer": "x"} for i in range(500)]
    config = RunConfig(recipe="grpo", world={"data": rows}, iterations=1)
    stored = parse_yaml(config.to_yaml())["world"]["data"]
    assert re.fullmatch(r"python:500 rows, sha256 [0-9a-f]{16}", stored)
    assert python_reward(stored) is not None
    few = RunConfig(recipe="grpo", world={"data": rows[:2]}, iterations=1)
    assert parse_yaml(few.to_yaml())["world"]["data"] == rows[:2]


def test_what_cannot_be_written_down_is_refused():
    config = RunConfig(recipe="grpo", world={"model": math}, iterations=1)
    assert "`world.model` is a module" in message(config.to_yaml)


def test_the_configuration_is_frozen():
    config = load_config("grpo", ["iterations=3"])
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 4


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_a_possible_run_with_a_description(name):
    config = load_config(name)
    assert config.recipe_name == name.partition("/")[0]
    assert presets()[name].endswith(".")
    assert config.optim.lr is not None
    kind = {"lm": LM, "gym": Gym}[config.world["kind"]]
    if kind is LM:
        assert {"eval_data", "reward"} <= set(config.world) or name == "reinforce/capital"
    constants = {key: value for key, value in config.recipe.items() if key != "name"}
    made = recipe(config.recipe_name, **constants)
    validated(kind, config.world, prefix="world.").check(name, made)


def test_every_recipe_has_a_learning_rate_with_a_source_and_no_other_name_has():
    assert set(PUBLISHED) == set(RECIPES)
    for name, (rate, source) in PUBLISHED.items():
        assert 0 < rate < 1e-3, name
        assert source.startswith("ours") or "arXiv" in source, name
        assert load_config(name, ["iterations=1"]).learning_rate == rate
    assert "Did you mean `grpo`?" in message(published_rate, "grop")


def test_every_key_is_described():
    rows = describe()
    assert {"recipe", "world", "optim.lr", "checkpoint.keep"} <= {row[0] for row in rows}
    for key, kind, default, description in rows:
        assert description, key
        assert kind, key
        assert default, key
    told = {row[0]: row[1:3] for row in rows}
    assert told["optim.decay"] == ("constant | linear | cosine", '"constant"')
    assert told["iterations"] == ("int", "required")
    for section in (RunConfig, OptimConfig):
        assert all(field.description for field in section.model_fields.values())


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../b", "", " ", "~/x", "..", "a\nb", "a\\b", "."]
)
def test_names_that_leave_the_working_directory(name):
    assert "cannot name a run" in message(check_directory, name)


@pytest.mark.parametrize("name", ["x", "runs/x", "a.b-c_d", "x..y", "Übung"])
def test_names_that_do_not(name):
    assert check_directory(name) == name


def test_overrides_do_not_touch_what_they_were_given():
    data = {"optim": {"lr": 1.0}, "x": [1]}
    assert apply_overrides(data, ["optim.lr=2", "log.wandb=true"])["optim"] == {"lr": 2}
    assert data == {"optim": {"lr": 1.0}, "x": [1]}


def test_a_file_is_a_mapping(tmp_path):
    assert read_yaml(write(tmp_path, "lr: 3e-4\n")) == {"lr": 3e-4}
    assert read_yaml(write(tmp_path, "# nothing\n")) == {}
