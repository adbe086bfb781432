"""A report says what it found in a sentence, a table, Markdown, JSON and a picture."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.audit.worlds import REFERENCE, fork

import logpi.audit
from logpi.audit import audit, sampled
from logpi.audit.drawing import figures, plot
from logpi.audit.models import questions, texts
from logpi.audit.objectives import moved, targets_of
from logpi.audit.problem import greedy_law, law_of, problem_of
from logpi.audit.report import AuditReport, as_data, fit
from logpi.core.errors import ConfigError, ShapeError
from logpi.recipes import RECIPES, recipe
from logpi.worlds.mdp.exact import gradient
from logpi.worlds.mdp.policy import TabularSoftmax
from logpi.worlds.mdp.zoo import bandit, tokens_capital


@pytest.fixture(scope="module")
def report():
    return audit("grpo", fork(), group_size=2, reference=REFERENCE, steps=2)


def text_of(renderable):
    console = Console(width=160, file=io.StringIO())
    with console.capture() as caught:
        console.print(renderable)
    return caught.get()


def test_the_package_is_called(report):
    same = logpi.audit("grpo", fork(), group_size=2, reference=REFERENCE, steps=2)
    assert isinstance(same, AuditReport)
    assert same.to_json() == report.to_json()
    with pytest.raises(AttributeError, match="worst_case"):
        _ = logpi.audit.worst


def test_every_objective_is_there_or_says_why_not(report):
    names = {f.objective for f in report.fits}
    assert {"return", "discounted return from the start", "return − β·reverse KL"} <= names
    assert {"return − β·forward KL", "pass@k"} <= names
    assert "two" in report.skipped["log of the success probability"]
    for found in report.fits:
        assert torch.allclose(found.bias, report.mean - found.gradient)


def test_the_figures_of_a_fit():
    found = fit("return", torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0]), 18.0)
    assert found.bias_norm == 4
    assert found.relative_bias == pytest.approx(0.8)
    assert found.cosine == pytest.approx(0.6)
    assert found.norm_ratio == pytest.approx(0.6)
    assert found.scalar == pytest.approx(0.36)
    assert found.noise_to_signal == pytest.approx(18 / 1.8**2)
    nothing = fit("return", torch.zeros(2), torch.tensor([3.0, 0.0]), 1.0)
    assert nothing.cosine is nothing.relative_bias is nothing.noise_to_signal is None
    orthogonal = fit("return", torch.tensor([0.0, 1.0]), torch.tensor([3.0, 0.0]), 1.0)
    assert orthogonal.cosine == 0
    assert orthogonal.noise_to_signal is None
    assert figures(orthogonal)[-1] == "–"


@pytest.mark.parametrize(
    ("row", "model", "words"),
    [
        ("rloo", bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]), "Unbiased: .* of the return"),
        (
            "dr_grpo",
            bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]),
            "right direction .* 0.00025 times",
        ),
        ("grpo", bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]), "Biased: .* return, cosine 0.99"),
        ("max_rl", questions([0.05, 0.5]), "Unbiased: .* success probability, to order k"),
        ("online_rft", questions([0.05, 0.5]), "Unbiased: .* of the return"),
        ("rloo", bandit([1.0, 1.0], policy=[0.5, 0.5]), "ascends nothing"),
    ],
)
def test_the_verdict_tells_a_bias_from_another_objective(row, model, words):
    assert re.search(words, audit(row, model, group_size=4).verdict)


def test_demonstrations_ascend_their_likelihood():
    """One decision a row: the mean over tokens is the sum, and its mean exact."""
    expert = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]])
    report = audit("sft", bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]), behaviour=expert)
    assert report.best.objective == "likelihood of the rows"
    assert report.best.is_exact
    assert report.law == "a given policy"


def test_table_markdown_and_json_agree(report):
    shown, prose, data = text_of(report.table()), report.markdown(), json.loads(report.to_json())
    for found in report.fits:
        assert found.objective in prose
        assert found.objective.split(" ")[0] in shown
    assert f"{report.against('return').cosine:.6g}" in prose
    assert report.verdict in prose
    assert "step 2" in shown
    assert "step 2" in prose
    assert data["verdict"] == report.verdict
    assert data["fits"][0]["cosine"] == report.fits[0].cosine
    assert data["total_variance"] == report.total_variance
    assert len(data["decisions"]) == 4
    assert data["settings"]["group_size"] == 2


def test_a_report_prints_itself(report):
    assert str(report).splitlines()[0].strip() == "grpo in fork"
    assert "noise/signal" in str(report)
    assert repr(report) == f"<audit of grpo in fork: {report.verdict}>"
    assert "tensor" not in repr(report.best)
    assert text_of(report) == text_of(report.table())
    assert len(text_of(report.decisions_table()).split("coefficient")) == 2


def test_what_has_no_meaning_is_null():
    assert as_data({"x": (float("inf"), 1)}) == {"x": [None, 1]}
    drawn = sampled("reinforce", fork(), batches=20)
    assert "NaN" not in drawn.to_json()
    assert "95% confidence" in text_of(drawn.table())


def test_a_picture(report, tmp_path):
    assert plot(report, tmp_path / "grpo.png").read_bytes()[:4] == b"\x89PNG"
    assert report.plot(tmp_path / "grpo.svg").read_text(encoding="utf-8").lstrip()[:5] == "<?xml"
    audit("reinforce", texts(3, 2)).plot(tmp_path / "many.png")  # too many to be named


def test_asking_for_an_objective(report):
    assert report.against("return").objective == "return"
    with pytest.raises(ConfigError, match="Did you mean `return`"):
        report.against("retrun")
    with pytest.raises(ConfigError, match="no 'log of the success probability' here"):
        report.against("log of the success probability")


def test_objectives_are_the_exact_ones():
    problem = problem_of(fork(), reference=REFERENCE)
    law = law_of(problem, "on-policy")
    found = targets_of(problem, law, beta=0.1, k=2)
    front = found.gradients["discounted return from the start"]
    assert torch.allclose(front, gradient(fork(), problem.policy), atol=1e-14)
    own = targets_of(problem_of(fork()), law, beta=0.1, k=2)
    assert "its own reference" in own.skipped["return − β·reverse KL"]


def test_the_return_of_many_policies_at_once():
    m, policy = fork(), TabularSoftmax(fork())
    table = policy.table().detach()
    for name, pushed in moved(m, 2)(table[None].expand(2, -1, -1)).items():
        score = torch.autograd.grad(
            (pushed[1] * policy.table().masked_fill(~policy.allowed, 0)).sum(), policy.logits
        )[0]
        exact = gradient(m, policy, horizon=2, start_discounted="from" in name)
        assert torch.allclose(score.flatten(), exact, atol=1e-14), name


def test_laws():
    problem = problem_of(fork(), reference=REFERENCE)
    assert law_of(problem, "groups").own
    assert np.allclose(law_of(problem, "pairs").probabilities, REFERENCE)
    assert greedy_law(problem).probabilities.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert law_of(problem, "demonstrations").name == "an optimal policy"
    with pytest.raises(ConfigError, match="not the policy's own"):
        law_of(problem, "groups", REFERENCE)


def test_the_weight_of_a_reference_is_read_from_the_recipe():
    own = {name: row.beta for name, row in RECIPES.items() if row.beta is not None}
    assert own == {
        "dpo": 0.1,
        "dpo_mean": 0.1,
        "ipo": 0.1,
        "reinforce_pp": 0.01,
        "grpo": 0.04,
        "grpo_process": 0.04,
    }
    assert recipe("ppo", beta=0.25).beta == recipe("rloo", beta=0.25).beta == 0.25
    assert recipe("grpo", beta=0.0).beta is None  # as SimPO's: its β weighs no reference policy
    assert audit("simpo", fork(), reference=REFERENCE).settings["beta"] == 0.1
    assert audit("grpo", fork(), reference=REFERENCE).settings["beta"] == 0.04
    assert audit("grpo", fork(), reference=REFERENCE, beta=0.3).settings["beta"] == 0.3


def test_the_group_and_horizon_are_the_worlds_unless_told():
    from logpi.worlds.mdp.world import MDP

    world = MDP(fork(), group_size=3, horizon=1)
    report = audit("rloo", world)
    assert report.settings["group_size"] == 3
    assert report.settings["horizon"] == 1
    assert audit("rloo", world, group_size=2, horizon=2).settings["group_size"] == 2


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"group_sise": 2}, "Did you mean `group_size`"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2, "lr": 0.0}, "lr is 0"),
        ({"label": "best"}, "label"),
        ({"critic": "learned"}, "critic"),
        ({"policy": np.array([[1.0, 0.0], [0.5, 0.5], [0, 0]])}, "never takes an action"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_impossible_options(told, message):
    with pytest.raises(ConfigError, match=message):
        audit("rloo", fork(), **told)


def test_a_critic_of_the_wrong_shape():
    with pytest.raises(ShapeError, match="critic"):
        audit("a2c", fork(), critic=np.zeros(7))


def test_nobody_decides_anything():
    m = fork().having(start=np.array([0.0, 0.0, 1.0]))
    with pytest.raises(ConfigError, match="nobody decides"):
        audit("reinforce", m)


def test_luck_of_the_tokens_capital():
    word = audit("reinforce", tokens_capital()).decisions[0]
    assert (word.coefficient, word.spread**2) == pytest.approx((8, 36))
    assert word.push == pytest.approx(8)


def test_a_picture_that_cannot_be_written(tmp_path):
    report = audit("reinforce", bandit([0.0, 1.0], policy=[0.5, 0.5]))
    with pytest.raises(ConfigError, match="no picture can be written"):
        report.plot(tmp_path / "nowhere" / "a.png")
