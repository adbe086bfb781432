"""The policy gradient without noise: three ways to compute it, and what leaving out γ^t does.

python examples/exact_gradient.py
"""

import argparse

import numpy as np
import torch

from logpi import mdp
from logpi.worlds.mdp.exact import Given, gradient, natural_gradient, objective, objective_gradient


def three_ways(models: int) -> None:
    """Compare the ways on random models, and the two that need no enumeration on larger ones."""
    worst = 0.0
    for seed in range(models):
        m = mdp.zoo.make("garnet", states=4, actions=2, branching=2, seed=seed, discount=0.9)
        policy = mdp.TabularSoftmax(m, logits=np.random.default_rng(seed).normal(size=(4, 2)))
        ways = [gradient(m, policy, how=how, horizon=4) for how in ("theorem", "enumeration")]
        through_bellman = gradient(m, policy, horizon=4)
        worst = max(worst, *(float((g - through_bellman).abs().max()) for g in ways))
    print(f"{models} random models: autograd through Bellman's equation, the theorem, and the")
    print(f"enumeration of all trajectories differ by at most {worst:.1e}\n")
    assert worst < 1e-12


def climb(policy: mdp.LinearSoftmax, step: torch.Tensor) -> None:
    """Move the weights along a gradient."""
    with torch.no_grad():
        policy.weights.add_(step)


def blind(m: mdp.FiniteMDP, weight: float) -> mdp.LinearSoftmax:
    """Return a policy to which all states look alike: one weight, for action 1, going right."""
    goes_right = np.zeros((m.states, m.actions, 1))
    goes_right[:, 1] = 1
    return mdp.LinearSoftmax(m, goes_right, weights=np.array([weight]))


def corridor() -> None:
    """Climb to the best probability of going right in Sutton & Barto's example 13.1: 2 − √2."""
    m = mdp.zoo.make("short_corridor")
    policy = blind(m, 2.0)
    for _ in range(100):
        climb(policy, 0.05 * gradient(m, policy))
    p = policy.probabilities()[0, 1]
    print("short corridor, 100 exact gradient steps from π(right) = .88:")
    print(f"π(right) = {p:.6f} (2 − √2 = {2 - np.sqrt(2):.6f}), J = {objective(m, policy):.6f}\n")
    assert abs(p - (2 - np.sqrt(2))) < 1e-6


def conventions() -> None:
    """Ascend with γ^t and without it, where the two point in opposite directions.

    Three states in a row that look alike. Right pays 1 in the first, left pays 1.5 in the third.
    """
    onward = np.zeros((4, 2, 4))
    onward[[0, 1, 2], :, [1, 2, 3]] = 1
    reward = np.zeros((4, 2))
    reward[0, 1], reward[2, 0] = 1.0, 1.5
    start = np.array([1.0, 0.0, 0.0, 0.0])
    m = mdp.from_dense(onward, reward, 0.5, terminal=[3], start=start)
    print("three states that look alike, γ = 1/2:  gradient at 1/2, then 200 steps along it")
    for start_discounted, name in ((True, "with γ^t"), (False, "without ")):
        policy = blind(m, 0.0)
        slope = float(gradient(m, policy, start_discounted=start_discounted))
        for _ in range(200):
            climb(policy, gradient(m, policy, start_discounted=start_discounted))
        right = policy.probabilities()[0, 1]
        print(f"  {name}  {slope:+.5f}  π(right) = {right:.3f}  J = {objective(m, policy):.3f}")
    print("without γ^t the steps lead away from the best J = E[Σ γ^t r]\n")


def kakade() -> None:
    """Compare the natural gradient with the advantages: equal, up to a constant in each state."""
    m = mdp.zoo.make("book_grid")
    policy = mdp.TabularSoftmax(m)
    natural = natural_gradient(m, policy).view(m.states, m.actions).numpy()
    advantage = mdp.advantages(m, policy.probabilities())
    difference = natural - (advantage - advantage.mean(1, keepdims=True))
    print(f"book grid, natural gradient less advantage: {np.abs(difference).max():.1e}\n")
    assert np.abs(difference).max() < 1e-9


def what_groups_climb() -> None:
    """Print the cosine of objectives that groups of four ascend with the plain return's."""
    m = mdp.zoo.make("bandit", means=[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    logits = np.log([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [1.0, 1.0, 1.0]])
    policy = mdp.TabularSoftmax(m, logits=logits)
    exact = objective_gradient("return", m, policy)
    print("two prompts, solved with probability .1 and .4; groups of 4; cosine with the return's")
    for name in (
        "success in z-scored groups of k",
        "log of the success probability, to order k",
        "pass@k",
    ):
        g = objective_gradient(name, m, policy, Given(k=4))
        print(f"  {torch.cosine_similarity(g, exact, dim=0):.4f}  {name}")


def main() -> None:
    """Run all five."""
    parser = argparse.ArgumentParser(description="The policy gradient without noise.")
    parser.add_argument("--smoke", action="store_true", help="three random models instead of 30")
    three_ways(3 if parser.parse_args().smoke else 30)
    corridor()
    conventions()
    kakade()
    what_groups_climb()


if __name__ == "__main__":
    main()
