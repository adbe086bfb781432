"""The random walk of Sutton & Barto: temporal differences against Monte Carlo, in four figures.

Top: Example 6.2, what TD(0) has learned after so many episodes, and its error against that of Monte
Carlo. Bottom: Figure 6.2, both on the same batches of episodes, and Figures 7.2 and 12.6, how far
to look ahead. Errors are root mean squares over the states, averaged over the runs.

    python examples/random_walk.py [random_walk.png]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from logpi.mdp import learn, zoo

TRUTH = np.r_[0, np.arange(1, 6) / 6, 0]  # A to E; the ends are worth 0
TRUTH_19 = np.r_[0, np.arange(-9, 10) / 10, 0]
STATES = "ABCDE"


def estimates(axes: Axes) -> None:
    """Draw Example 6.2, left: the values that TD(0) has after 0, 1, 10 and 100 episodes of one run.

    The same seed walks the same way, so that a run of 10 episodes begins with that of one.
    """
    axes.plot(list(STATES), TRUTH[1:-1], "k--", label="true values")
    axes.plot(list(STATES), [0.5] * 5, label="0 episodes")
    for episodes in (1, 10, 100):
        r = learn(zoo.random_walk(), "td", episodes=episodes, alpha=0.1, initial_value=0.5, seed=1)
        axes.plot(list(STATES), r.value[1:-1], marker=".", label=f"{episodes} episodes")
    axes.set(title="TD(0), α = 0.1 (Example 6.2)", ylabel="estimated value")
    axes.legend()


def errors(axes: Axes, runs: int) -> None:
    """Draw Example 6.2, right: the error of TD(0) and of every-visit Monte Carlo."""
    common = {"episodes": 100, "runs": runs, "truth": TRUTH, "record_every": 1}
    for method, sizes in (("td", (0.05, 0.1, 0.15)), ("mc_prediction", (0.01, 0.02, 0.03, 0.04))):
        visit = {} if method == "td" else {"first_visit": False}
        for alpha in sizes:
            r = learn(zoo.random_walk(), method, alpha=alpha, initial_value=0.5, **visit, **common)
            name, style = ("TD", "-") if method == "td" else ("MC", "--")
            mean = np.mean(r.errors, axis=0) if r.errors is not None else []
            axes.plot(r.recorded, mean, style, label=f"{name} α = {alpha}")
    axes.set(title="TD(0) and Monte Carlo (Example 6.2)", xlabel="episodes", ylabel="RMS error")
    axes.legend(ncols=2, fontsize="small")


def batches(axes: Axes, runs: int) -> None:
    """Draw Figure 6.2: after each episode, both are shown all of them until they settle."""
    for method, label in (("batch_td", "batch TD"), ("batch_mc", "batch Monte Carlo")):
        r = learn(
            zoo.random_walk(), method, episodes=100, runs=runs, truth=TRUTH, initial_value=0.5,
            record_every=2,
        )  # fmt: skip
        r.plot(axes, label=label)
    axes.set(title="the same episodes again and again (Figure 6.2)", ylim=(0, 0.4))


def looking_ahead(axes: Axes, runs: int) -> None:
    """Draw Figures 7.2 and 12.6: the error of the first ten episodes on 19 states, by step size."""
    m = zoo.random_walk(19, left_reward=-1)
    common = {"episodes": 10, "runs": runs, "truth": TRUTH_19, "record_every": 1}
    sizes = np.linspace(0.05, 1.0, 20)

    def error(method: str, **options: float) -> list[float]:
        found = (learn(m, method, alpha=a, **options, **common).errors for a in sizes)
        return [float(np.mean(e[:, 1:])) if e is not None else np.nan for e in found]

    for n in (1, 2, 4, 8, 16):
        axes.plot(sizes, error("n_step_td", n=n), label=f"n = {n}")
    for lam in (0.4, 0.8, 0.9):
        axes.plot(sizes, error("td_lambda", lam=lam), "--", label=f"λ = {lam}")
    axes.set(
        title="19 states: n steps, or traces (Figures 7.2, 12.6)", xlabel="α",
        ylabel="RMS error, first 10 episodes", ylim=(0.2, 0.55),
    )  # fmt: skip
    axes.legend(ncols=2, fontsize="small")


def main() -> None:
    """Draw the four figures into one file."""
    parser = argparse.ArgumentParser(description="Temporal differences against Monte Carlo.")
    parser.add_argument("out", nargs="?", default="random_walk.png", type=Path, help="the picture")
    parser.add_argument("--smoke", action="store_true", help="few runs, and nothing is kept")
    options = parser.parse_args()
    runs = 3 if options.smoke else 100
    figure = Figure(figsize=(12, 9), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    estimates(first)
    errors(second, runs)
    batches(third, min(runs, 50))
    looking_ahead(fourth, runs)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "smoke.png" if options.smoke else options.out
        figure.savefig(out)
    kept = "drawn, not kept" if options.smoke else f"in {options.out}"
    print(f"4 figures of {runs} runs: {kept}")


if __name__ == "__main__":
    main()
