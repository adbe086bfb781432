"""Critics of this world: V of observations, and Q of discrete actions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack

import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, nn

from logpi.core.errors import ConfigError
from logpi.core.near import within_reach
from logpi.worlds.gym.nets import net_of
from logpi.worlds.gym.normalise import Normaliser, Reading
from logpi.worlds.gym.perceptron import Perceptron, perceptron_of, squared_error, with_ones
from logpi.worlds.gym.spaces import Actions
from logpi.worlds.gym.steps import Steps

__all__ = ["QNet", "ValueNet"]

_FLOATS_A_PIECE = 2**24  # observations of a piece: more would fill the memory with images


class _HasDistribution(Protocol):
    actions: Actions

    def distribution(self, inputs: Steps) -> Tensor:
        """log π of every decision's actions."""
        ...


class _Options(TypedDict, total=False):
    """What every critic with a net of its own is told; as `GymPolicy` is."""

    image: bool
    hidden: Sequence[int]
    activation: str
    net: str | nn.Module
    init: str
    normaliser: Normaliser | None
    seed: int
    dtype: torch.dtype


class _NetCritic(nn.Module):
    """A net of its own that is fitted to targets by squared error."""

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        image: bool = False,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        net: str | nn.Module = "auto",
        init: str = "orthogonal",
        normaliser: Normaliser | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.reading = Reading(shape, image=image, normaliser=normaliser, dtype=dtype)
        how = {"hidden": hidden, "activation": activation, "init": init, "seed": seed}
        self.net = net_of(net, shape, outputs, image=image, **how).to(dtype)
        self._known: Perceptron | None = None  # the net in closed form, once it was found

    def loss(
        self, inputs: Steps, target: Float[Tensor, "n t"], weight: Float[Tensor, "n t"]
    ) -> Float[Tensor, ""]:
        """Σ weight (value − target)², its gradient added to the net's."""
        return _loss(self, _wanted(inputs, target, weight, output=self._output(inputs)))

    def loss_near(
        self,
        inputs: Steps,
        target: Float[Tensor, "n t"],
        weight: Float[Tensor, "n t"],
        *,
        before: Float[Tensor, "n t"],
        reach: float,
    ) -> Float[Tensor, ""]:
        """The same of the decisions whose value is within reach of `before`: value clipping."""
        wanted = _wanted(inputs, target, weight, output=self._output(inputs), before=before)
        return _loss(self, wanted, reach=reach)

    def closed(self) -> Perceptron | None:
        """The net in closed form, where it qualifies; found once and kept."""
        self._known = perceptron_of(self.net, self._known)
        return self._known

    def _output(self, inputs: Steps) -> Tensor | None:
        """Which of the net's numbers a decision's value is; None where it has but one."""
        del inputs
        return None


class ValueNet(_NetCritic):
    """V(s): one number of an observation. Options are those of `GymPolicy`.

    Give it the policy's normaliser: what is normalised is then the same, and the statistics are
    kept once.
    """

    def __init__(self, shape: tuple[int, ...], **options: Unpack[_Options]) -> None:
        super().__init__(shape, 1, **options)

    @torch.no_grad()
    def values(self, inputs: Steps) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
        """V(s_t) and V(s_{t+1}), without gradient; the second of what truly followed."""
        new = _not_shown_next(inputs)
        shown, final = inputs.observation.flatten(0, 1), inputs.final[new]
        found = _numbers(self, torch.cat((shown, final))[:, None])[:, 0, 0]
        here = found[: len(shown)].unflatten(0, new.shape)
        after = torch.empty_like(here)
        after[:, :-1] = here[:, 1:]
        after[new] = found[len(shown) :]
        return here, after


class QNet(_NetCritic):
    """Q(s, a) of every action of a Discrete space; V(s) is its mean under the policy as it is.

    Raises `ConfigError` for a policy of other actions.
    """

    def __init__(
        self, shape: tuple[int, ...], policy: _HasDistribution, **options: Unpack[_Options]
    ) -> None:
        if policy.actions.kind != "discrete":
            raise ConfigError(
                "a critic of actions gives one number an action of a Discrete space, but these are "
                f"{policy.actions.kind}. Take a recipe with a critic of states, such as a2c."
            )
        super().__init__(shape, policy.actions.sizes[0], **options)
        self._policy = (policy,)  # in a tuple, it is no part of this module

    @torch.no_grad()
    def values(self, inputs: Steps) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
        """Q(s_t, a_t), and V(s_{t+1}) = Σ_a π(a|s_{t+1}) Q(s_{t+1}, a), without gradient.

        Where no decision follows in the row, nobody says which actions its last observation would
        have allowed: there all count.
        """
        here = _numbers(self, inputs.observation)
        value = (self._probabilities(inputs) * here).sum(-1)
        after = torch.empty_like(value)
        after[:, :-1] = value[:, 1:]
        new = _not_shown_next(inputs)
        if new.any():
            last = inputs.final[new][:, None]
            shown = Steps(last, inputs.action[new][:, None], None, last)
            after[new] = (self._probabilities(shown) * _numbers(self, last)).sum(-1)[:, 0]
        return here.gather(-1, inputs.action.unsqueeze(-1)).squeeze(-1), after

    def named_parameters(
        self, *args: object, **kwargs: object
    ) -> Iterator[tuple[str, nn.Parameter]]:  # type: ignore[override] # its options are not asked for
        """The net's alone."""
        return ((f"net.{name}", p) for name, p in self.net.named_parameters())

    def _output(self, inputs: Steps) -> Tensor | None:
        return inputs.action

    def _probabilities(self, inputs: Steps) -> Tensor:
        return self._policy[0].distribution(inputs).exp().to(inputs.observation.device)


