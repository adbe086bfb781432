"""`GymPolicy`: a net and a distribution over the actions of an environment."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor, nn

from logpi.core.errors import ConfigError, NonFiniteError, ShapeError
from logpi.core.types import Part
from logpi.worlds.gym.columns import Columns, columns_of
from logpi.worlds.gym.heads import head_of
from logpi.worlds.gym.nets import CNN, MLP, net_of
from logpi.worlds.gym.normalise import Normaliser, Reading
from logpi.worlds.gym.perceptron import Perceptron, perceptron_of, with_ones
from logpi.worlds.gym.sampler import Sampler
from logpi.worlds.gym.spaces import (
    Actions,
    Observations,
    Reader,
    actions_of,
    mask_row,
    observations_of,
)
from logpi.worlds.gym.steps import Steps

__all__ = ["GymPolicy"]

_FLOATS_A_PART = 2**24  # observations of a part: more would fill the memory with images
_DTYPES = {"discrete": np.int64, "multidiscrete": np.int64, "multibinary": np.int8}


class GymPolicy(nn.Module):
    """π(a|s): a net reads the observation, and its numbers are read as a distribution.

    `observation_space` and `action_space` are Gymnasium's, or what `spaces` made of them. `net` is
    "mlp", "cnn", "auto" (a CNN for images) or a module that gives [k, policy.head.outputs] numbers
    of observations [k, *shape]. `std` is "free", a parameter, or "state", which the net gives;
    `squash` brings a Box's actions within its bounds by tanh. Raises `ConfigError` for spaces and
    options that are not supported, and `ShapeError` for a module that gives something else.

    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> policy = GymPolicy(spaces.Box(-1, 1, (4,)), spaces.Discrete(2))
    >>> policy.act(np.zeros(4)) in (0, 1)
    True
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        net: str | nn.Module = "auto",
        init: str = "orthogonal",
        std: str = "free",
        squash: bool = False,
        log_std: float = 0.0,
        normaliser: Normaliser | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        given = isinstance(observation_space, Observations)
        seen = observation_space if given else observations_of(observation_space)
        self._reader = None if seen.space is None else Reader(seen.space, 1)
        chosen = action_space if isinstance(action_space, Actions) else actions_of(action_space)
        self.shape, self.image, self.actions = seen.shape, seen.image, chosen
        self.options = {"hidden": list(hidden), "activation": activation, "std": std}
        self.options |= {"net": net if isinstance(net, str) else None, "squash": squash}
        self.reading = Reading(seen.shape, image=seen.image, normaliser=normaliser, dtype=dtype)
        self.head = head_of(chosen, std=std, squash=squash, log_std=log_std).to(dtype)
        how = {"hidden": hidden, "activation": activation, "gain": 0.01, "init": init, "seed": seed}
        made = net_of(net, seen.shape, self.head.outputs, image=seen.image, **how)
        self.net = made.to(dtype)
        self._known: Perceptron | None = None  # the net in closed form, once it was found
        self._outward: Columns | None = None  # what brings actions to the environment
        if std == "state" and chosen.kind == "box" and isinstance(made, MLP | CNN):
            _begin_at(made, log_std)

    @property
    def normaliser(self) -> Normaliser | None:
        """What normalises observations, where something does."""
        return self.reading.normaliser

    # -- what the loop asks ------------------------------------------------------------------------

    @torch.no_grad()
    def log_prob(self, inputs: Steps) -> Float[Tensor, "n t"]:
        """log π(a_t|s_t), without gradient. Where nothing was decided the number means nothing."""
        n, t = inputs.observation.shape[:2]
        closed = self.closed() if inputs.observation.is_cpu else None
        if closed is not None:  # to the last bit what an update in closed form begins at
            x = self.reading.of_array(inputs.observation.flatten(0, 1).numpy())
            out = closed.numbers(with_ones(x.reshape(n * t, math.prod(self.shape))))
            mask = inputs.action_mask
            allowed = None if mask is None else mask.flatten(0, 1).numpy()
            action = inputs.action.flatten(0, 1).numpy()
            logp = columns_of(self.head).log_prob(out, action, allowed, entropy=False)[0]
            return torch.from_numpy(logp).view(n, t)
        rows = torch.arange(n)
        live = torch.ones(n, t, dtype=torch.bool)
        pieces = [self._part(inputs, piece, live, False).logp for piece in self._pieces(rows, t)]
        return torch.cat(pieces) if pieces else live.to(self.reading.unit)

    def parts(
        self,
        inputs: Steps,
        live: Bool[Tensor, "n t"],
        *,
        unit: Int[Tensor, " n"] | None = None,
        entropy: bool = False,
    ) -> Iterator[Part]:
        """The rows that have a live decision, with gradient: all in one part where they are small.

        Entries that are not live are 0 and carry no gradient. Raises `ShapeError` where `live` has
        another shape than the decisions.
        """
        if live.shape != inputs.observation.shape[:2]:
            raise ShapeError(
                f"`live` is {list(live.shape)} but the decisions are "
                f"{list(inputs.observation.shape[:2])}: it marks decisions, one per action."
            )
        rows = _live_rows(live)
        whole = [rows] if unit is not None and len(rows) else self._pieces(rows, live.shape[1])
        for piece in whole:
            yield self._part(inputs, piece, live, entropy)

    def unroll(self, inputs: Steps, mask: Bool[Tensor, "n t"]) -> Steps:
        """Each decision of the mask as a row of its own, in order: nothing ties them together."""
        return inputs.unroll(mask)

    def split(self, inputs: Steps, order: Int[Tensor, " n"], sizes: Sequence[int]) -> list[Steps]:
        """The rows in this order, in parts of these sizes."""
        return inputs.split(order, sizes)

    def snapshot(self, inputs: Steps) -> Float[Tensor, "n t p"]:
        """Each decision's distribution as it is now, detached."""
        with torch.no_grad():
            return self.distribution(inputs)

    def kl_from(self, inputs: Steps, before: Float[Tensor, "n t p"]) -> Float[Tensor, "n t"]:
        """KL(before ‖ π) of every decision in nats, with gradient, which has one of its own."""
        return self.head.kl(before, self.distribution(inputs))

    def distribution(self, inputs: Steps) -> Float[Tensor, "n t p"]:
        """Every decision's distribution, as `head.distribution` tells it, with gradient."""
        x = self.reading(inputs.observation)
        out = self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        mask = inputs.action_mask
        return self.head.distribution(out, None if mask is None else mask.to(out.device))

    # -- what environments ask ---------------------------------------------------------------------

    def sampler(self) -> Sampler:
        """What draws actions for a vector of environments: `(observations, mask, u)` to both."""
        return Sampler(self.reading, self.net, self.head)

    def to_env(self, action: ndarray) -> ndarray:
        """Actions [n, ...] as the environment takes them: numbered, clipped or scaled, shaped."""
        if self._outward is None:
            self._outward = columns_of(self.head)
        ready = self._outward.to_env(action)
        return ready.astype(_DTYPES.get(self.actions.kind, np.float32), copy=False).reshape(
            len(action), *self.actions.shape
        )

    def act(
        self,
        observation: Any,
        *,
        action_mask: Any = None,
        greedy: bool = True,
        generator: np.random.Generator | None = None,
    ) -> Any:
        """The environment's action for one of its observations: the likeliest, or a drawn one.

        `action_mask` is what the environment's info["action_mask"] says. Raises `ConfigError` where
        it does not fit the actions, `ShapeError` where the observation is none of this environment,
        and `NonFiniteError` where it is NaN or infinite.
        """
        x = self._read(observation)[None]
        mask = None if action_mask is None else self._mask_of(action_mask)
        choose = self.sampler()
        if greedy:
            action = choose.mode(x, mask)
        else:
            rng = np.random.default_rng() if generator is None else generator
            action, _ = choose(x, mask, rng.random((1, self.actions.draws)))
        ready = self.to_env(action)[0]
        return int(ready) if self.actions.kind == "discrete" else ready

    def _read(self, observation: Any) -> ndarray:
        try:
            if self._reader is None:
                x = np.asarray(observation).reshape(self.shape)
            else:
                x = self._reader.one(observation)
            finite = np.isfinite(x).all()
        except (TypeError, ValueError, LookupError, AttributeError):
            raise ShapeError(
                f"the observation {_short(observation)} is none of this environment: the policy "
                f"reads {list(self.shape)} numbers."
            ) from None
        if not finite:
            raise NonFiniteError(
                f"the observation {_short(observation)} is NaN or infinite somewhere."
            )
        return x

    def _mask_of(self, given: Any) -> Bool[ndarray, "1 A"]:
        row = mask_row(given, self.actions)
        if isinstance(row, str):
            raise ConfigError(f"the environment {row}.")
        return row[None]

    def closed(self) -> Perceptron | None:
        """The net in closed form, where it qualifies; found once and kept."""
        self._known = perceptron_of(self.net, self._known)
        return self._known

    def copy(self) -> Self:
        """The same policy, frozen: its parameters are its own and take no gradient."""
        twin = copy.deepcopy(self)
        twin.requires_grad_(False)
        return twin.eval()

    # -- how a part is made ------------------------------------------------------------------------

    def _pieces(self, rows: Tensor, t: int) -> Sequence[Tensor]:
        if not len(rows):
            return []
        if isinstance(self.net, MLP):
            return [rows]
        return rows.split(max(1, _FLOATS_A_PART // (math.prod(self.shape) * max(t, 1))))

    def _part(self, inputs: Steps, rows: Tensor, live: Tensor, entropy: bool) -> Part:
        here = live[rows]
        x, action = inputs.observation[rows][here], inputs.action[rows][here]
        mask = None if inputs.action_mask is None else inputs.action_mask[rows][here]
        out = self.net(self.reading(x))
        device = out.device
        d = self.head.distribution(out, None if mask is None else mask.to(device))

        def spread(flat: Tensor) -> Tensor:
            wide = flat.new_zeros(here.shape)
            return wide.masked_scatter(here.to(device), flat).to(inputs.observation.device)

        logp = spread(self.head.log_prob(d, action.to(device)))
        return Part(rows, logp, spread(self.head.entropy(d)) if entropy else None)


def _begin_at(net: MLP | CNN, log_std: float) -> None:
    """Let the half of the net's numbers that are log σ begin at `log_std`, as a parameter does."""
    last = net.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias[last.out_features // 2 :] = log_std


def _live_rows(live: Bool[Tensor, "n t"]) -> Int[Tensor, " k"]:
    if not live.is_cpu:
        return live.any(1).nonzero()[:, 0]
    # NumPy finds them several times faster than torch where they are few.
    here = live.numpy()
    return torch.from_numpy(np.flatnonzero(here[:, 0] if here.shape[1] == 1 else here.any(1)))


def _short(observation: Any) -> str:
    return " ".join(repr(observation).split())[:60]
