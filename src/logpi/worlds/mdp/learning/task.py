"""What `learn` was asked for, checked and in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from logpi.core.errors import ConfigError, ShapeError
from logpi.worlds.mdp.learning.endings import endless_state
from logpi.worlds.mdp.learning.environment import form_of, is_environment
from logpi.worlds.mdp.learning.methods import Method, method_named
from logpi.worlds.mdp.learning.options import settled, whole
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.naming import action_name, state_name
from logpi.worlds.mdp.planning.policies import as_probabilities, uniform

if TYPE_CHECKING:
    import gymnasium

__all__ = ["Length", "Task", "checked_task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long to learn, how often, and when to look."""

    episodes: int | None
    steps: int | None
    runs: int
    limit: int | None  # steps after which an episode is cut
    record_every: int | None

    @property
    def total(self) -> int:
        """Episodes, or steps where those are counted."""
        return self.episodes or self.steps or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A checked request."""

    name: str
    method: Method
    options: Mapping[str, Any]
    m: FiniteMDP  # or the form of the environment: its states and actions, but not its dynamics
    env: gymnasium.Env[Any, Any] | None
    discount: float
    seed: int
    length: Length
    policy: Float[ndarray, "S A"] | None  # whose value is wanted, where it is given
    behaviour: Float[ndarray, "S A"] | None  # who acts, where that is given
    truth: Float[ndarray, "..."] | None  # [S] or [S, A]

    @property
    def of_states(self) -> bool:
        """Whether the table holds V(s), not Q(s, a)."""
        return self.options.get("of", self.method.estimates) == "v"


def checked_task(
    world: FiniteMDP | gymnasium.Env[Any, Any],
    name: str,
    common: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Task:
    """The request, if it can be done; else raises `ConfigError` or `ShapeError`, which say why.

    >>> from logpi.worlds.mdp.zoo import make
    >>> common = dict(episodes=3, steps=None, runs=1, max_steps=None, record_every=None)
    >>> common |= dict(discount=None, seed=0, truth=None)
    >>> checked_task(make("cliff"), "sarsa", common, {}).discount
    1.0
    """
    method = method_named(name)
    options = settled(name, method, given)
    m, env = (form_of(world), world) if is_environment(world) else (_model(world), None)
    policy = _policy(m, name, method, options)
    behaviour = options.get("behaviour")
    task = Task(
        name=name,
        method=method,
        options=options,
        m=m,
        env=env,
        discount=_discount(m, env, common["discount"]),
        seed=whole("seed", common["seed"], 0),
        length=_length(method, common),
        policy=policy,
        behaviour=policy if behaviour is None else _probabilities(m, "behaviour", behaviour),
        truth=_truth(m, common["truth"]),
    )
    if env is not None and options.get("exploring_starts"):
        raise ConfigError("an environment cannot begin anywhere: leave `exploring_starts` out.")
    _check_behaviour(task)
    _check_end(task)
    return task


def _model(world: object) -> FiniteMDP:
    if isinstance(world, FiniteMDP):
        if not world.start[~world.terminal].any():
            raise ConfigError(f"{world.name} starts in terminal states alone: nothing happens.")
        return world
    raise ConfigError(
        f"learn takes a FiniteMDP or a Gymnasium environment, not {type(world).__name__}. "
        "zoo.make(name) and gymnasium.make(name) make one."
    )


def _discount(m: FiniteMDP, env: object, given: float | None) -> float:
    if given is None and env is not None:
        raise ConfigError("a Gymnasium environment has no discount: give `discount=`.")
    discount = m.discount if given is None else float(given)
    if not 0 <= discount <= 1:
        raise ConfigError(f"discount is {discount:g} but must lie in [0, 1].")
    return discount


def _length(method: Method, common: Mapping[str, Any]) -> Length:
    episodes, steps = common["episodes"], common["steps"]
    if episodes is not None and steps is not None:
        raise ConfigError(f"episodes={episodes} and steps={steps} are two lengths: give one.")
    if method.family == "basic" and (episodes, steps) != (None, None):
        raise ConfigError("MC Basic is as long as its `iterations`: leave episodes and steps out.")
    if method.family == "batch" and steps is not None:
        raise ConfigError("a batch grows by whole episodes: give `episodes=`.")
    optional = {
        key: None if common[key] is None else whole(key, common[key])
        for key in ("episodes", "steps", "max_steps", "record_every")
    }
    if episodes is None and steps is None:
        optional["episodes"] = 500
    return Length(
        episodes=optional["episodes"],
        steps=optional["steps"],
        runs=whole("runs", common["runs"]),
        limit=optional["max_steps"],
        record_every=optional["record_every"],
    )


def _probabilities(m: FiniteMDP, name: str, given: ArrayLike) -> Float[ndarray, "S A"]:
    if isinstance(given, str):
        if given != "uniform":
            raise ConfigError(f"{name} is {given!r}; the one policy that has a name is 'uniform'.")
        return uniform(m)
    try:
        return as_probabilities(m, given)
    except (ConfigError, ShapeError) as error:
        raise type(error)(f"{name}: {error}") from None


def _policy(
    m: FiniteMDP, name: str, method: Method, options: Mapping[str, Any]
) -> Float[ndarray, "S A"] | None:
    """The policy to judge, which may be the model's own, or the only one that there is."""
    given = options.get("policy")
    if given is not None:
        return _probabilities(m, "policy", given)
    if method.judges != "given":
        return None
    if m.policy is not None:
        return as_probabilities(m, m.policy)
    if (m.allowed.sum(1) <= 1).all():
        return uniform(m)
    raise ConfigError(
        f"`{name}` estimates the value of a policy: give `policy=`, as [S, A] probabilities, "
        "as [S] actions, or 'uniform'."
    )


