"""Every recipe of the table trains in the finite world, through the one loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import logpi
from logpi.core.errors import ConfigError, ModelError
from logpi.recipes import RECIPES
from logpi.train.observe import observe
from logpi.worlds.mdp import exact, zoo
from logpi.worlds.mdp.files.dispatch import save
from logpi.worlds.mdp.policy import TabularSoftmax


def trained(recipe, tmp_path, *, iterations=2, **told):
    world = logpi.MDP(told.pop("model", "tokens/capital"), **told.pop("world", {}))
    return logpi.train(
        recipe=recipe,
        world=world,
        iterations=iterations,
        directory=tmp_path / "run",
        quiet=True,
        **told,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_two_steps(name, tmp_path):
    told = {}
    if name == "max_rl":  # divides by the group's mean return: rewards of at least 0
        told = {"model": "bandit", "world": {"options": {"means": [0.0, 1.0]}}}
    run = trained(name, tmp_path, **told)
    assert len(run.metrics) >= 2
    assert all(np.isfinite(v) for line in run.metrics for v in line.values())
    assert run.evaluate()["return"] == pytest.approx(run.metrics[-1]["eval/return"])


GAINS = ["reinforce_total", "reinforce", "reinforce_baseline", "qac", "a2c", "ppo", "trpo", "grpo"]
GAINS += ["rloo", "remax", "dr_grpo", "dapo", "gspo", "cispo", "sapo", "max_rl", "online_rft"]
GAINS += ["off_policy_ac", "reinforce_pp", "reinforce_pp_baseline", "dpo", "ipo", "simpo", "sft"]


@pytest.mark.parametrize("name", GAINS)
def test_recipes_improve_a_bandit(name, tmp_path):
    means = {"max_rl": (0.0, 1.0, 0.0), "online_rft": (0.0, 1.0, 0.0)}.get(name, (0.2, 1.0, -0.5))
    told = {"beta": 0.0} if name in {"grpo", "reinforce_pp"} else {}
    run = trained(
        {"name": name, **told},
        tmp_path,
        model="bandit",
        iterations=25,
        world={"options": {"means": means}, "starts_per_batch": 8, "group_size": 4},
    )
    start = float(np.mean(means))
    assert run.metrics[-1]["eval/return"] > start + 0.25


def test_all_trajectories_give_the_exact_gradient():
    m = zoo.make("tokens/capital")
    world = logpi.MDP("tokens/capital", source="enumerated")
    opened = world.open("reinforce", RECIPES["reinforce"], seed=0, scratch=None)
    batch = opened.source.draw(opened.policy, 0)
    assert float(batch.weight.sum()) == pytest.approx(1)
    logp = opened.policy.table()[batch.inputs.state, batch.inputs.action]
    total = torch.where(batch.mask, logp, 0.0).sum(1)
    value = (batch.weight * batch.reward.sum(1) * total).sum()
    (found,) = torch.autograd.grad(value, list(opened.policy.parameters()))
    assert torch.allclose(found.flatten(), exact.gradient(m, TabularSoftmax(m)), atol=1e-12)


def test_a_run_goes_on_bit_for_bit(tmp_path):
    told = {"model": "cliff", "checkpoint": {"every": 2}}
    told["world"] = {"time_limit": 30, "starts_per_batch": 4, "group_size": 2}
    whole = trained("a2c", tmp_path / "whole", iterations=4, **dict(told))
    trained("a2c", tmp_path / "part", iterations=2, **dict(told))
    resumed = trained("a2c", tmp_path / "part", iterations=4, resume=True, **dict(told))
    a, b = (np.load(run.model_dir / "probabilities.npy") for run in (whole, resumed))
    assert (a == b).all()


def test_a_cut_walk_bootstraps_and_a_horizon_ends(tmp_path):
    def last_discount(**told):
        world = logpi.MDP("two_state", starts_per_batch=2, group_size=1, **told)
        opened = world.open("a2c", RECIPES["a2c"], seed=0, scratch=tmp_path)
        batch = opened.source.draw(opened.policy, 0)
        return batch.discount[batch.end].unique().tolist(), batch.mask.sum(1).tolist()

    assert last_discount(time_limit=5, discount=0.9) == ([0.9], [5, 5])
    assert last_discount(horizon=5, discount=0.9) == ([0.0], [5, 5])


def test_exact_critics_know_the_policy(tmp_path):
    run = trained("a2c", tmp_path, model="random_walk", iterations=2, world={"critic": "exact"})
    assert "critic_loss" in run.metrics[-1] or run.metrics[-1]["return"] >= 0


@pytest.mark.parametrize("name", ["reinforce_baseline", "qac", "a2c", "trpo"])
def test_enumerated_rows_and_exact_critics_step_along_the_exact_gradient(name, tmp_path):
    """No noise, no bias, a horizon: what training follows is ∇J, here for two decisions."""
    world = logpi.MDP(
        "two_state", discount=1.0, horizon=2, source="enumerated", critic="exact", policy="table"
    )
    opened = world.open(name, RECIPES[name], seed=0, scratch=tmp_path)
    batch = opened.source.draw(opened.policy, 0)
    signals = observe(
        batch,
        RECIPES[name],
        opened.policy,
        reference=opened.reference_log_prob,
        critic=opened.critic,
    )
    push = (batch.weight[:, None] * RECIPES[name].credit(signals)).masked_fill(~batch.mask, 0)
    table = opened.policy.table()
    logp = table[batch.inputs.state, batch.inputs.action]
    found = torch.autograd.grad((push * logp).sum(), opened.policy.logits)[0]
    true = exact.gradient(opened.m, opened.policy, how="enumeration", horizon=2)
    assert (found.flatten() - true).abs().max() < 1e-14
    assert true.abs().max() > 0.1


def test_the_distance_to_the_best_policy_near_the_reference_is_measured(tmp_path):
    """Rewards 1 and 0, β = 1/ln 3, a uniform reference: π* = (3/4, 1/4) of value ln 2 / ln 3."""
    beta = 1 / np.log(3)
    told = {"model": "bandit", "world": {"options": {"means": [1.0, 0.0]}}}
    recipe = {"name": "rloo", "beta": beta}
    run = trained(recipe, tmp_path, iterations=30, **told)
    found, p = run.evaluate(), run.policy.probabilities()[0]
    kl = float((p * np.log(2 * p)).sum())
    assert found["kl"] == pytest.approx(kl, abs=1e-12)
    far = float((p * np.log(p / [0.75, 0.25])).sum())
    assert found["shortfall"] == pytest.approx(beta * far, abs=1e-12)
    assert found["shortfall"] > 1e-9
    assert "kl" not in trained("rloo", tmp_path / "b", **told).evaluate()
    timed = {**told, "world": {**told["world"], "horizon": 1}}
    assert "shortfall" not in trained(recipe, tmp_path / "c", **timed).evaluate()


def test_models_from_python_train_and_are_asked_for_again(tmp_path):
    m = zoo.make("bandit", means=(0.0, 1.0))
    run = logpi.train(
        recipe="reinforce",
        world=logpi.MDP(m),
        iterations=1,
        directory=tmp_path / "run",
        quiet=True,
    )
    assert run.config.world["model"].startswith("python:FiniteMDP bandit, sha256")
    with pytest.raises(ConfigError, match="given from Python"):
        logpi.Run(tmp_path / "run").evaluate()
    assert logpi.Run(tmp_path / "run", world=logpi.MDP(m)).evaluate()["return"] > 0


def test_what_is_exported_reads_back(tmp_path):
    run = trained("reinforce", tmp_path, model="bandit", world={"options": {"means": [0.0, 1.0]}})
    told = json.loads((run.model_dir / "policy.json").read_text())
    assert told["world"]["model"] == "bandit"
    p = np.load(run.model_dir / "probabilities.npy", allow_pickle=False)
    assert p.sum(1)[0] == pytest.approx(1)
    file = run.model_dir / "policy.safetensors"
    for content in (file.read_bytes()[:20], None):
        file.write_bytes(content) if content else file.unlink()
        with pytest.raises(ModelError, match=r"policy\.safetensors holds no policy of this model"):
            run.evaluate()


@pytest.mark.parametrize("ending", ["npz", "drn", "bin"])
def test_a_file_takes_its_discount_from_the_world(ending, tmp_path):
    path = tmp_path / f"m.{ending}"
    save(zoo.make("book_grid"), path)
    assert logpi.MDP(path, discount=0.7).model_of().discount == 0.7
    with pytest.raises(ConfigError, match="takes no `rows`"):
        logpi.MDP(path, discount=0.7, options={"rows": 3}).model_of()
    if ending != "npz":
        with pytest.raises(ConfigError, match=r"say world\.discount=0\.99"):
            logpi.MDP(path).model_of()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"model": "clif"}, "Did you mean `cliff`"),
        ({"model": 3}, "`world.model` in the arguments is 3: input should be a valid string"),
        ({"model": "cliff", "options": {"rosw": 3}}, "rosw"),
        ({"model": "cliff", "policy": "linear"}, "needs features"),
        ({"model": "cliff", "discount": 1.5}, "discount"),
        ({"model": "cliff", "source": "enumerated"}, "can return to a state"),
        ({"model": "cliff", "group_size": 1}, "group_size is 1"),
        ({"model": "cliff", "colour": "red"}, "unknown key `world.colour`"),
        ({"kind": "mpd", "model": "cliff"}, "Did you mean `mdp`"),
    ],
)
def test_what_cannot_be_is_refused(told, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        logpi.train(
            recipe="grpo",
            world={"kind": "mdp", **told},
            iterations=1,
            directory=tmp_path / "run",
            quiet=True,
        )
    assert not (tmp_path / "run").exists()
