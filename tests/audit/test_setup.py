"""What an audit may be told: recipes by name, with constants or as data; worlds of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.audit.worlds import REFERENCE, fork

import logpi
from logpi.audit import audit, sampled, worst_case
from logpi.audit.setup import resolved, setup_of
from logpi.core import Recipe, coefficient, credit
from logpi.core.errors import ConfigError
from logpi.recipes import RECIPES, recipe
from logpi.worlds.mdp.zoo import bandit, tokens_capital

ARMS = bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_rows_of_the_table_keep_their_names(name):
    assert resolved(name)[0] == resolved({"name": name})[0] == name
    assert resolved(RECIPES[name])[0] == resolved(recipe(name))[0] == name


def test_constants_are_part_of_the_name():
    given = {"name": "grpo", "beta": 0.0, "epochs": 2}
    report = audit(given, fork(), group_size=2, reference=REFERENCE)
    assert report.recipe == "grpo (beta=0.0, epochs=2)"
    same = audit(recipe("grpo", beta=0.0, epochs=2), fork(), group_size=2, reference=REFERENCE)
    assert torch.equal(report.mean, same.mean)
    assert given == {"name": "grpo", "beta": 0.0, "epochs": 2}


def test_a_recipe_of_ones_own():
    """Functions that the library has never seen: audited, and called what they are called."""

    def twice_the_return(s):
        return 2 * s.reward.sum(1, keepdim=True).expand(s.mask.shape)

    def half(s):
        return s.credit / 2

    own = Recipe("on-policy", twice_the_return, half)
    report = audit(own, fork(), horizon=2)
    assert report.recipe == "twice_the_return · half · sum_tokens"
    undiscounted = fork().having(discount=1.0)
    assert audit(own, undiscounted).against("return").is_exact
    found = worst_case(own, actions=2, horizon=2, restarts=1, iterations=3)
    assert found.cosine == pytest.approx(1, abs=1e-12)


def test_a_credit_of_ones_own_may_look_across_the_batch():
    """Nobody knows how far it looks, so it is called on each batch alone."""

    def ranked(s):
        total = s.reward.sum(1)
        return (total[:, None] > total.mean()).double().expand(s.mask.shape).clone()

    report = audit(Recipe("groups", ranked), ARMS, group_size=2)
    p = torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64)
    # Of two pulls the better one is pushed by 1, half of the weight each.
    better = torch.tensor([0.0, 0.4 * 0.6, 0.1 * 0.5], dtype=torch.float64)
    assert torch.allclose(report.mean.view(2, 3)[0], better - p * better.sum(), atol=1e-15)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"beta": 0.1}, "needs its name"),
        ({"name": "grpo", "betta": 0.1}, "Did you mean `recipe.beta`"),
        ({"name": "grpp"}, "Did you mean `grpo`"),
        (lambda x: x["logp"].sum(), r"audit\.loss"),
        (None, "NoneType here"),
    ],
)
def test_what_is_no_recipe(given, words):
    with pytest.raises(ConfigError, match=words):
        setup_of(given, fork())


def test_worlds_of_every_kind():
    m = tokens_capital()
    of_model = audit("rloo", m, group_size=2)
    for world in ("tokens/capital", logpi.MDP("tokens/capital"), logpi.MDP(m)):
        assert torch.equal(audit("rloo", world, group_size=2).mean, of_model.mean)
        assert sampled("rloo", world, batches=5).world == m.name
    assert worst_case("rloo", "tokens/capital", restarts=1, iterations=1).model.name == m.name
    with pytest.raises(ConfigError, match="the world is dict, but an audit enumerates a finite"):
        audit("rloo", {"kind": "mdp"})
    with pytest.raises(ConfigError, match="has no `tokens/captial`"):
        audit("rloo", "tokens/captial")


def test_files_are_worlds(tmp_path):
    from logpi.mdp import save

    save(ARMS, tmp_path / "arms.npz")
    uniform = np.full((2, 3), 1 / 3)
    one, other = (audit("rloo", x, policy=uniform) for x in (ARMS, tmp_path / "arms.npz"))
    assert torch.equal(one.mean, other.mean)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_best_of_k_is_not_tied_to_the_group(k):
    """p = 0.3: E[max of k] = 1 − .7^k, whose gradient is k .7^(k−1) times that of the return."""
    m = bandit([1.0, 0.0], policy=[0.3, 0.7])
    found = audit("rloo", m, group_size=2, k=k).against("pass@k")
    assert found.scalar == pytest.approx(1 / (k * 0.7 ** (k - 1)), rel=1e-12)
    assert found.cosine == pytest.approx(1, abs=1e-12)


def test_what_compares_the_rows_of_a_batch_is_given_two():
    """A whitened batch of one row would be 0."""
    assert setup_of("reinforce_pp", ARMS).plan.units == 2
    assert setup_of("reinforce_pp", ARMS, rows=3).plan.units == 3
    assert setup_of("reinforce", ARMS).plan.units == 1
    assert audit("reinforce_pp", ARMS).best is not None


def test_the_best_of_none():
    with pytest.raises(ConfigError, match="k is 0 but must be at least 1"):
        audit("rloo", ARMS, k=0)


def test_a_pull_toward_the_reference_is_a_term_of_ones_own_recipe():
    row = Recipe("on-policy", credit.one, coefficient.reference_k2(beta=0.5))
    report = audit(row, ARMS, reference=np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]]))
    assert report.settings["beta"] == 0.5
