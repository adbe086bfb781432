"""Many batches at once push what one batch at a time does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.audit.worlds import REFERENCE, fork

from logpi.audit import audit, loss
from logpi.audit.enumeration import measured, reported, rows_and_batches
from logpi.audit.estimators import (
    LogProbs,
    averaged,
    credit_of,
    looks_across_the_batch,
    signals_of,
)
from logpi.audit.functional import masked_tables, parameters_of
from logpi.audit.objectives import moved, targets_of
from logpi.audit.rows import log_probs
from logpi.audit.setup import setup_of, setup_of_loss
from logpi.core import credit
from logpi.core.errors import ConfigError, NonFiniteError
from logpi.recipes import RECIPES, recipe
from logpi.worlds.mdp.policy import TabularSoftmax

ONLINE = sorted(n for n, r in RECIPES.items() if r.data in ("groups", "on-policy", "mixed-groups"))


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("groups", [1, 2])
def test_all_batches_at_once_are_each_batch_alone(name, groups):
    row = RECIPES[name]
    setup = setup_of(name, fork(), group_size=2, groups=groups, rows=groups, reference=REFERENCE)
    rows, draws = rows_and_batches(setup)
    some = draws.part(0, 12)
    k = some.rows.shape[1]
    logp = log_probs(rows, setup.law.table)
    signals = signals_of(rows, some, LogProbs(logp, logp))
    each = [signals.take(torch.arange(b * k, (b + 1) * k)) for b in range(some.count)]
    together = credit_of(row, signals, k)
    assert (together - torch.cat([row.credit(s) for s in each])).abs().max() <= 1e-15
    weight = averaged(row.aggregate, signals.mask, k)
    alone = torch.cat([row.aggregate(s.mask, s.weight) for s in each])
    assert (weight - alone).abs().max() == 0


def test_who_looks_across_the_batch():
    across = {n for n, r in RECIPES.items() if looks_across_the_batch(r.credit)}
    assert across == {"reinforce_pp", "reinforce_pp_baseline"}
    assert looks_across_the_batch(lambda s: s.reward)  # nobody knows it
    assert looks_across_the_batch(credit.start_discounted(credit.whitened(credit.one)))
    assert not looks_across_the_batch(credit.start_discounted(credit.vtrace()))


def test_tables_of_many_parameter_vectors():
    policy = TabularSoftmax(fork())
    theta = parameters_of(policy) + torch.arange(3.0).double()[:, None]
    found = masked_tables(policy, theta)
    assert found.shape == (3, 3, 2)
    assert torch.allclose(found, found[:1].expand(3, -1, -1))  # a shift of all logits is nothing
    assert (found[:, 2] == 0).all()


# -- losses ----------------------------------------------------------------------------------------


def rloo_loss(x):
    n = len(x["reward"])
    advantage = (x["reward"] - x["reward"].mean()) * n / (n - 1)
    return -(x["logp"] * x["mask"] * advantage[:, None]).sum() / n


def grpo_loss(x):
    r, mask = x["reward"], x["mask"]
    advantage = ((r - r.mean()) / (r.std() + 1e-4))[:, None]
    ratio = (x["logp"] - x["logp_old"]).exp()
    clipped = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    u = x["logp_ref"] - x["logp"]
    per_token = -clipped + 0.04 * (u.exp() - u - 1)
    return ((per_token * mask).sum(1) / mask.sum(1)).mean()


@pytest.mark.parametrize(("function", "row"), [(rloo_loss, "rloo"), (grpo_loss, "grpo")])
@pytest.mark.parametrize("size", [2, 3])
def test_a_written_loss_is_the_recipe(function, row, size):
    ours = audit(row, fork(), group_size=size, reference=REFERENCE, steps=2, lr=2.0)
    theirs = loss(function, fork(), group_size=size, reference=REFERENCE, steps=2, lr=2.0)
    # Rounding leaves 1e-17 of a mean of three equal rewards; divided by epsilon it is 1e-13.
    assert (ours.mean - theirs.mean).abs().max() <= 1e-13
    assert ours.total_variance == pytest.approx(theirs.total_variance, abs=1e-14)
    for a, b in zip(ours.steps, theirs.steps, strict=True):
        assert (a.fits[0].bias - b.fits[0].bias).abs().max() <= 1e-13
    assert theirs.recipe == function.__name__


def test_what_a_loss_is_given():
    seen = []

    def look(x):
        seen.append({k: v.clone() for k, v in x.items()})
        return (x["logp"] * x["mask"]).sum()

    loss(look, fork(), group_size=2, reference=REFERENCE)
    assert all(set(x) == {"logp", "logp_old", "logp_ref", "mask", "reward", "group"} for x in seen)
    assert all(x["mask"].any(0).all() for x in seen)  # padded to the longest of the batch
    assert {x["mask"].shape[1] for x in seen} == {1, 2}
    assert all(torch.equal(x["logp"], x["logp_old"]) for x in seen)
    assert all((x["logp"][~x["mask"]] == 0).all() for x in seen)
    assert setup_of_loss(look, fork()).name == "look"


def test_losses_that_cannot_be_audited():
    with pytest.raises(ConfigError, match="returned a tensor"):
        loss(lambda x: x["logp"].sum(1), fork(), group_size=2)
    with pytest.raises(ConfigError, match="returned float"):
        loss(lambda x: 1.0, fork(), group_size=2)
    with pytest.raises(ConfigError, match="mask"):
        loss(lambda x: x["logp"].sum(), fork(), group_size=2)
    with pytest.raises(NonFiniteError, match="NaN"):
        loss(lambda x: (x["logp"] * x["mask"]).sum().sqrt(), fork(), group_size=2)


def test_a_loss_that_teaches_nothing():
    report = loss(lambda x: x["reward"].sum(), fork(), group_size=2)
    assert report.best is None
    assert report.verdict == "Its mean is 0: it ascends nothing here."


def test_a_credit_that_is_not_finite_is_refused():
    row = replace(recipe("reinforce"), credit=lambda s: torch.full_like(s.reward, torch.nan))
    with pytest.raises(NonFiniteError, match="credit"):
        audit(row, fork())


def test_the_moments_do_not_depend_on_how_batches_are_cut(monkeypatch):
    """Chunk by chunk, or all at once: the same means, variances and decisions."""
    from logpi.audit import moments

    setup = setup_of("ppo", fork(), steps=2, lr=1.0, rows=2)
    rows, draws = rows_and_batches(setup)
    logp = log_probs(rows, setup.law.table)

    def found():
        return moments.moments_of(
            setup.estimator,
            rows,
            draws,
            setup.problem.policy,
            logp_old=logp,
            exact=moved(setup.problem.m, 2),
            steps=2,
            lr=1.0,
        )

    whole = found()
    monkeypatch.setattr(moments, "_ELEMENTS", 40)
    for one, other in zip(whole, found(), strict=True):
        assert torch.allclose(one.mean, other.mean, atol=1e-15)
        assert torch.allclose(one.variance, other.variance, atol=1e-15)
        for name, total in one.decisions.items():
            assert torch.allclose(total, other.decisions[name], atol=1e-15)
        for name, gradient in one.exact.items():
            assert torch.allclose(gradient, other.exact[name], atol=1e-15)


def test_a_report_of_moments_that_are_given():
    setup = setup_of("rloo", fork(), group_size=2)
    rows, draws = rows_and_batches(setup)
    targets = targets_of(setup.problem, setup.law, beta=0.1, k=2)
    report = reported(setup, measured(setup, rows, draws, 2), 2, targets=targets, counts=(7, 9))
    assert (report.batches, report.trajectories) == (7, 9)
    assert report.to_json().replace('"batches": 7', "") != report.to_json()
    assert torch.equal(report.mean, audit("rloo", fork(), group_size=2).mean)
