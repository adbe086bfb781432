"""The policy: log-probabilities, gradients, trust regions, samples, environments' actions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import distributions as td
from torch import nn
from torch.testing import assert_close

from logpi.core.errors import ConfigError, NonFiniteError, ShapeError
from logpi.core.types import Policy, StepwisePolicy, TrustPolicy
from logpi.worlds.gym.normalise import Normaliser
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.steps import Steps

SEEN = spaces.Box(-3, 3, (4,))
IMAGE = spaces.Box(0, 255, (36, 36, 2), dtype=np.uint8)
SPACES = {
    "discrete": spaces.Discrete(3, start=5),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(3),
    "box": spaces.Box(np.array([-2, -1], np.float32), np.array([2, 1], np.float32)),
}


class Own(nn.Module):
    """A net of one's own, which autograd alone can differentiate."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 8), nn.Linear(8, outputs)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).sin())


def made(kind="discrete", *, seed=0, spread=True, seen=SEEN, **options):
    policy = GymPolicy(seen, SPACES[kind], seed=seed, **options)
    if spread:  # far from uniform
        with torch.no_grad():
            policy.net.layers[-1].weight *= 100
    return policy


def steps_of(policy, n=3, t=5, *, seed=0, masked=False):
    """Decisions that the policy itself drew, and their recorded log-probabilities."""
    rng = np.random.default_rng(seed)
    shape = (n * t, *policy.shape)
    x = rng.integers(0, 256, shape).astype(np.uint8) if policy.image else rng.normal(size=shape)
    x = x if policy.image else x.astype(np.float32)
    mask = None
    if masked:
        mask = rng.random((n * t, policy.actions.choices)) < 0.6
        mask[:, [0, 3][: 1 if policy.actions.kind == "discrete" else 2]] = True
    action, logp = policy.sampler()(x, mask, rng.random((n * t, policy.actions.draws)))
    wide = [None if a is None else torch.from_numpy(a).unflatten(0, (n, t)) for a in (x, action)]
    allowed = None if mask is None else torch.from_numpy(mask).unflatten(0, (n, t))
    inputs = Steps(wide[0], wide[1], allowed, wide[0])
    return inputs, torch.from_numpy(logp).unflatten(0, (n, t))


VARIANTS = [
    ("discrete", {}),
    ("multidiscrete", {}),
    ("multibinary", {}),
    ("box", {}),
    ("box", {"std": "state", "log_std": -0.7}),
    ("box", {"squash": True}),
    ("box", {"activation": "relu", "dtype": torch.float64}),
]


def test_it_is_what_the_loop_asks_for():
    policy = made()
    assert isinstance(policy, Policy)
    assert isinstance(policy, StepwisePolicy)
    assert isinstance(policy, TrustPolicy)
    assert [n for n, _ in policy.named_parameters()][:2] == [
        "net.layers.0.weight",
        "net.layers.0.bias",
    ]


MASKED = [(kind, {}, True) for kind in ("discrete", "multidiscrete")]


@pytest.mark.parametrize(("kind", "options", "masked"), [(*v, False) for v in VARIANTS] + MASKED)
def test_recorded_log_probabilities_are_those_of_the_policy(kind, options, masked):
    policy = made(kind, **options)
    inputs, recorded = steps_of(policy, masked=masked)
    found = policy.log_prob(inputs)
    assert not found.requires_grad
    assert_close(found, recorded, rtol=1e-6, atol=1e-6)
    d = policy.distribution(inputs)
    assert_close(policy.head.log_prob(d, inputs.action), recorded, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_parts_have_the_gradient_of_log_prob(kind, options, entropy):
    policy = made(kind, **{**options, "dtype": torch.float64})
    inputs, _ = steps_of(policy)
    g = torch.Generator().manual_seed(1)
    live = torch.rand(3, 5, generator=g) < 0.6
    live[1] = False
    w = torch.randn(3, 5, generator=g, dtype=torch.float64)
    rows = []
    for part in policy.parts(inputs, live, unit=None, entropy=entropy):
        rows += part.rows.tolist()
        along = w[part.rows], w[part.rows].square() if entropy else None
        assert part.logp[~live[part.rows]].eq(0).all()
        if entropy:
            assert part.entropy[~live[part.rows]].eq(0).all()
        loss = (along[0] * part.logp).sum()
        if entropy:
            loss = loss + (along[1] * part.entropy).sum()
        loss.backward()
    assert rows == live.any(1).nonzero()[:, 0].tolist()
    found = [p.grad.clone() for p in policy.parameters()]
    policy.zero_grad()
    d = policy.distribution(inputs)
    loss = (w * live * policy.head.log_prob(d, inputs.action)).sum()
    if entropy:
        loss = loss + (w.square() * live * policy.head.entropy(d)).sum()
    loss.backward()
    for a, p in zip(found, policy.parameters(), strict=True):
        assert_close(a, p.grad, rtol=1e-10, atol=1e-12)


def test_rows_of_one_decision_are_the_same_decisions():
    policy = made("box", dtype=torch.float64)
    inputs, recorded = steps_of(policy)
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(2)) < 0.7
    rows = policy.unroll(inputs, mask)
    assert_close(policy.log_prob(rows)[:, 0], recorded[mask])
    whole = policy.unroll(inputs, torch.ones(3, 5, dtype=torch.bool))
    assert_close(policy.log_prob(whole)[:, 0], recorded.reshape(-1))
    live = torch.zeros(len(rows.action), 1, dtype=torch.bool)
    live[[1, 4]] = True
    (part,) = policy.parts(rows, live)
    assert part.rows.tolist() == [1, 4]
    assert_close(part.logp[:, 0].detach(), recorded[mask][[1, 4]])


