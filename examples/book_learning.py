"""Zhao's figures of learning: Robbins–Monro, TD on the grid world, features, importance sampling.

Figures 6.3, 7.2 and 7.3, 7.4 and 7.5, 8.7, 8.8 and 10.2 of "Mathematical Foundations of
Reinforcement Learning".

    python examples/book_learning.py [book_learning.png]
"""

import argparse
import tempfile
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from logpi.mdp import (
    evaluate,
    features,
    importance_sampled,
    learn,
    robbins_monro,
    solve,
    uniform,
    zoo,
)


def root(axes: Axes) -> None:
    """Draw Figure 6.3: the root of w³ − 5 from noisy values, sought between −3 and 3."""
    for seed in range(3):
        axes.plot(robbins_monro(lambda w: w**3 - 5, steps=50, within=(-3, 3), seed=seed))
    axes.axhline(5 ** (1 / 3), color="k", linestyle="--", label="5^⅓")
    axes.set(title="Robbins–Monro, α = 1/k (6.3)", xlabel="k", ylabel="w")
    axes.legend()


def episodes(axes: Axes, curve: str, runs: int) -> None:
    """Draw Figures 7.2 and 7.3: episodes on the way to the target get cheaper and shorter."""
    m = zoo.book_grid(
        r_target=0, r_forbidden=-10, r_boundary=-10, r_other=-1, terminal=True, start=(0, 0),
        discount=1.0,
    )  # fmt: skip
    for method in ("sarsa", "n_step_sarsa", "expected_sarsa", "q_learning"):
        r = learn(m, method, alpha=0.1, epsilon=0.1, episodes=500, runs=runs)
        r.plot(axes, curve="returns" if curve == "returns" else "lengths", smooth=10)
    limits = (-200, 0) if curve == "returns" else (0, 100)
    axes.set(title="on-policy, ε = 0.1 (7.2, 7.3)", ylim=limits)


def behaviours(axes: Axes) -> None:
    """Draw Figures 7.4 and 7.5: Q-learning from 100 000 steps of policies that explore less."""
    m = zoo.book_grid()
    truth = solve(m, tolerance=1e-9).value
    common = {"alpha": 0.1, "steps": 100_000, "truth": truth, "runs": 5}
    learn(m, "q_learning", behaviour="uniform", **common).plot(axes, label="uniform")
    for epsilon in (0.5, 0.1):
        learn(m, "q_learning", epsilon=epsilon, **common).plot(axes, label=f"ε = {epsilon}")
    axes.set(title="Q-learning, off-policy (7.4, 7.5)")


def linear(axes: Axes, kind: str, runs: int) -> None:
    """Draw Figures 8.7 and 8.8: the error of linear TD(0) for the uniform policy."""
    m = zoo.book_grid()
    truth, at = evaluate(m, uniform(m)), features.coordinates(m)
    common = {"policy": "uniform", "episodes": 500, "max_steps": 500, "truth": truth}
    common |= {"runs": runs, "record_every": 2}
    learn(m, "td", alpha=0.005, **common).plot(axes, label="table")
    for k in (1, 2, 3):
        cosines = features.fourier(at, k)
        x = features.polynomial(2 * at - 1, k) if kind == "polynomial" else cosines
        r = learn(m, "td", features=x, alpha=0.0005, **common)
        r.plot(axes, label=f"{x.shape[1]} features")
    figure = "8.7" if kind == "polynomial" else "8.8"
    axes.set(title=f"linear TD, {kind} ({figure})", ylim=(0, 3.6))


def weights(axes: Axes) -> None:
    """Draw Figure 10.2: samples of p₁ = (0.8, 0.2), and what they say about p₀ = (0.5, 0.5)."""
    drawn = importance_sampled([1, -1], [0.5, 0.5], [0.8, 0.2], samples=200, seed=3)
    axes.plot(drawn.samples, "k.", markersize=2, label="samples")
    axes.plot(drawn.plain, label="mean → 0.6")
    axes.plot(drawn.ordinary, label="weighted by p₀/p₁ → 0")
    axes.set(title="importance sampling (10.2)", xlabel="samples", ylim=(-2, 2))
    axes.legend()


def main() -> None:
    """Draw the figures into one file."""
    parser = argparse.ArgumentParser(description="Zhao's figures of learning.")
    parser.add_argument("out", nargs="?", default="book_learning.png", type=Path)
    parser.add_argument("--smoke", action="store_true", help="few runs, and nothing is kept")
    options = parser.parse_args()
    runs = 1 if options.smoke else 20
    figure = Figure(figsize=(18, 9), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    root(axes[0])
    episodes(axes[1], "returns", runs)
    episodes(axes[2], "lengths", runs)
    behaviours(axes[3])
    linear(axes[4], "polynomial", runs)
    linear(axes[5], "Fourier", runs)
    weights(axes[6])
    axes[7].axis("off")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "smoke.png" if options.smoke else options.out
        figure.savefig(out)
    kept = "drawn, not kept" if options.smoke else f"in {options.out}"
    print(f"7 figures of {runs} runs: {kept}")


if __name__ == "__main__":
    main()
