"""The search finds a witness, the audit confirms it, and what is unbiased has none."""

from __future__ import annotations

import numpy as np
import pytest

import logpi
from logpi.audit import audit, worst_case
from logpi.core.errors import ConfigError
from logpi.worlds.mdp.zoo import bandit


def test_the_witness_is_what_the_audit_says_of_it():
    found = worst_case("grpo", actions=3, horizon=2, restarts=2, iterations=12, seed=1)
    again = audit("grpo", found.model, policy=found.policy, reference=found.policy, group_size=2)
    assert again.against("return").cosine == pytest.approx(found.cosine, abs=1e-12)
    # min_i of the live cosine is the enumerated one
    assert found.cosine == pytest.approx(min(found.tried), abs=1e-9)
    assert np.abs(found.reward).max() <= 1
    assert found.cosine < 0.9


def test_the_same_seed_finds_the_same():
    one, two = (
        worst_case("grpo", actions=2, horizon=2, restarts=1, iterations=5, seed=4) for _ in "ab"
    )
    assert one.cosine == two.cosine
    assert (one.policy == two.policy).all()
    assert (one.reward == two.reward).all()


def test_searching_is_better_than_drawing():
    drawn, sought = (worst_case("grpo", restarts=1, iterations=n, seed=2).cosine for n in (0, 40))
    assert sought < drawn - 0.1


@pytest.mark.parametrize("name", ["rloo", "dr_grpo", "reinforce", "a2c", "qac"])
def test_nothing_is_found_against_what_is_unbiased(name):
    found = worst_case(name, actions=3, horizon=2, restarts=1, iterations=5, seed=0)
    assert found.cosine == pytest.approx(1, abs=1e-12)


def test_rewards_of_zero_and_one_turn_only_by_length():
    """Groups of two and two rewards: the z-score is one number, so only the averaging can turn."""
    found = worst_case("grpo", rewards="binary", restarts=1, iterations=20, seed=0)
    assert set(np.unique(found.reward)) <= {0.0, 1.0}
    assert 0.5 < found.cosine < 0.95


def test_a_model_of_ones_own():
    m = bandit([0.0, 0.0, 0.0], policy=[1 / 3, 1 / 3, 1 / 3])
    found = worst_case("grpo", m, horizon=1, restarts=2, iterations=40, seed=0)
    assert found.model.states == 2
    assert found.cosine < 0.95


def test_a_world_keeps_its_horizon():
    world = logpi.MDP("two_state", discount=1.0, horizon=2)
    found = worst_case("rloo", world, restarts=1, iterations=2)
    assert found.report.settings["horizon"] == 2
    assert found.cosine == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["dapo", "dpo", "rft", "sft", "remax", "off_policy_ac"])
def test_every_kind_of_data_is_searched(name):
    told = {"actions": 3, "horizon": 2, "restarts": 1, "seed": 1}
    start, found, again = (worst_case(name, iterations=n, **told) for n in (0, 8, 8))
    assert found.cosine <= start.cosine
    assert found.cosine == again.cosine
    assert (found.policy == again.policy).all()
    assert found.report.against("return").cosine == pytest.approx(min(found.tried), abs=1e-9)
    if name in ("remax", "off_policy_ac"):  # on the policy's own rows both are unbiased
        assert found.cosine == pytest.approx(1, abs=1e-12)
    else:
        assert found.cosine < 0.99


def test_positive_rewards_are_what_max_rl_needs():
    found = worst_case("max_rl", rewards="positive", actions=3, horizon=2, restarts=1, iterations=5)
    assert found.reward.min() >= 0
    assert found.cosine < 1


def test_what_cannot_be_searched():
    with pytest.raises(ConfigError, match="nothing is searched"):
        worst_case("grpo", restarts=0)
    with pytest.raises(ConfigError, match="one of any, positive, binary"):
        worst_case("grpo", rewards="negative")
    with pytest.raises(ConfigError, match="at least 0"):
        worst_case("max_rl")
