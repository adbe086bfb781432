"""Unbiased estimators are found unbiased, for the objective that is theirs, in random models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.audit import audit
from logpi.audit.models import chain, texts
from logpi.core import Recipe, credit
from logpi.recipes import recipe
from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.exact import gradient
from logpi.worlds.mdp.policy import LinearSoftmax, TabularSoftmax

EXACT = 1e-12
FRONT, BEHIND = "discounted return from the start", "discounted return without γ^t"


@st.composite
def problems(draw):
    """A random model, perhaps with terminal states and a forbidden action, and a random policy."""
    rng = np.random.Generator(np.random.Philox(draw(st.integers(0, 2**32))))
    states = draw(st.integers(2, 3))
    allowed = np.ones((states, 2), dtype=bool)
    allowed[1, 1] = draw(st.booleans())
    if states == 3:
        allowed[2] = draw(st.booleans())
    m = from_dense(
        rng.dirichlet(np.full(states, 0.5), size=(states, 2)),
        rng.normal(size=(states, 2)),
        draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        order="sas",
        start=rng.dirichlet(np.ones(states)),
        allowed=allowed,
    )
    if draw(st.booleans()):
        return m, TabularSoftmax(m, logits=2 * rng.normal(size=(states, 2)))
    return m, LinearSoftmax(m, rng.normal(size=(states, 2, 2)), weights=rng.normal(size=2))


def unbiased(report, objective):
    name = "return" if not report.fits[1:] or report.settings["discount"] == 1 else objective
    found = report.against(name)
    return found.bias_norm <= EXACT * max(1.0, float(found.gradient.norm()))


@settings(max_examples=8, deadline=None)
@given(problems(), st.integers(1, 3))
def test_the_classics_with_exact_critics_are_unbiased(problem, horizon):
    m, policy = problem
    for name in ("reinforce", "reinforce_baseline", "qac", "a2c"):
        report = audit(name, m, policy=policy, horizon=horizon)
        assert unbiased(report, BEHIND), name
        front = recipe(name, start_discounted=True)
        assert unbiased(audit(front, m, policy=policy, horizon=horizon), FRONT), name


@settings(max_examples=10, deadline=None)
@given(problems(), st.integers(2, 3))
def test_leave_one_out_is_unbiased(problem, size):
    """Its credit is R(τ), discounted from the start, without the row itself."""
    m, policy = problem
    report = audit("rloo", m, policy=policy, horizon=4 - size, group_size=size)
    assert unbiased(report, FRONT)


@settings(max_examples=10, deadline=None)
@given(problems())
def test_what_it_is_held_against_is_the_exact_gradient_another_way(problem):
    m, policy = problem
    report = audit("reinforce", m, policy=policy, horizon=2)
    for name, front in ((FRONT, True), (BEHIND, False)):
        name = "return" if m.discount == 1 else name
        other = gradient(m, policy, how="enumeration", start_discounted=front, horizon=2)
        assert (report.against(name).gradient - other).abs().max() <= EXACT


def test_a_row_of_several_has_the_same_mean_and_a_share_of_the_variance():
    one, two = (audit("reinforce", chain(1, states=2), horizon=2, rows=n) for n in (1, 2))
    assert (one.mean - two.mean).abs().max() <= EXACT
    assert two.total_variance == pytest.approx(one.total_variance / 2, rel=1e-12)


def test_so_have_several_groups():
    m = chain(1)
    one, two = (audit("rloo", m, horizon=1, group_size=2, groups=n) for n in (1, 2))
    assert (one.mean - two.mean).abs().max() <= EXACT
    assert two.total_variance == pytest.approx(one.total_variance / 2, rel=1e-12)


def test_a_wrong_critic_is_harmless_as_a_baseline_and_a_bias_where_one_bootstraps():
    wrong = [5.0, -3.0, 1.0]
    m = chain(1)
    baseline = audit("reinforce_baseline", m, horizon=3, critic=wrong)
    assert baseline.best.is_exact
    assert baseline.critic == "a given table"
    assert not audit("a2c", m, horizon=3, critic=wrong).best.is_exact
    assert not audit("qac", m, horizon=3, critic=np.arange(6).reshape(3, 2)).best.is_exact


def test_variance_by_hand():
    """One pull of two arms, R = (1, 0), p = ½: ĝ = R (½, −½), or 0."""
    m = from_dense(
        np.array([[[0.0, 1.0]] * 2, [[0.0, 1.0]] * 2]),
        np.array([[1.0, 0.0], [0.0, 0.0]]),
        1.0,
        order="sas",
        start=0,
        terminal=[1],
    )
    report = audit("reinforce", m)
    assert report.mean.tolist() == [0.25, -0.25, 0.0, 0.0]
    assert report.variance.tolist() == [0.0625, 0.0625, 0.0, 0.0]
    assert report.against("return").noise_to_signal == pytest.approx(1)


def test_true_advantages_and_visits_of_decisions():
    """In a tree every state has one time; the policy and the exact critic say it all."""
    m = texts(1, 2)
    m = m.having(
        reward=np.array([[0.0, 3.0], [1.0, 2.0], [0.0, 0.0]]),
        policy=np.array([[0.5, 0.5], [0.25, 0.75], [0.0, 0.0]]),
    )
    found = {d.name: d for d in audit("a2c", m).decisions}
    assert found["Q: a"].advantage == pytest.approx(1.75 - 2.375)
    assert found["Q: a <eos>"].advantage == pytest.approx(0.25)
    assert found["Q: a <eos>"].visits == pytest.approx(0.375)
    assert [d.coefficient for d in found.values()] == pytest.approx(
        [d.advantage for d in found.values()]
    )
    assert all(d.spread < 1e-7 for d in found.values())  # no luck left


def test_later_steps_are_held_against_the_gradient_where_each_batch_has_moved():
    """By hand: one pull of two arms, a step of 1, then REINFORCE with the ratio again."""
    m = chain(3, states=1, actions=2)
    row = Recipe("on-policy", credit.total_return, recipe("rloo", clip=10.0).coefficient)
    report = audit(row, m, horizon=1, steps=2, lr=1.0)
    pi = TabularSoftmax(m).probabilities()[0]
    r = m.reward[0]
    mean, exact = np.zeros(2), np.zeros(2)
    for a in (0, 1):
        score = np.eye(2)[a] - pi
        moved = pi * np.exp(r[a] * score)
        moved /= moved.sum()
        mean += pi[a] * moved[a] / pi[a] * r[a] * (np.eye(2)[a] - moved)
        exact += pi[a] * moved * (r - moved @ r)
    step = report.steps[0]
    assert step.fits[0].gradient.tolist() == pytest.approx(exact.tolist(), abs=1e-14)
    assert (step.fits[0].gradient + step.fits[0].bias).tolist() == pytest.approx(mean.tolist())


def test_a_tiny_step_leaves_the_second_estimator_the_first():
    report = audit("ppo", chain(2), horizon=2, steps=3, lr=1e-9)
    first = report.against("return")
    for step in report.steps:
        assert step.clipped == 0
        assert step.fits[0].cosine == pytest.approx(first.cosine, abs=1e-6)
        assert torch.allclose(step.fits[0].bias, first.bias, atol=1e-7)


def test_float32_models_and_linear_policies_take_later_steps_too():
    m = chain(5, states=2)
    single = m.having(
        transitions=m.transitions.astype(np.float32),
        reward=m.reward.astype(np.float32),
        start=m.start.astype(np.float32),
        policy=m.policy.astype(np.float32),
    )
    one, other = (audit("reinforce", x, horizon=2) for x in (m, single))
    assert torch.allclose(one.mean, other.mean, atol=1e-6)
    features = np.eye(4).reshape(2, 2, 4)  # a weight for each (s, a): the table in other words
    linear = LinearSoftmax(m, features, weights=np.log(m.policy).ravel())
    table, weights = (
        audit("ppo", m, policy=p, horizon=2, steps=2, lr=1.0) for p in (TabularSoftmax(m), linear)
    )
    assert torch.allclose(table.mean, weights.mean, atol=1e-14)
    for a, b in zip(table.steps[0].fits, weights.steps[0].fits, strict=True):
        assert torch.allclose(a.bias, b.bias, atol=1e-13)
