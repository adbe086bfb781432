"""The natural step: conjugate gradients, the trust region, and what a failure leaves behind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from logpi.core import Signals
from logpi.core.seeds import mix
from logpi.train.config import NaturalConfig
from logpi.train.natural import conjugate_gradients, natural_step, step_length


class Arms:
    """A softmax over arms: the whole policy is one distribution."""

    def __init__(self, logits):
        self.logits = torch.nn.Parameter(torch.as_tensor(logits, dtype=torch.float64))

    def named_parameters(self):
        return iter([("logits", self.logits)])

    def log_prob(self, inputs):
        with torch.no_grad():
            return self.logits.log_softmax(0)[inputs]

    def parts(self, inputs, live, *, unit=None, entropy=False):
        raise AssertionError("the step reads no parts")

    def snapshot(self, inputs):
        return self.logits.log_softmax(0).detach()

    def kl_from(self, inputs, before):
        gap = (before.exp() * (before - self.logits.log_softmax(0))).sum()
        return gap.expand(inputs.shape)


def batch(credit, logits=(0.0, 0.0, 0.0)):
    """Each arm once, weighed by its probability: the batch is the expectation."""
    p = torch.tensor(logits, dtype=torch.float64).softmax(0)
    arms = torch.arange(len(p))[:, None]
    one = torch.ones_like(arms, dtype=torch.float64)
    signals = Signals(
        mask=one.bool(),
        reward=one,
        discount=0 * one,
        end=one.bool(),
        weight=p,
        credit=torch.tensor(credit, dtype=torch.float64)[:, None],
    )
    return arms, signals, p[:, None] * one


def push(policy, arms, signals, weight):
    """−∇J in the parameters' gradients, as `accumulate` leaves it."""
    logp = policy.logits.log_softmax(0)[arms]
    (-(weight * signals.credit * logp).sum()).backward()


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_dimensions(seed, n):
    generator = torch.Generator().manual_seed(mix(seed))
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    F = root @ root.T + 0.5 * torch.eye(n, dtype=torch.float64)
    g = torch.randn(n, generator=generator, dtype=torch.float64)
    x = conjugate_gradients(lambda v: F @ v, g, iterations=4 * n, tolerance=0.0)
    assert torch.allclose(F @ x, g, atol=1e-8)


def test_without_curvature_there_is_no_step():
    assert step_length(0.01, 0.0) == 0.0


@pytest.mark.parametrize("delta", [1e-3, 1e-2, 0.1])
def test_the_kl_of_a_step_is_never_above_delta(delta):
    policy = Arms([0.3, -0.2, 0.1])
    for _ in range(20):
        logits = policy.logits.detach()
        p = logits.softmax(0)
        reward = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
        arms, signals, weight = batch((reward - p @ reward).tolist(), logits.tolist())
        before = policy.snapshot(arms)
        push(policy, arms, signals, weight)
        figures = natural_step(
            policy, arms, signals, weight, config=NaturalConfig(delta=delta, damping=0.0)
        )
        after = policy.snapshot(arms)
        kl = float((before.exp() * (before - after)).sum())
        assert kl == pytest.approx(figures["kl"], abs=1e-12)
        assert kl <= delta
    assert policy.logits.detach().argmax() == 0


def test_the_step_is_the_natural_gradient():
    policy = Arms([0.0, 0.0, 0.0])
    arms, signals, weight = batch([1.0, 0.0, -1.0])
    push(policy, arms, signals, weight)
    natural_step(policy, arms, signals, weight, config=NaturalConfig(delta=1e-6, damping=0.0))
    # For a table of logits F⁺∇J is the advantage itself (Kakade 2001), up to a constant.
    moved = policy.logits.detach()
    assert torch.allclose(moved / moved.norm(), torch.tensor([1.0, 0.0, -1.0]).double() / 2**0.5)
    p = torch.full((3,), 1 / 3, dtype=torch.float64)
    F = torch.diag(p) - p[:, None] * p
    assert float(moved @ F @ moved / 2) == pytest.approx(1e-6, rel=1e-3)


def test_a_failed_search_leaves_the_parameters_as_they_were():
    policy = Arms([0.3, -0.2, 0.1])
    start = policy.logits.detach().clone()
    arms, signals, weight = batch([1.0, 0.0, -1.0], (0.3, -0.2, 0.1))
    push(policy, arms, signals, weight)
    policy.logits.grad.neg_()  # downhill: no step along it can gain
    figures = natural_step(policy, arms, signals, weight, config=NaturalConfig(damping=0.0))
    assert figures["step_taken"] == 0
    assert torch.equal(policy.logits.detach(), start)


def test_no_gradient_no_step():
    policy = Arms([0.0, 0.0, 0.0])
    arms, signals, weight = batch([0.0, 0.0, 0.0])
    push(policy, arms, signals, weight)
    figures = natural_step(policy, arms, signals, weight, config=NaturalConfig())
    assert figures == {"kl": 0.0, "step_share": 0.0, "step_taken": 0.0}
    assert np.isfinite(policy.logits.detach().numpy()).all()
    assert math.isfinite(figures["kl"])