def test_no_live_decision_gives_no_part():
    policy = made()
    inputs, _ = steps_of(policy)
    assert list(policy.parts(inputs, torch.zeros(3, 5, dtype=torch.bool))) == []
    with pytest.raises(ShapeError, match="marks decisions"):
        next(policy.parts(inputs, torch.ones(3, 4, dtype=torch.bool)))


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_samples_have_the_frequencies_that_the_policy_says(kind, options):
    policy = made(kind, **options)
    n = 20_000
    x = np.tile(np.array([[0.5, -1, 0.3, 2]], np.float32), (n, 1))
    rng = np.random.default_rng(0)
    action, _ = policy.sampler()(x, None, rng.random((n, policy.actions.draws)))
    wide = torch.from_numpy(x[:1])[None]
    d = policy.distribution(Steps(wide, wide, None, wide))[0, 0].detach().double()
    if kind in ("discrete", "multidiscrete"):
        parts = d.exp().split(policy.head.sizes)
        for p, a in zip(parts, action.reshape(n, -1).T, strict=True):
            share = np.bincount(a, minlength=len(p)) / n
            assert np.abs(share - p.numpy()).max() < 5 * np.sqrt(0.25 / n)
    elif kind == "multibinary":
        assert np.abs(action.mean(0) - d.sigmoid().numpy()).max() < 5 * np.sqrt(0.25 / n)
    else:
        mean, std = d[:2].numpy(), d[2:].exp().numpy()
        assert np.abs((action.mean(0) - mean) / std).max() < 5 / np.sqrt(n)
        assert np.abs(action.std(0) / std - 1).max() < 5 / np.sqrt(2 * n)


@pytest.mark.parametrize("kind", ["discrete", "multidiscrete"])
def test_masked_actions_are_never_drawn_nor_the_likeliest(kind):
    policy = made(kind)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)).astype(np.float32)
    mask = rng.random((500, policy.actions.choices)) < 0.4
    u = rng.random((500, policy.actions.draws))
    u[:50], u[50:100] = 0.0, 1.0  # beyond what anyone draws
    sampler = policy.sampler()
    sizes = [policy.actions.choices] if kind == "discrete" else policy.head.sizes
    starts = np.cumsum([0, *sizes[:-1]])
    allowed = np.stack([p.any(1) for p in np.split(mask, starts[1:], axis=1)], 1)
    for action in (sampler(x, mask, u)[0], sampler.mode(x, mask)):
        places = action.reshape(500, -1) + starts
        assert np.take_along_axis(mask, places, 1)[allowed].all()


