"""`logpi.Gym`: environments of Gymnasium as configuration, and the world at work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from logpi.core.errors import ConfigError
from logpi.core.recipe import Recipe
from logpi.core.types import Batch, Critic
from logpi.worlds.gym.closed import ClosedNets, closed_nets
from logpi.worlds.gym.critic import QNet, ValueNet
from logpi.worlds.gym.export import load, save
from logpi.worlds.gym.given import own_net
from logpi.worlds.gym.make import Mode, findings, make_one, make_vector, name_of
from logpi.worlds.gym.measure import Measure
from logpi.worlds.gym.normalise import Normaliser, RewardScale
from logpi.worlds.gym.normalised import NormalisedSource, rescaling
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.refused import check_recipe
from logpi.worlds.gym.replay import ReplaySource
from logpi.worlds.gym.shared import SharedValue
from logpi.worlds.gym.source import EpisodeSource, StreamSource
from logpi.worlds.gym.spaces import Actions, Observations
from logpi.worlds.gym.steps import Steps
from logpi.worlds.gym.threads import threads
from logpi.worlds.gym.vector import Vector
from logpi.worlds.settings import Settings

__all__ = ["Gym", "OpenGym"]

_COMPARES = {"mixed-groups": "mixed-groups", "on-policy+greedy": "greedy"}


class Gym(Settings):
    """Environments, the policy that acts in them, and how they are played.

    A recipe with a critic learns from streams: `steps` decisions of each of `num_envs` environments
    an iteration, episodes going on from one to the next. A recipe without one learns from whole
    episodes: `group_size` from each of `episodes` reset seeds.

    >>> Gym("CartPole-v1", num_envs=8).steps
    128
    """

    kind: Literal["gym"] = Field(default="gym", description="Gymnasium's environments")
    env: str | Callable[..., Any] = Field(
        description="a registered id, or from Python a function that makes an environment"
    )
    options: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="keyword arguments of the environment"
    )
    num_envs: int = Field(default=8, ge=1, description="environments at once")
    mode: Mode = Field(
        default="auto", description="auto, vector_entry_point, sync, async or envpool"
    )
    step_timeout: float = Field(
        default=60.0, gt=0, description="seconds of a step, in mode async or where it is watched"
    )
    watch: bool = Field(
        default=False, description="see steps that hang in mode sync too, by an alarm around each"
    )
    renew: bool | None = Field(
        default=None,
        description="make each environment anew for every episode; unset: where its reset is known "
        "to leave something of the last one",
    )
    steps: int = Field(default=128, ge=1, description="decisions of each environment an iteration")
    episodes: int = Field(default=8, ge=1, description="reset seeds an iteration, without a critic")
    group_size: int = Field(default=1, ge=1, description="episodes from each reset seed")
    replay: int = Field(
        default=8, ge=1, description="rollouts kept, where a recipe learns from recorded ones"
    )
    replayed: int = Field(
        default=1, ge=0, description="rows of those kept, for each that was just played"
    )
    discount: float = Field(default=0.99, ge=0, le=1, description="γ")
    hidden: tuple[int, ...] = Field(default=(64, 64), description="units of the net's layers")
    activation: Literal["tanh", "relu"] = Field(default="tanh", description="between the layers")
    net: Literal["auto", "mlp", "cnn"] = Field(default="auto", description="auto: cnn for images")
    policy: nn.Module | None = Field(
        default=None, description="a net of one's own, from Python: observations to its numbers"
    )
    init: Literal["orthogonal", "torch"] = Field(
        default="orthogonal", description="how a net's weights begin: orthogonal, or PyTorch's own"
    )
    shared: bool = Field(
        default=False, description="the critic of states reads the policy's own layers"
    )
    std: Literal["free", "state"] = Field(
        default="free", description="a Gaussian's spread: a parameter, or given by the net"
    )
    squash: bool = Field(default=False, description="bring continuous actions in bounds by tanh")
    log_std: float = Field(default=0.0, description="where a Gaussian's log spread begins")
    normalise_observations: bool = Field(default=False, description="by running mean and variance")
    normalise_rewards: bool = Field(default=False, description="by the returns' running spread")
    evaluate_episodes: int = Field(default=20, ge=1, description="greedy episodes of an evaluation")
    threads: int = Field(
        default=1, ge=0, description="of torch and BLAS while a run is open; 0: as they are"
    )

    def __init__(self, env: str | Callable[..., Any] | None = None, /, **told: Any) -> None:
        """The environment may come first, without its name: `Gym("CartPole-v1")`."""
        super().__init__(**({"env": env} if env is not None else {}), **told)

    def check(self, name: str, recipe: Recipe) -> None:
        """Raise `ConfigError` where this world cannot give the recipe what it needs."""
        check_recipe(name, recipe, self)

    @property
    def steps_an_iteration(self) -> int:
        """Decisions of all environments in an iteration, for recipes with a critic."""
        return self.num_envs * self.steps

    def vector(self, *, seed: int, num_envs: int | None = None, one_by_one: bool = False) -> Vector:
        """The environments, opened; `one_by_one` where each episode has a reset seed of its own.

        An environment's own vector form resets all with one seed, so that is then left for sync.
        """
        mode = "sync" if one_by_one and self.mode == "auto" else self.mode
        return make_vector(
            self.env,
            num_envs or self.num_envs,
            mode,
            seed=seed,
            options=self.options,
            timeout=self.step_timeout,
            renew=self.renew,
            watch=self.watch,
        )

    def gives_masks(self) -> bool:
        """Whether the environments say which actions are allowed.

        >>> Gym("CartPole-v1").gives_masks()
        False
        """
        vector = self.vector(seed=0, num_envs=1, one_by_one=True)
        try:
            return vector.reset()[1] is not None
        finally:
            vector.close()

    def policy_of(self, observations: Observations, actions: Actions, *, seed: int) -> GymPolicy:
        """The policy that training starts from."""
        normaliser = Normaliser(observations.shape) if self.normalise_observations else None
        return GymPolicy(
            observations,
            actions,
            hidden=self.hidden,
            activation=self.activation,
            net=self.net if self.policy is None else own_net(self.policy),
            init=self.init,
            std=self.std,
            squash=self.squash,
            log_std=self.log_std,
            normaliser=normaliser,
            seed=seed,
        )

    def evaluator(
        self, recipe: Recipe, model: str | Path, resources: contextlib.ExitStack, *, seed: int
    ) -> Measure:
        """What plays the policy in an exported folder."""
        del recipe
        resources.enter_context(threads(self.threads))
        return Measure(self, self.policy_in(model), seed=seed)

    def policy_in(self, folder: str | Path) -> GymPolicy:
        """The policy of an exported folder, with its statistics, which are frozen."""
        space = None
        with contextlib.suppress(ConfigError):  # one alone cannot be had where all are made at once
            if self.mode == "envpool":  # has spaces of its own, and environments
                one = self.vector(seed=0, num_envs=1)
                space = one.observations
            else:
                one = make_one(self.env, self.options)
                space = one.observation_space
            one.close()
        net = None if self.policy is None else own_net(self.policy)
        return load(folder, observation_space=space, net=net).copy()

    def open(self, name: str, recipe: Recipe, *, seed: int, scratch: Path) -> OpenGym:
        """This world with its environments open. Raises `ConfigError` where they cannot be had."""
        del scratch
        self.check(name, recipe)
        made_at_once = self.mode == "vector_entry_point" and not isinstance(self.env, str)
        if not made_at_once and self.mode != "envpool":  # whose environments are not Gymnasium's
            # Where environments may hang, the checker must not.
            limit = self.step_timeout if self.mode == "async" or self.watch else None
            name = name_of(self.env)
            for found in findings(self.env, self.options, timeout=limit):
                print(f"logpi: Gymnasium finds of {name}: {found}", file=sys.stderr)
        vector = self.vector(seed=seed, one_by_one=recipe.critic is None)
        return OpenGym(self, recipe, vector, seed=seed)


class OpenGym:
    """Gymnasium at work: policy, critic, source, evaluation, export."""

    def __init__(self, config: Gym, recipe: Recipe, vector: Vector, *, seed: int) -> None:
        """Make policy, critic and source for environments that are open."""
        self.config, self.recipe, self.vector = config, recipe, vector
        with contextlib.ExitStack() as taken:
            taken.enter_context(threads(config.threads))  # initial weights are rounded by them too
            self.policy = config.policy_of(vector.observations, vector.actions, seed=seed)
            # The initial policy, before anything was learned: the reference, and who plays for rft.
            kept = recipe.data == "filtered" or "logp_ref" in recipe.reads
            self.initial = self.policy.copy() if kept else None
            self.critic: Critic | None = None
            if recipe.critic is not None:
                self.critic = self._open_critic(vector.observations, seed=seed + 1)
            self.source = self._open_source(seed)
            self.evaluate = Measure(config, self.policy, seed=seed)
            self._threads = taken.pop_all()

    def _open_critic(self, observations: Observations, *, seed: int) -> Critic:
        c = self.config
        told: dict[str, Any] = {
            "image": observations.image,
            "hidden": c.hidden,
            "activation": c.activation,
            "net": c.net,
            "init": c.init,
            "normaliser": self.policy.normaliser,
            "seed": seed,
        }
        if c.shared and self.recipe.critic == "v":
            return SharedValue(self.policy, seed=seed)
        if self.recipe.critic == "q":
            return QNet(observations.shape, self.policy, **told)
        return ValueNet(observations.shape, **told)

    def _open_source(self, seed: int) -> NormalisedSource | ReplaySource:
        c, recipe = self.config, self.recipe
        scale = None
        if c.normalise_rewards:
            streams = c.num_envs if recipe.critic else c.episodes * c.group_size
            scale = RewardScale(streams, discount=c.discount)
        rescale = None if scale is None else rescaling(scale)
        told = {"discount": c.discount, "seed": seed, "rescale": rescale}
        if recipe.critic is not None:
            source = StreamSource(self.vector, steps=c.steps, **told)
        else:
            told |= {"compare": _COMPARES.get(recipe.data, "groups")}
            told |= {"player": self.initial if recipe.data == "filtered" else None}
            source = EpisodeSource(self.vector, starts=c.episodes, copies=c.group_size, **told)
        normalised = NormalisedSource(source, self.policy, scale)
        if recipe.data != "replay":
            return normalised
        return ReplaySource(normalised, kept=c.replay, again=c.replayed, seed=seed)

    def closed_form(self, inputs: Steps, *, entropy: bool) -> ClosedNets | None:
        """Policy and critic without autograd, where both are small perceptrons on the CPU."""
        return closed_nets(self.policy, self.critic, inputs, entropy=entropy)

    def reference_log_prob(self, inputs: Steps) -> Tensor:
        """[n, t] log-probabilities under the policy that training started from."""
        assert self.initial is not None  # the recipe reads it, so it was kept
        return self.initial.log_prob(inputs)

    def describe(self, batch: Batch, row: int) -> dict[str, Any]:
        """A row in words, for the record: what was done at each decision."""
        inputs: Steps = batch.inputs
        count = int(batch.mask[row].nonzero().max()) + 1 if batch.mask[row].any() else 0
        acted = [_short(a) for a in inputs.action[row, :count].tolist()]
        return {
            "prompt": f"{name_of(self.config.env)}: ",
            "completion": f"{count} decisions of environment {row}",
            "actions": [f"{a} " for a in acted],
        }

    def export(self, folder: Path) -> Path:
        """The folder, now holding the policy with its normaliser, and what it was made of."""
        return save(self.policy, folder)

    def close(self) -> None:
        """Close the environments, and let others have the threads that they had."""
        self._threads.close()
        self.vector.close()


def _short(action: float | list[float]) -> str:
    if isinstance(action, list):
        return "(" + ", ".join(f"{x:.3g}" for x in action) + ")"
    return str(action) if isinstance(action, int) else f"{action:.3g}"
