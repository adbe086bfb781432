"""What estimators are on average, and how they scatter: no sampling, every outcome enumerated."""

from __future__ import annotations

import pytest
import torch
from tests.core.cases import gap
from tests.core.worlds import bandit, chain

from logpi import recipes
from logpi.core import Recipe, coefficient, credit, divergence

EXACT = 1e-13

# -- the policy gradient theorem ------------------------------------------------------------------

UNBIASED = {
    "reinforce_total": Recipe("on-policy", credit.total_return),
    "reinforce": Recipe("on-policy", credit.reward_to_go()),
    "a constant baseline": Recipe("on-policy", credit.reward_to_go(baseline=3.0)),
    "reinforce_baseline": Recipe("on-policy", credit.baselined_return, critic="v"),
    "qac": Recipe("on-policy", credit.action_value, critic="q"),
    "a2c": Recipe("on-policy", credit.td_error, critic="v"),
    "gae": Recipe("on-policy", credit.gae(lam=0.5), critic="v"),
    "vtrace": Recipe("on-policy", credit.vtrace(), critic="v"),
}


@pytest.mark.parametrize("name", sorted(UNBIASED))
@pytest.mark.parametrize("seed", range(3))
def test_with_exact_critics_every_classic_credit_has_the_exact_gradient_as_its_mean(name, seed):
    world, gradients = chain(seed=seed)
    assert gap(world.ascent(UNBIASED[name]), gradients["J"]) <= EXACT


@pytest.mark.parametrize("name", sorted(UNBIASED))
def test_the_gradient_of_the_discounted_start_value_needs_the_discount_in_front(name):
    """With γ^t the mean is ∇E[G_0]; without it, as most code has it, it is not."""
    world, gradients = chain(gamma=0.6)
    row = UNBIASED[name]
    if name == "reinforce_total":  # R(τ) is already discounted from the start
        assert gap(world.ascent(row), gradients["J"]) <= EXACT
        return
    discounted = Recipe(row.data, credit.start_discounted(row.credit), critic=row.critic)
    assert gap(world.ascent(discounted), gradients["J"]) <= EXACT
    assert gap(world.ascent(row), gradients["J"]) > 1e-3


@pytest.mark.parametrize("name", ["reinforce", "reinforce_baseline", "qac", "a2c"])
def test_the_table_offers_the_discount_in_front(name):
    world, gradients = chain(gamma=0.6)
    row = recipes.recipe(name, start_discounted=True)
    assert gap(world.ascent(row), gradients["J"]) <= EXACT


@pytest.mark.parametrize("seed", range(5))
def test_a_baseline_of_the_state_leaves_the_mean_and_moves_only_the_variance(seed):
    """Any function of state and time, however wrong."""
    world, gradients = chain(seed=1)
    plain = UNBIASED["reinforce"]
    generator = torch.Generator().manual_seed(seed)
    table = 5 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    any_value = table[torch.arange(3).expand(world.state.shape), world.state]
    signals = world.signals.having(value=any_value)
    moved = type(world)(world.theta, world.state, world.action, signals)
    row = UNBIASED["reinforce_baseline"]
    assert gap(moved.ascent(row), gradients["J"]) <= EXACT
    assert abs(moved.variance(row) - world.variance(plain)) > 1e-3
    # A wrong value is harmless as a baseline, and a bias where one bootstraps from it.
    wrong = signals.having(next_value=torch.cat([any_value[:, 1:], 0 * any_value[:, :1]], 1))
    bootstrapped = type(world)(world.theta, world.state, world.action, wrong)
    assert gap(bootstrapped.ascent(UNBIASED["a2c"]), gradients["J"]) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_causality_and_exact_critics_take_variance_away(seed):
    world, _ = chain(seed=seed)
    order = ["reinforce_total", "reinforce", "reinforce_baseline", "a2c"]
    scatter = [world.variance(UNBIASED[name]) for name in order]
    assert scatter == sorted(scatter, reverse=True)


def test_the_value_is_a_good_baseline_and_not_the_best_one():
    """On this chain G − V scatters more than G: the order above is a habit, not a theorem."""
    world, _ = chain(seed=3)
    plain, baselined = UNBIASED["reinforce"], UNBIASED["reinforce_baseline"]
    assert world.variance(baselined) > world.variance(plain)


# -- groups of a bandit --------------------------------------------------------------------------

# Three arms on which dividing by the group's spread turns the gradient visibly.
P, REWARD = [0.5, 0.4, 0.1], [0.0, 5.0, 0.5]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_leave_one_out_is_exact(size):
    world, exact = bandit(P, REWARD, size=size)
    assert gap(world.ascent(Recipe("groups", credit.leave_one_out)), exact) <= EXACT


