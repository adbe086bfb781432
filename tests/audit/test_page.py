"""The page is made of the table of recipes and of the claims, and says nothing else in numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from logpi.audit.claims import CLAIMS
from logpi.audit.models import chain, ends, prompts, questions, texts
from logpi.audit.page import SHORT, classics, facts, markdown, recipes_and_objectives, written
from logpi.recipes import RECIPES
from logpi.worlds.mdp.exact import OBJECTIVES, objective
from logpi.worlds.mdp.policy import TabularSoftmax


def test_every_recipe_has_a_line_and_every_heading_is_an_objective():
    some = ("rloo", "sft", "grpo", "dr_grpo")
    lines = recipes_and_objectives(prompts(), some).splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == list(some)
    assert {line.count("|") for line in lines} == {len(SHORT) + 3}
    assert set(SHORT) <= set(OBJECTIVES)
    of = {line.split("`")[1]: line for line in lines[2:]}
    assert "**1.0000**" in of["rloo"]
    assert "*1.0000*" in of["dr_grpo"]
    assert "1.0000" not in of["grpo"].partition("β")[0].split("|")[2]


def test_a_recipe_that_the_model_does_not_suit_says_so():
    m = texts(2, 1, seed=0)
    assert (m.reward < 0).any()
    line = recipes_and_objectives(m, ["max_rl"]).splitlines()[-1]
    assert "reached max_rl" in line


def test_the_two_conventions_are_told_apart():
    of = {line.split("`")[1]: line for line in classics().splitlines()[2:]}
    assert of["reinforce_total"].index("**") < of["reinforce_total"].index("0.9")
    assert of["reinforce"].index("**") > of["reinforce"].index("0.9")


@pytest.mark.slow
def test_the_page():
    page = markdown()
    assert facts() in page
    assert all(f"`{name}`" in page for name in (*CLAIMS, *RECIPES))
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    assert "{" not in prose.replace("{1,2}", "")
    assert markdown() == page


def test_models():
    assert chain(3).reward.tolist() == chain(3).reward.tolist() != chain(4).reward.tolist()
    m = texts(2, 2, seed=5)
    assert (m.reward[~ends(m)] == 0).all()
    assert np.allclose(m.policy[:-1].sum(1), 1)
    assert written().reward.min() == 0
    q = questions([0.2, 0.7])
    assert objective(q, TabularSoftmax(q)) == pytest.approx(0.45)
    p = prompts()
    easy, hard = 0.6 * 0.7 + 0.4 * 0.9, 0.6 * 0.1 + 0.4 * 0.5
    assert objective(p, TabularSoftmax(p)) == pytest.approx((easy + hard) / 2)
