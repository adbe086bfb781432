"""Tabular learning on models, one thread: million steps a CPU second, and what Gymnasium does.

python benchmarks/learning_speed.py                5 million steps each, the best of 3
python benchmarks/learning_speed.py --json out     every figure, as JSON
python benchmarks/learning_speed.py --smoke        few steps: only to see that the script works

A step is all of it: choosing an action, the transition, the update, the learning curve. Compiling
is timed apart. The last rows are what a plain Python loop does in FrozenLake: Q-learning as
written in tutorials, and `learn` on the environment itself, where the environment's own step is
most of the time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
from lm.measure import machine, versions

from logpi.worlds.mdp.gymnasium_table import from_gymnasium
from logpi.worlds.mdp.learning import learn

MODELS = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4")
METHODS = (
    ("q_learning", {}),
    ("sarsa", {}),
    ("expected_sarsa", {}),
    ("double_q_learning", {}),
    ("n_step_sarsa", {"n": 4}),
    ("sarsa_lambda", {"lam": 0.9}),
    ("mc_control", {}),
    ("td", {"policy": "uniform"}),
)
DISCOUNT, LIMIT = 0.99, 100


def best(work: Callable[[int], int], repeats: int) -> float:
    """Million steps a CPU second of the fastest of several runs; `work` returns its steps."""
    found = []
    for seed in range(repeats):
        began = time.thread_time()
        steps = work(seed)
        found.append(steps / (time.thread_time() - began) / 1e6)
    return max(found)


def tutorial(steps: int, seed: int) -> int:
    """Q-learning in a plain Python loop over FrozenLake, ε = α = 0.1."""
    env = gymnasium.make("FrozenLake-v1")
    rng = np.random.default_rng(seed)
    q = np.zeros((16, 4))
    state, _ = env.reset(seed=seed)
    for _ in range(steps):
        greedy = rng.random() >= 0.1
        action = int(np.argmax(q[state])) if greedy else int(rng.integers(4))
        after, reward, ended, cut, _ = env.step(action)
        target = reward + DISCOUNT * (0.0 if ended else q[after].max())
        q[state, action] += 0.1 * (target - q[state, action])
        state = after
        if ended or cut:
            state, _ = env.reset()
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="few steps")
    parser.add_argument("--json", type=Path, help="a file for every figure")
    options = parser.parse_args()
    steps, repeats = (20_000, 1) if options.smoke else (5_000_000, 3)
    models = {name: from_gymnasium(name, discount=DISCOUNT) for name in MODELS}

    began = time.thread_time()
    learn(models[MODELS[0]], "q_learning", steps=10, max_steps=LIMIT)
    fast = time.thread_time() - began
    learn(models[MODELS[0]], "mc_control", steps=10, max_steps=LIMIT)
    both = time.thread_time() - began
    print(f"compiling, or loading what was compiled: {fast:.1f} s, {both:.1f} s with all methods\n")
    print(f"{'million steps a CPU second':<28}" + "".join(f"{name:>20}" for name in MODELS))
    speeds: dict[str, dict[str, float]] = {}
    for method, given in METHODS:
        speeds[method] = {
            name: best(
                lambda seed, m=m, method=method, given=given: (
                    learn(m, method, steps=steps, max_steps=LIMIT, seed=seed, **given).steps
                ),
                repeats,
            )
            for name, m in models.items()
        }
        print(f"{method:<28}" + "".join(f"{speed:>20.1f}" for speed in speeds[method].values()))

    few = steps // 50
    env = gymnasium.make("FrozenLake-v1")
    python = {
        "a Python loop over Gymnasium": best(lambda seed: tutorial(few, seed), repeats),
        "learn on the environment": best(
            lambda seed: learn(env, "q_learning", steps=few, discount=DISCOUNT, seed=seed).steps,
            repeats,
        ),
    }
    for name, speed in python.items():
        print(f"{name:<28}{speed:>20.3f}")
    if options.json:
        facts = {"machine": machine(), "versions": versions("numba", "numpy", "gymnasium")}
        options.json.write_text(json.dumps(facts | {"speeds": speeds, "python": python}, indent=1))


if __name__ == "__main__":
    main()
