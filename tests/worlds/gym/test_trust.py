"""TRPO with nets: the KL of a step is never above δ, and a step that fails leaves no trace."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.worlds.gym.test_published import Streams, trainer

from logpi.core import Signals
from logpi.train.natural import natural_step
from logpi.train.sections import NaturalConfig

BOX = spaces.Box(-1, 1, (2,))


def measured_kl(before, after, kind):
    """The mean over decisions of KL(before ‖ after), by torch.distributions."""
    if kind == "discrete":
        p, q = (torch.distributions.Categorical(logits=d) for d in (before, after))
        return float(torch.distributions.kl_divergence(p, q).mean())
    means, stds = zip(*(d.chunk(2, -1) for d in (before, after)), strict=True)
    p, q = (torch.distributions.Normal(m, s.exp()) for m, s in zip(means, stds, strict=True))
    return float(torch.distributions.kl_divergence(p, q).sum(-1).mean())


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1000),
    st.sampled_from([1e-4, 1e-2, 0.3, 3.0]),
    st.sampled_from([0.0, 1e-3, 0.1]),
    st.sampled_from([None, BOX]),
)
def test_the_kl_of_a_step_is_never_above_delta(seed, delta, damping, actions):
    world = Streams(actions=actions)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in world.policy.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    loop = trainer(
        world, recipe="trpo", natural={"delta": delta, "damping": damping, "backtracks": 6}
    )
    kind = world.policy.actions.kind
    for iteration in range(2):
        inputs = world.draw(world.policy, iteration).inputs
        before = world.policy.snapshot(inputs)
        figures = loop.iterate().metrics
        found = measured_kl(before, world.policy.snapshot(inputs), kind)
        assert found <= delta
        assert found == pytest.approx(figures["kl"], abs=1e-9, rel=1e-6)


@pytest.mark.parametrize("actions", [None, BOX], ids=["discrete", "box"])
def test_a_search_that_fails_leaves_every_parameter_as_it_was(actions):
    world = Streams(actions=actions)
    batch = world.draw(world.policy, 0)
    credit = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(1)).double()
    signals = Signals.of(batch, credit=credit)
    weight = batch.mask * batch.weight[:, None]
    logp = world.policy.head.log_prob(
        world.policy.distribution(batch.inputs).flatten(0, 1), batch.inputs.action.flatten(0, 1)
    )
    (weight * credit * logp.view_as(credit)).sum().backward()  # downhill: no step along it gains
    start = [p.detach().clone() for p in world.policy.parameters()]
    figures = natural_step(world.policy, batch.inputs, signals, weight, config=NaturalConfig())
    assert figures == {"kl": 0.0, "step_share": 0.0, "step_taken": 0.0}
    for p, was in zip(world.policy.parameters(), start, strict=True):
        assert torch.equal(p.detach(), was)
