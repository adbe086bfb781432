"""REINFORCE on CartPole twice: written out with the core's three lines, and by the library.

By hand the data come from one environment after the other, and everything else is said here. The
library's run is the same row of the table, `reinforce`: whole episodes, the return to go as credit,
a coefficient that is the credit, AdamW.

    python examples/cartpole.py
"""

import argparse
import tempfile

import gymnasium
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import logpi
from logpi.core import Signals, aggregate, coefficient, credit, surrogate

EPISODES, GAMMA, LR = 8, 0.99, 3e-3


# -- by hand ---------------------------------------------------------------------------------------


def play(env: gymnasium.Env, net: nn.Module, seed: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, actions and rewards of one episode."""
    seen, chosen, earned = [], [], []
    observation, _ = env.reset(seed=seed)
    while True:
        x = torch.as_tensor(observation)
        with torch.no_grad():
            action = int(torch.distributions.Categorical(logits=net(x)).sample())
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append(x)
        chosen.append(action)
        earned.append(float(reward))
        if terminated or truncated:
            return torch.stack(seen), torch.tensor(chosen), torch.tensor(earned)


def by_hand(iterations: int) -> float:
    """The mean return of the last iteration's episodes."""
    torch.manual_seed(0)
    env = gymnasium.make("CartPole-v1")
    net = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.0)
    mean = 0.0
    for iteration in range(iterations):
        rows = [play(env, net, None if iteration or e else 0) for e in range(EPISODES)]
        x, action, reward = (pad_sequence(list(c), True) for c in zip(*rows, strict=True))
        length = torch.tensor([len(r) for _, _, r in rows])[:, None]
        place = torch.arange(x.shape[1])
        mask, end = place < length, place == length - 1
        signals = Signals(
            mask=mask,
            reward=reward,
            discount=torch.where(end, 0.0, GAMMA),
            end=end,
            weight=torch.full((EPISODES,), 1 / EPISODES),
        )
        signals = signals.having(credit=credit.reward_to_go()(signals))
        logp = torch.distributions.Categorical(logits=net(x)).log_prob(action)
        weight = aggregate.sum_tokens(mask, signals.weight)
        surrogate(logp, coefficient.plain(signals), weight).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        mean = float(reward.sum(1).mean())
    return mean


# -- by the library --------------------------------------------------------------------------------


def by_library(iterations: int) -> float:
    """The mean return of the last iteration's episodes."""
    world = logpi.Gym("CartPole-v1", num_envs=EPISODES, episodes=EPISODES, discount=GAMMA)
    with tempfile.TemporaryDirectory() as folder:
        run = logpi.train(
            recipe="reinforce",
            world=world,
            iterations=iterations,
            directory=f"{folder}/run",
            optim={"lr": LR},
            quiet=True,
        )
        return run.metrics[-1]["return"]


def main() -> None:
    """Train both, and print what they come to."""
    parser = argparse.ArgumentParser(description="REINFORCE on CartPole, twice.")
    parser.add_argument("--iterations", type=int, default=150, help="of 8 episodes each")
    parser.add_argument("--smoke", action="store_true", help="two iterations")
    options = parser.parse_args()
    iterations = 2 if options.smoke else options.iterations
    print(f"mean return after {iterations} iterations of {EPISODES} episodes")
    print(f"  by hand     {by_hand(iterations):6.1f}")
    print(f"  by library  {by_library(iterations):6.1f}")


if __name__ == "__main__":
    main()
