"""skrl's side of a line, in a process of its own: one line of JSON.

python -m benchmarks.gym.side_skrl LINE SEED
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import torch
from benchmarks.gym.lines import Line
from benchmarks.gym.measure import Judge, Stopwatch, answer, watched
from gymnasium.wrappers.vector import TransformAction
from skrl.agents.torch.ppo import PPO  # type: ignore[import-not-found] # in its own environment
from skrl.envs.wrappers.torch import wrap_env  # type: ignore[import-not-found] # as above
from skrl.memories.torch import RandomMemory  # type: ignore[import-not-found] # as above
from skrl.models.torch import (  # type: ignore[import-not-found] # as above
    CategoricalMixin,
    DeterministicMixin,
    GaussianMixin,
    Model,
)
from skrl.trainers.torch import SequentialTrainer  # type: ignore[import-not-found] # as above
from skrl.utils import set_seed  # type: ignore[import-not-found] # as above
from torch import nn


def perceptron(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """64 × 64 tanh, with the weights that the other sides begin with."""
    net = nn.Sequential(
        nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs)
    )
    for layer, length in ((net[0], math.sqrt(2)), (net[2], math.sqrt(2)), (net[4], gain)):
        nn.init.orthogonal_(layer.weight, length)
        nn.init.zeros_(layer.bias)
    return net


class Choices(CategoricalMixin, Model):
    """A policy of discrete actions."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        CategoricalMixin.__init__(self)
        self.net = perceptron(self.num_observations, self.num_actions, 0.01)

    def compute(self, inputs: Mapping[str, Any], role: str) -> tuple[Any, dict[str, Any]]:
        return self.net(inputs["observations"]), {}


class Normal(GaussianMixin, Model):
    """A policy of continuous actions, whose spread is a parameter."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self, clip_log_std=False)
        self.net = perceptron(self.num_observations, self.num_actions, 0.01)
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs: Mapping[str, Any], role: str) -> tuple[Any, dict[str, Any]]:
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    """A critic with a net of its own."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = perceptron(self.num_observations, 1, 1.0)

    def compute(self, inputs: Mapping[str, Any], role: str) -> tuple[Any, dict[str, Any]]:
        return self.net(inputs["observations"]), {}


def settings(line: Line) -> dict[str, Any]:
    """Of its PPO, which writes nothing."""
    found = {
        "rollouts": line.steps,
        "mini_batches": line.minibatches,
        "learning_epochs": line.epochs,
        "learning_rate": line.rl,
        "gae_lambda": line.lam,
        "discount_factor": line.discount,
        "ratio_clip": 0.2,
        "value_clip": 0.0,
        "value_loss_scale": 0.5,
        "grad_norm_clip": 0.5,
        "time_limit_bootstrap": True,
        "experiment": {"write_interval": 0, "checkpoint_interval": 0},
    }
    if line.decay == "linear":  # its scheduler takes a step an epoch
        left = lambda epochs: 1 - epochs // line.epochs / line.iterations  # noqa: E731
        found["learning_rate_scheduler"] = torch.optim.lr_scheduler.LambdaLR
        found["learning_rate_scheduler_kwargs"] = {"lr_lambda": left}
    return found


def trainer(line: Line, seed: int) -> Any:
    """Whose `train` takes one iteration, of environments in the mode of our side."""
    torch.set_num_threads(1)
    set_seed(seed)
    many: Any = gymnasium.make_vec(line.env, line.envs, vectorization_mode=line.mode)
    acts = many.single_action_space
    if isinstance(acts, gymnasium.spaces.Box):  # what is learned from is not clipped
        many = TransformAction(many, lambda x: x.clip(acts.low, acts.high))
    env = wrap_env(many, "gymnasium", verbose=False)
    spaces: dict[str, Any] = {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "device": "cpu",
    }
    policy = Normal if isinstance(acts, gymnasium.spaces.Box) else Choices
    agent = PPO(
        models={"policy": policy(**spaces), "value": Value(**spaces)},
        memory=RandomMemory(memory_size=line.steps, num_envs=line.envs, device="cpu"),
        cfg=settings(line),
        **spaces,
    )
    agent.optimizer.param_groups[0]["eps"] = 1e-5
    quiet = {"headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    return SequentialTrainer(env=env, agents=agent, cfg={"timesteps": line.steps, **quiet})


def timed(line: Line, seed: int) -> dict[str, Any]:
    """Iterations after a first one that does not count; how much of them the environments take."""
    made = trainer(line, seed)
    made.train()
    spent = watched(made.env, "step")
    watch = Stopwatch()
    made.cfg.timesteps = line.iterations * line.steps
    made.train()
    seconds = watch.read()
    rate = line.iterations * line.decisions / seconds
    return {"rate": rate, "share": spent[0] / seconds}


def learned(line: Line, seed: int) -> dict[str, Any]:
    """Until the policy is good enough, once environments, nets and optimizers are made."""
    judge, made = Judge(line.env), trainer(line, seed)
    watch, agent = Stopwatch(), made.agents
    act = lambda x: int(agent.policy.net(torch.from_numpy(x)).argmax())  # noqa: E731
    for done in range(1, line.iterations + 1):
        made.train()
        if line.decay == "linear":  # which it has for learning rates alone
            agent.cfg.ratio_clip = 0.2 * (1 - done / line.iterations)
        if judge.content(done, watch, act):
            return {"seconds": watch.read(), "decisions": done * line.decisions}
    return {"seconds": None}


if __name__ == "__main__":
    answer(timed, learned)