@pytest.mark.parametrize("size", [2, 3, 4])
def test_mean_centring_shrinks_the_gradient_and_keeps_its_direction(size):
    """The mean of a group holds 1/G of the row itself: (G−1)/G of the exact gradient."""
    world, exact = bandit(P, REWARD, size=size)
    centred = world.ascent(Recipe("groups", credit.group_centred))
    assert gap(centred, (size - 1) / size * exact) <= EXACT


@pytest.mark.parametrize(("size", "expected"), [(2, 0.988), (4, 0.998)])
def test_dividing_by_the_groups_spread_turns_the_gradient(size, expected):
    world, exact = bandit(P, REWARD, size=size)
    divided = world.ascent(Recipe("groups", credit.group_relative(epsilon=0.0)))
    assert cosine(divided, exact) == pytest.approx(expected, abs=5e-4)


def test_with_two_rewards_there_is_no_direction_to_turn():
    """A reward of two values: every credit is one number times the exact gradient."""
    world, exact = bandit([0.5, 0.3, 0.2], [1.0, 0.0, 0.0], size=4)
    divided = world.ascent(Recipe("groups", credit.group_relative(epsilon=0.0)))
    assert cosine(divided, exact) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_max_rl_ascends_the_log_likelihood_to_the_groups_order(size):
    """log p = −Σ_k (1−p)^k / k, whose gradient to order G−1 is Σ_{k<G} (1−p)^{k−1} ∇p."""
    p = 0.3
    world, exact = bandit([p, 1 - p], [1.0, 0.0], size=size)
    series = sum((1 - p) ** k for k in range(size - 1))
    assert gap(world.ascent(recipes.RECIPES["max_rl"]), series * exact) <= EXACT


def test_importance_makes_another_policys_pulls_right():
    """Pulls from (.8, .2), policy (.5, .5), rewards ±1: ratios .625 and 2.5, mean 0."""
    world, exact = bandit([0.5, 0.5], [1.0, -1.0], behaviour=[0.8, 0.2])
    row = Recipe("replay", credit.total_return, coefficient.importance)
    push = world.coefficients(row).flatten()
    assert push.tolist() == pytest.approx([0.625, -2.5], abs=1e-12)
    assert (world.signals.weight * push).sum().item() == pytest.approx(0, abs=1e-12)
    assert gap(world.ascent(row), exact) <= EXACT


def test_without_importance_another_policys_pulls_are_wrong():
    world, exact = bandit(P, REWARD, behaviour=[0.1, 0.2, 0.7])
    row = Recipe("replay", credit.total_return, coefficient.importance)
    assert gap(world.ascent(row), exact) <= EXACT
    naive = Recipe("replay", credit.total_return)
    assert gap(world.ascent(naive), exact) > 0.1
    clipped = Recipe("replay", credit.total_return, coefficient.clipped_importance(1.0, 0.0))
    assert gap(world.ascent(clipped), exact) > 0.1


# -- toward a reference policy -------------------------------------------------------------------


def one_decision(term) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """E[coefficient · ∇logp] of one term under π, and the gradients of both divergences."""
    world, _ = bandit([0.6, 0.3, 0.1], [0.0, 0.0, 0.0])
    ref = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    signals = world.signals.having(logp_ref=ref[0, world.action])
    known = type(world)(world.theta, world.state, world.action, signals)
    divergences = {
        "reverse": divergence.kl(world.theta, ref),
        "forward": divergence.kl(ref, world.theta),
    }
    gradients = {k: torch.autograd.grad(d.sum(), world.theta)[0] for k, d in divergences.items()}
    return known.ascent(Recipe("on-policy", credit.one, term)), gradients


def test_k1_in_the_loss_has_no_gradient_on_average():
    mean, _ = one_decision(coefficient.reference_k1(beta=0.5))
    assert mean.abs().max() <= EXACT


def test_k2_in_the_loss_descends_the_reverse_kl():
    mean, gradients = one_decision(coefficient.reference_k2(beta=0.5))
    assert gap(mean, -0.5 * gradients["reverse"]) <= EXACT


def test_k3_in_the_loss_descends_the_forward_kl():
    mean, gradients = one_decision(coefficient.toward_reference(beta=0.5))
    assert gap(mean, -0.5 * gradients["forward"]) <= EXACT
    assert gap(mean, -0.5 * gradients["reverse"]) > 1e-2


