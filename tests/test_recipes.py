"""The table: what its rows are, and what it says to whoever asks for a row that is not there."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from logpi import recipes
from logpi.core import Recipe, credit
from logpi.core.errors import ConfigError
from logpi.core.traits import name_of

NAMES = sorted(recipes.RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_cites_its_source_and_says_what_it_is(name):
    row, make = recipes.RECIPES[name], recipes.FACTORIES[name]
    assert re.search(r"arXiv \d{4}\.\d{5}|\d{4}", row.paper)
    assert make.__name__ == name
    assert len(inspect.getdoc(make).splitlines()[0]) <= 100
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(make).parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_constants_is_the_table_s(name):
    ours, table = recipes.recipe(name), recipes.RECIPES[name]
    for field in ("credit", "coefficient", "aggregate"):
        assert name_of(getattr(ours, field)) == name_of(getattr(table, field))
    assert (ours.data, ours.critic, ours.update, ours.epochs) == (
        table.data,
        table.critic,
        table.update,
        table.epochs,
    )


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        recipes.RECIPES["grpo"] = recipes.RECIPES["rloo"]
    with pytest.raises(AttributeError):
        recipes.RECIPES["grpo"].epochs = 2


def test_the_published_constants():
    """The settings that papers print, as the table shows them."""
    rows = recipes.RECIPES
    assert name_of(rows["grpo"].coefficient) == (
        "total(clipped_ratio(low=0.2, high=0.2), toward_reference(beta=0.04))"
    )
    assert name_of(rows["dapo"].coefficient) == "clipped_ratio(low=0.2, high=0.28)"
    assert name_of(rows["gspo"].coefficient) == "sequence_ratio(low=0.0003, high=0.0004)"
    assert name_of(rows["sapo"].coefficient) == "soft_gate(tau_positive=1.0, tau_negative=1.05)"
    assert name_of(rows["dpo"].coefficient) == "preference_margin(beta=0.1)"
    assert name_of(rows["ppo_dual_clip"].coefficient).endswith("cap=3.0)")
    assert name_of(rows["ppo"].credit) == "gae(lam=0.95)"
    assert name_of(rows["reinforce_pp"].credit) == (
        "whitened(penalised(reward_to_go(baseline=0.0), beta=0.01), epsilon=1e-08)"
    )


@pytest.mark.parametrize("name", ["grpo", "reinforce_pp_baseline", "dr_grpo", "gspo", "cispo"])
def test_beta_decides_whether_a_reference_policy_is_read(name):
    assert "logp_ref" not in recipes.recipe(name, beta=0.0).reads
    assert "logp_ref" in recipes.recipe(name, beta=0.1).reads
    assert recipes.recipe(name, beta=0.0).skips_zero_credit
    assert not recipes.recipe(name, beta=0.1).skips_zero_credit


def test_entropy_asks_for_a_regulariser_and_keeps_every_decision():
    row = recipes.recipe("ppo", entropy=0.01)
    assert name_of(row.regulariser) == "entropy_bonus(beta=0.01)"
    assert not row.skips_zero_credit
    assert recipes.RECIPES["ppo"].regulariser is None


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("grop", {}, r"unknown recipe `grop`\. Did you mean `grpo`\?"),
        ("zzz", {}, r"unknown recipe `zzz`\. `logpi recipes` prints the table"),
        ("grpo", {"betta": 1.0}, r"unknown key `recipe\.betta`.*Did you mean `recipe\.beta`\?"),
        ("grpo", {"zzz": 1.0}, r"`recipe\.zzz` in the recipe grpo\. It takes beta, low"),
        ("max_rl", {"beta": 1.0}, r"`recipe\.beta`.*It takes none"),
    ],
)
def test_a_near_miss_is_named(name, constants, message):
    with pytest.raises(ConfigError, match=message):
        recipes.recipe(name, **constants)


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("grpo", {"beta": "x"}, r"`recipe\.beta` in the recipe grpo is 'x': .* a valid number\."),
        ("grpo", {"beta": float("nan")}, "is nan"),
        ("grpo", {"beta": True}, "is True"),
        ("grpo", {"beta": "0.5"}, "is '0.5'"),
        ("ppo", {"epochs": 1.5}, r"is 1\.5: .* a valid integer"),
        ("ppo", {"lam": [1]}, r"is \[1\]"),
        ("ppo", {"lam": None}, "is None"),
        ("ppo", {"normalise": "yes"}, "a valid boolean"),
        ("ppo", {"clip_decay": "cosine"}, "'constant' or 'linear'"),
        ("ppo", {"target_kl": "x"}, "a valid number"),
        (3, {}, "unknown recipe `3`"),
    ],
)
def test_a_constant_of_another_kind_is_refused(name, constants, message):
    with pytest.raises(ConfigError, match=message):
        recipes.recipe(name, **constants)


INF, NAN = float("inf"), float("nan")
# Every constant of the table: what lies just outside of its range, and what is just inside.
RANGES = {
    "lam": ([-0.1, 1.1, NAN, INF], [0, 1]),
    "low": ([-0.1, NAN], [0, INF]),
    "high": ([-0.1, NAN], [0, INF]),
    "cap": ([1, 0.5, NAN], [1.01, INF]),
    "beta": ([-0.1, NAN, INF], [0.1]),
    "gamma": ([-0.1, NAN, INF], [0]),
    "epochs": ([0, -1], [1]),
    "length": ([0], [1]),
    "clip": ([0, -0.1, NAN], [0.1, INF, None]),
    "rho_max": ([0, -1, NAN], [0.1, INF, None]),
    "target_kl": ([0, -0.1, NAN], [0.01, INF, None]),
    "tau_positive": ([0, -1, NAN, INF], [0.1]),
    "tau_negative": ([0, -1, NAN, INF], [0.1]),
    "threshold": ([NAN, INF, -INF], [-3, 0]),
    "baseline": ([NAN, INF], [-3]),
    "entropy": ([NAN, INF], [-0.1]),
}
CONSTANTS = [
    (name, key)
    for name, make in recipes.FACTORIES.items()
    for key, one in inspect.signature(make).parameters.items()
    if not isinstance(one.default, bool | str)
]


@pytest.mark.parametrize(("name", "key"), CONSTANTS)
def test_a_constant_out_of_its_range_is_refused(name, key):
    outside, inside = RANGES[key]
    for value in outside:
        with pytest.raises(
            ConfigError, match=rf"`recipe\.{key}` in the recipe {name} is .*: input"
        ):
            recipes.recipe(name, **{key: value})
    for value in inside:
        assert recipes.recipe(name, **{key: value}).data


@pytest.mark.parametrize("name", sorted({name for name, key in CONSTANTS if key == "beta"}))
def test_only_a_preference_needs_a_beta_above_zero(name):
    if recipes.RECIPES[name].data == "pairs":
        with pytest.raises(ConfigError, match="is 0: input should be greater than 0"):
            recipes.recipe(name, beta=0)
    else:
        assert "logp_ref" not in recipes.recipe(name, beta=0).reads


def test_numbers_of_any_kind_are_constants():
    told = {"low": np.float32(0.5), "high": INF, "epochs": np.int64(2), "target_kl": None}
    row = recipes.recipe("ppo", **told, beta=0, lam=1)
    assert row.epochs == 2
    assert name_of(row.credit) == "gae(lam=1.0)"
    assert name_of(row.coefficient) == "clipped_ratio(low=0.5, high=inf)"


def test_a_credit_whose_critic_is_missing_is_refused():
    with pytest.raises(ConfigError, match="critic is None: set critic='v'"):
        Recipe("on-policy", credit.gae())
    with pytest.raises(ConfigError, match="critic is 'v': set critic='q'"):
        Recipe("on-policy", credit.action_value, critic="v")