def _truth(m: FiniteMDP, given: ArrayLike | None) -> Float[ndarray, "..."] | None:
    if given is None:
        return None
    truth = np.asarray(given, dtype=np.float64)
    if truth.shape not in ((m.states,), m.reward.shape):
        raise ShapeError(
            f"truth is {list(truth.shape)} but must be [{m.states}], values of states, "
            f"or {list(m.reward.shape)}, values of actions."
        )
    return truth


def _check_behaviour(task: Task) -> None:
    """Nothing; raises where the behaviour never does what importance sampling asks about."""
    if task.method.family != "whole" or "behaviour" not in task.options:
        return
    if task.options["behaviour"] is None or task.behaviour is None:
        raise ConfigError(
            f"`{task.name}` learns from another policy's episodes: give `behaviour=`."
        )
    wanted = task.m.allowed if task.policy is None else task.policy > 0
    bare = wanted & (task.behaviour <= 0)
    if bare.any():
        s, a = (int(i) for i in np.argwhere(bare)[0])
        target = "the greedy policy may" if task.policy is None else "the policy does"
        raise ConfigError(
            f"the behaviour never takes {action_name(task.m, a)} in {state_name(task.m, s)}, which "
            f"{target}: importance sampling asks for coverage, b(a|s) > 0 wherever π(a|s) > 0."
        )


def _check_end(task: Task) -> None:
    """Nothing; raises where an episode may go on for ever that has to end."""
    if task.env is not None or task.length.limit is not None:
        return
    if task.method.family == "basic":
        raise ConfigError("MC Basic follows episodes of one length: give it as `max_steps=`.")
    must_end = task.length.steps is None or task.method.family == "whole" or task.discount == 1
    if not must_end:
        return
    epsilon = task.options.get("epsilon")
    explores = task.behaviour is not None or epsilon is None or epsilon.least > 0
    state = endless_state(task.m, task.behaviour, explores=explores)
    if state is not None:
        raise ConfigError(
            f"an episode need not end: from {state_name(task.m, state)} it may go on for ever, "
            f"and discount is {task.discount:g}. Give `max_steps=`, after which it is cut."
        )