def test_only_the_penalty_in_the_reward_descends_the_whole_trajectorys_kl():
    """Over several decisions the forms in the loss forget how an action changes later states."""
    world, gradients = chain(seed=2)
    world = type(world)(
        world.theta,
        world.state,
        world.action,
        world.signals.having(reward=torch.zeros_like(world.signals.reward)),
    )
    inside = Recipe("on-policy", credit.penalised(credit.reward_to_go(), beta=0.5))
    assert gap(world.ascent(inside), -0.5 * gradients["KL"]) <= EXACT
    beside = Recipe("on-policy", credit.one, coefficient.reference_k2(beta=0.5))
    assert gap(world.ascent(beside), -0.5 * gradients["KL"]) > 1e-3


@pytest.mark.parametrize(
    ("estimator", "term"),
    [
        (divergence.k1, coefficient.reference_k1(beta=1.0)),
        (divergence.k2, coefficient.reference_k2(beta=1.0)),
        (divergence.k3, coefficient.toward_reference(beta=1.0)),
    ],
)
def test_each_coefficient_is_its_estimators_slope(estimator, term):
    logp = torch.tensor([[-0.5, -2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([[-1.5, -0.3, -1.0]], dtype=torch.float64)
    slope = torch.autograd.grad(estimator(logp, ref).sum(), logp)[0]
    world, _ = bandit([0.6, 0.4], [0.0, 0.0])
    ones = torch.ones(1, 3, dtype=torch.bool)
    signals = world.signals.take(torch.tensor([0])).having(
        mask=ones, reward=ref, discount=ref, end=ones, logp_old=None
    )
    assert gap(term(signals.having(logp=logp.detach(), logp_ref=ref)), -slope) <= EXACT


@pytest.mark.parametrize("shift", [0.1, 1.0])
def test_estimators_of_the_kl_between_normals(shift):
    """KL(N(μ,1)‖N(0,1)) = μ²/2. Schulman 2020's two tables, by quadrature instead of sampling."""
    x = torch.linspace(-12, 14, 200_001, dtype=torch.float64)
    logp, ref = -((x - shift) ** 2) / 2, -(x**2) / 2
    mass = logp.exp() / logp.exp().sum()
    true = shift**2 / 2
    figures = {}
    for name, estimator in {"k1": divergence.k1, "k2": divergence.k2, "k3": divergence.k3}.items():
        value = estimator(logp, ref)
        mean = (mass * value).sum()
        spread = (mass * (value - mean) ** 2).sum().sqrt()
        figures[name] = ((mean.item() - true) / true, spread.item() / true)
    bias = {0.1: 0.0025, 1.0: 0.25}[shift]
    assert figures["k1"] == pytest.approx((0, 2 / shift), abs=1e-9)
    assert figures["k2"][0] == pytest.approx(bias, abs=1e-9)
    assert figures["k3"][0] == pytest.approx(0, abs=1e-9)
    spreads = {0.1: (1.4167, 1.4153), 1.0: (1.732, 1.695)}[shift]
    assert (figures["k2"][1], figures["k3"][1]) == pytest.approx(spreads, abs=5e-3)


# -- divergences ---------------------------------------------------------------------------------


def test_entropy_and_kl_with_an_impossible_action():
    """0 log 0 is 0: an action of probability 0 adds nothing and is no NaN."""
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], dtype=torch.float64)
    ref = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    assert divergence.entropy(logits).exp().item() == pytest.approx(2)
    assert divergence.kl(logits, ref).exp().item() == pytest.approx(1.5)
    assert divergence.kl(ref, logits).item() == torch.inf


def test_the_exact_kl_is_the_mean_of_k1_and_of_k3():
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    ref = torch.tensor([[1.0, 0.0, -0.5]], dtype=torch.float64)
    p, logp, logp_ref = logits.softmax(-1), logits.log_softmax(-1), ref.log_softmax(-1)
    exact = divergence.kl(logits, ref)
    assert gap((p * divergence.k1(logp, logp_ref)).sum(-1), exact) <= EXACT
    assert gap((p * divergence.k3(logp, logp_ref)).sum(-1), exact) <= EXACT


def test_effective_sample_size():
    """(Σρ)² / Σρ²: 1 where one row outweighs all; ratios far from 1 do not overflow."""
    ratio = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert divergence.effective_sample_size(ratio.log()).item() == pytest.approx(36 / 14)
    lonely = torch.tensor([0.0, -800.0, -900.0], dtype=torch.float64)
    assert divergence.effective_sample_size(lonely).item() == pytest.approx(1)
    assert divergence.effective_sample_size(lonely + 5000).item() == pytest.approx(1)