def _not_shown_next(inputs: Steps) -> Bool[Tensor, "n t"]:
    """Where what followed is not the row's next observation: at its end, and where one was reset.

    Elsewhere the value of what followed is known already, which halves the work.
    """
    observation, final = inputs.observation, inputs.final
    new = torch.ones(observation.shape[:2], dtype=torch.bool, device=observation.device)
    new[:, :-1] = (observation[:, 1:] != final[:, :-1]).flatten(2).any(2)
    return new


def _numbers(critic: _NetCritic, observation: Tensor) -> Float[Tensor, "n t o"]:
    """What the net gives of observations [n, t, *shape]."""
    flat = observation.flatten(0, 1)
    known = critic.closed() if observation.is_cpu else None
    if known is not None:
        out = torch.from_numpy(known.numbers(with_ones(_rows(critic, flat))).T)
    else:
        out = torch.cat([critic.net(critic.reading(piece)) for piece in flat.split(_piece(flat))])
    return out.to(observation.device).unflatten(0, observation.shape[:2])


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the values of k decisions are to be: those with a weight, each a row."""

    x: Tensor  # [k, *shape]
    target: Tensor  # [k]
    weight: Tensor
    output: Tensor | None  # which of the net's numbers, if it has several
    before: Tensor | None  # what the value was when the batch was drawn

    def pieces(self, size: int) -> Iterator[_Wanted]:
        for i in range(0, len(self.x), size):
            given = (self.x, self.target, self.weight, self.output, self.before)
            yield _Wanted(*(None if g is None else g[i : i + size] for g in given))  # type: ignore[arg-type] # only `before` may be None


def _wanted(
    inputs: Steps,
    target: Tensor,
    weight: Tensor,
    *,
    output: Tensor | None = None,
    before: Tensor | None = None,
) -> _Wanted:
    # A mini-batch of the loop is a weight of 0 elsewhere: nothing is computed there.
    n, t = weight.shape
    x = inputs.observation.reshape(n * t, *inputs.observation.shape[2:])
    everywhere, at = weight.is_cpu and bool(weight.numpy().all()), torch.empty(0)
    if not everywhere:
        at = weight.reshape(-1).nonzero()[:, 0]
        x = x[at]

    def taken(y: Tensor) -> Tensor:
        return y.reshape(-1) if everywhere else y.reshape(-1)[at]

    place, was = (None if y is None else taken(y) for y in (output, before))
    return _Wanted(x, taken(target), taken(weight), place, was)


def _loss(critic: _NetCritic, wanted: _Wanted, *, reach: float = math.inf) -> Tensor:
    if not len(wanted.x):
        return wanted.weight.new_zeros(())
    known = critic.closed() if wanted.x.is_cpu else None
    if known is None:
        return _autograd_loss(critic, wanted, reach)
    read = _rows(critic, wanted.x)
    given = (g.numpy().astype(read.dtype, copy=False) for g in (wanted.target, wanted.weight))

    def counts(v: ndarray) -> ndarray:
        return _counts(torch.from_numpy(v), wanted, reach).numpy()

    value = squared_error(
        known,
        read,
        *given,
        output=None if wanted.output is None else wanted.output.numpy(),
        counts=None if wanted.before is None else counts,
    )
    return torch.tensor(value, dtype=wanted.target.dtype)


def _autograd_loss(critic: _NetCritic, wanted: _Wanted, reach: float) -> Tensor:
    total = wanted.weight.new_zeros(())
    for w in wanted.pieces(_piece(wanted.x)):
        out = critic.net(critic.reading(w.x))
        target, weight = (g.to(out.device) for g in (w.target.to(out.dtype), w.weight))
        v = out[:, 0]
        if w.output is not None:
            v = out.gather(1, w.output.to(out.device)[:, None])[:, 0]
        if w.before is not None:
            weight = weight * _counts(v.detach().cpu(), w, reach).to(out.device)
        part = (weight * (v - target).square()).sum()
        part.backward()
        total = total + part.detach().to(total)
    return total


def _counts(v: Tensor, wanted: _Wanted, reach: float) -> Bool[Tensor, " k"]:
    assert wanted.before is not None
    before, target = wanted.before.to(v), wanted.target.to(v)
    return within_reach(v, before, target, reach=reach)


def _rows(critic: _NetCritic, x: Tensor) -> Float[ndarray, "k i"]:
    read = critic.reading.of_array(x.numpy())
    return read.reshape(len(x), math.prod(x.shape[1:]))


def _piece(x: Tensor) -> int:
    return max(1, _FLOATS_A_PIECE // max(1, math.prod(x.shape[1:])))
