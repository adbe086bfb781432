"""The audit evaluates a recipe exactly as training does: every batch, through training's code."""

from __future__ import annotations

import numpy as np
import pytest
from tests.audit.worlds import REFERENCE, by_training, fork

from logpi.audit import audit
from logpi.recipes import RECIPES, recipe

OFFLINE = ("demonstrations", "filtered", "pairs", "replay")
BEHAVIOUR = np.array([[0.4, 0.6], [0.9, 0.1], [0.0, 0.0]])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_mean_and_variance_are_those_of_training(name):
    row, m = RECIPES[name], fork()
    law = BEHAVIOUR if row.data in OFFLINE else None
    told = {} if law is None else {"behaviour": law}
    report = audit(row, m, reference=REFERENCE, group_size=2, rows=1, **told)
    trained = by_training(row, m, size=2, law=law)
    scale = max(1.0, float(trained.mean.abs().max()))
    assert (report.mean - trained.mean).abs().max() <= 1e-14 * scale
    assert report.total_variance == pytest.approx(trained.variance, abs=1e-13 * scale**2)


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("reinforce", {"entropy": 0.3}),
        ("grpo", {"entropy": 0.3, "beta": 0.0}),
        ("ppo", {"beta": 0.2}),
        ("off_policy_ac", {"rho_max": 1.2}),
        ("a2c", {"lam": 0.5, "start_discounted": True}),
    ],
)
def test_so_are_those_of_other_constants(name, constants):
    """An entropy bonus pushes actions that were not taken; V-trace reads both policies."""
    row, m = recipe(name, **constants), fork()
    law = BEHAVIOUR if row.data in OFFLINE else None
    told = {} if law is None else {"behaviour": law}
    report = audit(row, m, reference=REFERENCE, group_size=2, **told)
    trained = by_training(row, m, size=2, law=law)
    assert (report.mean - trained.mean).abs().max() <= 1e-14
    assert report.total_variance == pytest.approx(trained.variance, abs=1e-13)


def test_groups_of_three():
    row, m = recipe("grpo", beta=0.5), fork()
    report = audit(row, m, reference=REFERENCE, group_size=3)
    trained = by_training(row, m, size=3)
    assert (report.mean - trained.mean).abs().max() <= 1e-14
    assert report.total_variance == pytest.approx(trained.variance, abs=1e-13)


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("ppo", {}),
        ("ppo", {"entropy": 0.5}),
        ("grpo", {}),
        ("gspo", {}),
        ("sapo", {}),
        ("cispo", {}),
        ("dpo", {}),
        ("off_policy_ac", {}),
        ("reinforce_pp_baseline", {"beta": 0.3}),
    ],
)
def test_the_second_step_is_that_of_training_too(name, constants):
    """Ratios, gates, margins and entropies at the policy that each batch has moved to."""
    row, m = recipe(name, **constants), fork()
    law = BEHAVIOUR if row.data in OFFLINE else None
    told = {} if law is None else {"behaviour": law}
    report = audit(row, m, reference=REFERENCE, group_size=2, steps=2, lr=1.5, **told)
    trained = by_training(row, m, size=2, law=law, second=1.5)
    step = report.steps[0]
    mean = step.fits[0].bias + step.fits[0].gradient
    assert (mean - trained.mean).abs().max() <= 1e-13
    assert step.variance == pytest.approx(trained.variance, abs=1e-13)