def test_a_free_deviation_and_one_that_the_net_gives_begin_alike():
    free, state = (made("box", spread=False, std=s, log_std=-0.7) for s in ("free", "state"))
    x = torch.zeros(1, 1, 4)
    a, b = (p.distribution(Steps(x, x, None, x)) for p in (free, state))
    assert_close(a[..., 2:], b[..., 2:])


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_the_trust_region_is_the_kl_of_torch(kind, options):
    policy, other = made(kind, **options), made(kind, seed=1, **options)
    inputs, _ = steps_of(policy)
    before = policy.snapshot(inputs)
    assert not before.requires_grad
    assert policy.kl_from(inputs, before).abs().max() < 1e-6
    kl = other.kl_from(inputs, before)
    assert (kl > -1e-6).all()
    now = other.snapshot(inputs)
    if kind == "multibinary":
        known = td.kl_divergence(td.Bernoulli(logits=before), td.Bernoulli(logits=now)).sum(-1)
    elif kind == "box":
        pair = [
            td.Normal(*(f(x) for f, x in zip(PLAIN, d.chunk(2, -1), strict=True)))
            for d in (before, now)
        ]
        known = td.kl_divergence(*pair).sum(-1)
    else:
        sizes = policy.head.sizes
        pairs = zip(before.split(sizes, -1), now.split(sizes, -1), strict=True)
        known = sum(
            td.kl_divergence(td.Categorical(logits=a), td.Categorical(logits=b)) for a, b in pairs
        )
    assert_close(kl.detach(), known, rtol=1e-4, atol=1e-5)
    # The natural step differentiates it twice.
    parameters = list(other.parameters())
    first = torch.autograd.grad(kl.sum(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)
    assert all(g.isfinite().all() for g in second)


PLAIN = (lambda mean: mean, torch.exp)


def test_a_net_of_ones_own_is_differentiated_by_autograd():
    policy = GymPolicy(SEEN, SPACES["box"], net=Own(4, 2), dtype=torch.float64)
    inputs, recorded = steps_of(policy)
    assert_close(policy.log_prob(inputs), recorded)
    live = torch.ones(3, 5, dtype=torch.bool)
    live[0, 2] = False
    (part,) = policy.parts(inputs, live, entropy=True)
    assert part.logp[0, 2] == 0
    assert_close(part.logp[live].detach(), recorded[live])
    (part.logp.sum() + part.entropy.sum()).backward()
    assert policy.head.log_std.grad.ne(0).all()
    with pytest.raises(ShapeError, match=r"\[2, 3\]"):
        GymPolicy(SEEN, SPACES["discrete"], net=Own(4, 2))


def test_a_net_of_ones_own_reads_every_observation_in_one_order_of_memory():
    # Kernels round differently in another, and a resumed run's first observation may have another.
    strides = []

    class Looking(Own):
        def forward(self, x):
            strides.append(x.stride())
            return super().forward(x)

    sampler = GymPolicy(SEEN, SPACES["discrete"], net=Looking(4, 3)).sampler()
    x, noise = np.ones((5, 4), np.float32), np.full((5, 1), 0.3)
    for order in ("C", "F"):
        sampler.draw(np.array(x, order=order), None, noise)
    assert strides[-1] == strides[-2] == (4, 1)


def test_images_go_through_a_cnn_in_pieces(monkeypatch):
    policy = GymPolicy(IMAGE, SPACES["discrete"])
    inputs, recorded = steps_of(policy, n=4, t=2)
    assert inputs.observation.dtype == torch.uint8
    monkeypatch.setattr("logpi.worlds.gym.policy._FLOATS_A_PART", 36 * 36 * 2 * 2 * 3)
    assert_close(policy.log_prob(inputs), recorded, rtol=1e-4, atol=1e-5)
    live = torch.ones(4, 2, dtype=torch.bool)
    parts = list(policy.parts(inputs, live))
    assert [len(p.rows) for p in parts] == [3, 1]
    together = list(policy.parts(inputs, live, unit=torch.tensor([0, 0, 1, 1])))
    assert [len(p.rows) for p in together] == [4]
    assert policy.act(np.zeros((36, 36, 2), np.uint8)) in (5, 6, 7)


def test_observations_are_normalised_inside():
    normaliser = Normaliser((4,))
    policy, plain = made(normaliser=normaliser), made()
    x = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    normaliser.see(x)
    normaliser.adopt()
    y = normaliser(torch.from_numpy(x)).numpy()
    u = np.random.default_rng(1).random((50, 1))
    for found, wanted in zip(
        policy.sampler()(x, None, u), plain.sampler()(y, None, u), strict=True
    ):
        assert np.allclose(found, wanted, atol=1e-6)
    inputs, recorded = steps_of(policy)
    assert_close(policy.log_prob(inputs), recorded, rtol=1e-5, atol=1e-6)


def test_actions_are_as_the_environment_takes_them():
    for kind, options in VARIANTS:
        policy = made(kind, **options)
        space = SPACES[kind]
        x = np.array([0.5, -1, 0.3, 2], np.float32)
        mask = np.array([True, False, True]) if kind == "discrete" else None
        for greedy in (True, False):
            action = policy.act(
                x, greedy=greedy, action_mask=mask, generator=np.random.default_rng(0)
            )
            assert space.contains(action)
            again = policy.act(
                x, greedy=greedy, action_mask=mask, generator=np.random.default_rng(0)
            )
            assert np.array_equal(action, again)


def test_dictionaries_are_observed():
    space = spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(0, 1, (2,)))
    policy = GymPolicy(space, SPACES["discrete"])
    assert policy.shape == (5,)
    assert policy.act({"a": 2, "b": np.zeros(2, np.float32)}) in (5, 6, 7)


