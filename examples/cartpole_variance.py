"""How noisy, and how biased, are four gradients of the same policy on CartPole?

An episode gives each estimator one gradient, Σ_t c_t ∇ log π(a_t|s_t), which differs in the credit
c_t alone. With γ = 1 the first three are right on average, whatever V is; the fourth, A2C's
temporal difference, is as wrong as its V. Their mean over 10⁵ episodes says how much, and their
spread how many episodes each needs to say the same.

    python examples/cartpole_variance.py [--episodes 100000]
"""

import argparse
from itertools import combinations_with_replacement

import gymnasium
import numpy as np
import torch

from logpi.core import Signals, credit

PRODUCTS = list(combinations_with_replacement(range(5), 4))
TOGETHER = 2000  # episodes that are played side by side, one in each environment
CREDITS = {
    "reinforce_total": credit.total_return,
    "reinforce": credit.reward_to_go(),
    "reinforce_baseline": credit.baselined_return,
    "a2c": credit.td_error,
}


def features(x: np.ndarray) -> np.ndarray:
    """What the linear policy reads: the observation and a constant."""
    return np.concatenate([x, np.ones((*x.shape[:-1], 1))], -1)


def basis(x: np.ndarray) -> np.ndarray:
    """What V is linear in: all products of up to four of the features, bounded."""
    near = features(np.clip(x / [2.4, 2.0, 0.21, 2.0], -2, 2))
    return np.stack([near[..., c].prod(-1) for c in map(list, PRODUCTS)], -1)


def play(w: np.ndarray, episodes: int, seed: int) -> dict[str, np.ndarray]:
    """One episode in each of so many environments: what was seen and done, and where."""
    env = gymnasium.make_vec("CartPole-v1", episodes, vectorization_mode="vector_entry_point")
    (x, _), rng = env.reset(seed=seed), np.random.default_rng((seed, 1))  # not the environment's
    running, told = np.ones(episodes, bool), []
    while running.any():
        p = 1 / (1 + np.exp(-features(x) @ w))
        action = (rng.random(episodes) < p).astype(int)
        told.append((x.astype(float), action - p, running.copy()))
        x, _, terminated, truncated, _ = env.step(action)
        running &= ~(terminated | truncated)
    env.close()
    seen, score, mask = (np.stack(c, 1) for c in zip(*told, strict=True))
    return {"x": seen, "score": score, "mask": mask}


def credits_of(rows: dict[str, np.ndarray], v: np.ndarray | None) -> dict[str, np.ndarray]:
    """Each estimator's credit [n, t]. CartPole pays 1 a step, and ends for good, also at 500."""
    mask = torch.from_numpy(rows["mask"])
    end = torch.arange(mask.shape[1]) == mask.sum(1, keepdim=True) - 1
    told = {"mask": mask, "reward": mask.double(), "discount": (~end).double(), "end": end}
    weight = torch.full((len(mask),), 1 / len(mask), dtype=torch.float64)
    signals = Signals(**told, weight=weight)
    if v is not None:
        value = torch.from_numpy(np.where(rows["mask"], basis(rows["x"]) @ v, 0.0))
        signals = signals.having(value=value, next_value=value.roll(-1, 1) * ~end)
    known = CREDITS if v is not None else {"reinforce": CREDITS["reinforce"]}
    return {name: (c(signals) * mask).numpy() for name, c in known.items()}


def gradients(rows: dict[str, np.ndarray], given: np.ndarray) -> np.ndarray:
    """[n, 5]: each episode's Σ_t c_t ∇ log π(a_t|s_t); here ∇ log π is (a − p) · features."""
    return np.einsum("nt,ntf->nf", given * rows["score"], features(rows["x"]))


def halfway() -> np.ndarray:
    """A policy on its way: REINFORCE from even chances until it balances 50 steps."""
    w, step = np.zeros(5), 0
    while (rows := play(w, 500, seed=step))["mask"].sum(1).mean() < 50:
        g = gradients(rows, credits_of(rows, None)["reinforce"]).mean(0)
        w, step = w + 0.3 * g / np.linalg.norm(g), step + 1
    return w


def fitted(w: np.ndarray, episodes: int) -> np.ndarray:
    """V of that policy: returns to go of episodes of its own, by ridge regression."""
    rows = play(w, episodes, seed=10**6)
    a, y = (c[rows["mask"]] for c in (basis(rows["x"]), credits_of(rows, None)["reinforce"]))
    return np.linalg.solve(a.T @ a + 1e-3 * len(a) * np.eye(a.shape[1]), a.T @ y)


def main() -> None:
    """Measure the four estimators, and print bias and noise relative to the gradient."""
    parser = argparse.ArgumentParser(description="Bias and noise of four gradients on CartPole.")
    parser.add_argument("--episodes", type=int, default=100_000, help="of the estimate")
    parser.add_argument("--smoke", action="store_true", help="few episodes")
    options = parser.parse_args()
    count, w = 2000 if options.smoke else options.episodes, halfway()
    v = fitted(w, min(count, 2000))
    found: dict[str, list[np.ndarray]] = {name: [] for name in CREDITS}
    for batch in range(-(-count // TOGETHER)):
        rows = play(w, min(TOGETHER, count - batch * TOGETHER), seed=2 * 10**6 + batch)
        for name, given in credits_of(rows, v).items():
            found[name].append(gradients(rows, given))
    whole = {name: np.concatenate(parts) for name, parts in found.items()}
    right = whole["reinforce_baseline"]  # on average, and less noisy than the two before it
    size, first = np.linalg.norm(right.mean(0)), whole["reinforce_total"].var(0).sum()
    print(f"{count:,} episodes of a policy that balances about 50 steps")
    print(f"{'':<20}{'bias/|∇J|':>12}{'± s.e.':>9}{'noise/|∇J|':>12}{'variance':>10}")
    for name, g in whole.items():
        apart = g - right
        bias = np.linalg.norm(apart.mean(0)) / size
        error, noise = np.sqrt([apart.var(0).sum() / len(g), g.var(0).sum()]) / size
        share = g.var(0).sum() / first
        print(f"{name:<20}{bias:>12.1%}{error:>9.1%}{noise:>12.2f}{share:>10.1%}")
    print("variance: of one episode's gradient, relative to reinforce_total's")


if __name__ == "__main__":
    main()
