"""On-policy and off-policy: the cliff of Sutton & Barto, and a bias that two tables cure.

Left: Example 6.6. Q-learning learns the best path, along the edge, and falls off it because it
explores; Sarsa learns that it explores, and walks the safe one. Middle: the greedy paths of both.
Right: Figure 6.5, where the maximum of noisy values misleads Q-learning, and not double Q-learning.

    python examples/cliff.py [cliff.png]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from logpi.mdp import FiniteMDP, Learned, learn, zoo

METHODS = ("sarsa", "expected_sarsa", "q_learning")


def greedy_path(m: FiniteMDP, q: np.ndarray) -> list[int]:
    """The states from the start to the end when the best action is always taken."""
    state, path = int(m.start.argmax()), []
    while not m.terminal[state] and len(path) < m.states:
        path.append(state)
        successors, _ = m.row(state, int(q[state].argmax()))
        state = int(successors[0])
    return [*path, state]


def returns(axes: Axes, learned: dict[str, Learned]) -> None:
    """Draw Example 6.6: the sum of rewards during an episode."""
    for method in METHODS:
        learned[method].plot(axes, smooth=10)
    axes.set(title="ε = 0.1, α = 0.5 (Example 6.6)", ylim=(-100, 0))


def paths(axes: Axes, m: FiniteMDP, learned: dict[str, Learned]) -> None:
    """Draw the greedy paths, which do not explore."""
    for k, method in enumerate(METHODS):
        q = learned[method].q
        assert q is not None
        row, column = np.divmod(greedy_path(m, q), m.layout.columns)
        axes.plot(column + 0.12 * (k - 1), row + 0.12 * (k - 1), marker=".", label=method)
    cells = np.array([divmod(s, m.layout.columns) for s in m.layout.marks["cliff"]])
    axes.fill_between([cells[:, 1].min() - 0.5, cells[:, 1].max() + 0.5], 2.5, 3.5, color="0.7")
    axes.text(5.5, 3, "the cliff", ha="center", va="center")
    axes.set(title="greedy paths", ylim=(3.6, -0.6), xticks=[], yticks=range(m.layout.rows))
    axes.legend()


def going_left(axes: Axes, runs: int) -> None:
    """Draw Figure 6.5: how often the action is taken that is worse, but sometimes looks better."""
    for method in ("q_learning", "double_q_learning"):
        r = learn(zoo.maximisation_bias(), method, alpha=0.1, epsilon=0.1, episodes=300, runs=runs)
        axes.plot((r.lengths == 2).mean(0), label=method)
    axes.axhline(0.05, color="k", linestyle="--", label="the best that ε = 0.1 can do")
    axes.set(title="maximisation bias (Figure 6.5)", xlabel="episodes", ylabel="share going left")
    axes.legend()


def main() -> None:
    """Draw the three figures into one file, and print what the table of the cliff says."""
    parser = argparse.ArgumentParser(description="On-policy and off-policy.")
    parser.add_argument("out", nargs="?", default="cliff.png", type=Path, help="the picture")
    parser.add_argument("--smoke", action="store_true", help="few runs, and nothing is kept")
    options = parser.parse_args()
    runs = 5 if options.smoke else 100
    m = zoo.cliff()
    learned = {
        method: learn(m, method, alpha=0.5, epsilon=0.1, episodes=500, runs=runs)
        for method in METHODS
    }
    print(f"{'':<16}{'sum of rewards':>16}{'greedy path':>14}")
    for method, r in learned.items():
        assert r.q is not None
        steps = len(greedy_path(m, r.q)) - 1
        print(f"{method:<16}{r.returns[:, -100:].mean():>16.1f}{steps:>8} steps")
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    returns(left, learned)
    paths(middle, m, learned)
    going_left(right, 10 * runs)
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            figure.savefig(Path(folder) / "cliff.png")
    else:
        figure.savefig(options.out)
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