def test_a_copy_is_frozen_and_of_its_own():
    policy = made("box")
    twin = policy.copy()
    inputs, recorded = steps_of(policy)
    with torch.no_grad():
        for p in policy.parameters():
            p += 1
    assert_close(twin.log_prob(inputs), recorded, rtol=1e-6, atol=1e-6)
    assert not any(p.requires_grad for p in twin.parameters())


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_a_sampler_is_the_policy_as_it_stood(kind):
    policy = made(kind)
    sampler = policy.sampler()
    x, u = np.ones((6, 4), np.float32), np.full((6, policy.actions.draws), 0.3)
    before = sampler(x, None, u)
    with torch.no_grad():
        for p in policy.parameters():
            p -= 0.3
    for first, kept in zip(before, sampler(x, None, u), strict=True):
        assert np.array_equal(first, kept)
    assert not np.array_equal(policy.sampler()(x, None, u)[1], before[1])


@pytest.mark.parametrize("change", ["double", "replace", "copy"])
def test_what_is_kept_of_the_net_is_found_anew_where_it_changed(change):
    policy = made("box")
    inputs, _ = steps_of(policy)
    policy.log_prob(inputs)
    if change == "double":
        policy.double()
    elif change == "replace":
        policy.net = Own(4, 2)
    else:
        policy = policy.copy()
        with torch.no_grad():
            policy.net.layers[0].weight += 1
    d = policy.distribution(inputs)
    assert_close(policy.log_prob(inputs), policy.head.log_prob(d, inputs.action).detach())


def test_a_batch_of_one_and_one_of_none():
    policy = made()
    x = np.ones((1, 4), np.float32)
    action, logp = policy.sampler()(x, None, np.array([[0.5]]))
    assert action.shape == logp.shape == (1,)
    assert policy.sampler()(x[:0], None, np.zeros((0, 1)))[0].shape == (0,)
    nothing = torch.zeros(0, 3, 4)
    empty = Steps(nothing, torch.zeros(0, 3, dtype=torch.long), None, nothing)
    assert policy.log_prob(empty).shape == (0, 3)


def test_a_space_that_is_not_supported_is_refused_by_name():
    with pytest.raises(ConfigError, match="Text"):
        GymPolicy(spaces.Text(3), SPACES["discrete"])
    with pytest.raises(ConfigError, match="Tuple"):
        GymPolicy(SEEN, spaces.Tuple([SPACES["discrete"]]))


def test_act_refuses_what_is_no_observation():
    policy = GymPolicy(spaces.Box(-1, 1, (4,)), spaces.Discrete(3))
    for wrong in ([1, 2], "abc", None, {"a": 1}):
        with pytest.raises(ShapeError, match=r"is none of .* the policy reads \[4\]"):
            policy.act(wrong)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        policy.act([0.0, np.nan, 0.0, 0.0])


def test_act_reads_the_mask_that_the_environment_gives():
    policy = GymPolicy(spaces.Box(-1, 1, (4,)), spaces.MultiDiscrete([3, 2]))
    told = (np.array([0, 0, 1]), np.array([0, 1]))  # choices of unequal sizes: a tuple
    assert policy.act(np.zeros(4), action_mask=told).tolist() == [2, 1]
    one = GymPolicy(spaces.Box(-1, 1, (4,)), spaces.Discrete(3))
    assert one.act(np.zeros(4), action_mask=np.array([0, 1, 0])) == 1
    with pytest.raises(ConfigError, match="mask of 2 entries instead of 3"):
        one.act(np.zeros(4), action_mask=np.array([0, 1]))
