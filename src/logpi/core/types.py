"""The types that every world, recipe and view shares: `Batch`, `Signals` and the protocols.

Every world yields N rows of T decisions. Shapes are named once, here:

    n   rows: one environment's stream, or one completion
    t   decisions of a row, padded on the right; `mask` says which were taken by the policy
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from logpi.core.errors import ConfigError, ShapeError, TrajectoryError

__all__ = [
    "Aggregate",
    "Batch",
    "Coefficient",
    "Credit",
    "Critic",
    "Data",
    "KeepingSource",
    "Part",
    "Policy",
    "Regulariser",
    "Signals",
    "Source",
    "StepwisePolicy",
    "TrustPolicy",
]

Data = Literal[
    "demonstrations",
    "filtered",
    "pairs",
    "on-policy",
    "on-policy+greedy",
    "groups",
    "mixed-groups",
    "replay",
]
"""Where the rows of a batch come from.

Given text (demonstrations, pairs), the initial policy (filtered), the current one (on-policy;
groups of rows that share a start; mixed-groups: only groups whose rows differ in reward; +greedy:
with one greedy rollout to compare against), or stored behaviour (replay).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """N rows of T decisions, as a `Source` draws them.

    Raises `ShapeError` where a tensor has another shape than `mask`, or another kind of dtype than
    its name promises, and `TrajectoryError` where a row's last decision is not marked as an `end`.
    """

    inputs: Any  # whatever this world's Policy.log_prob reads
    mask: Bool[Tensor, "n t"]  # True where the policy decided: only there may a coefficient land
    reward: Float[Tensor, "n t"]
    # gamma; 0 where the episode TERMINATED after this decision; truncation keeps gamma
    discount: Float[Tensor, "n t"]
    # True where a trajectory stops after this decision: terminated, truncated, or row end
    end: Bool[Tensor, "n t"]
    weight: Float[Tensor, " n"]  # sums to 1: 1/n when sampled, p(trajectory) when enumerated
    # behaviour policy, recorded when sampling (never recomputed)
    logp_old: Float[Tensor, "n t"] | None = None
    # the distribution drawn from, where top-k, top-p or min-p cut it
    logp_sampler: Float[Tensor, "n t"] | None = None
    # rows that share a prompt or start state; the two rows of a pair
    group: Int[Tensor, " n"] | None = None
    # where a process reward was given: a reward of 0 is not "no reward"
    scored: Bool[Tensor, "n t"] | None = None
    # the return of a greedy rollout from the same start
    baseline: Float[Tensor, " n"] | None = None
    # what the source counted: missing rewards, lengths, ...
    facts: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check shapes and dtypes; name the first that is wrong."""
        if self.mask.dim() != 2:
            raise ShapeError(f"`mask` is {list(self.mask.shape)} but a batch is [rows, decisions].")
        for name in ("mask", "reward", "discount", "end", "logp_old", "logp_sampler", "scored"):
            _check(name, getattr(self, name), self.mask.shape)
        for name in ("weight", "group", "baseline"):
            _check(name, getattr(self, name), self.mask.shape[:1])
        _check_ends(self.mask, self.end)

    @property
    def rows(self) -> int:
        """The number of rows, n."""
        return self.mask.shape[0]


_BOOLEAN = {"mask", "end", "scored"}
_INTEGER = {"group"}


def _check(name: str, tensor: Tensor | None, shape: torch.Size) -> None:
    if tensor is None:
        return
    if tensor.shape != shape:
        raise ShapeError(
            f"`{name}` is {list(tensor.shape)} but `mask` asks for {list(shape)}. "
            "Every per-decision tensor is [rows, decisions] and every per-row tensor [rows]."
        )
    kind = "boolean" if name in _BOOLEAN else "integer" if name in _INTEGER else "floating point"
    fits = {
        "boolean": tensor.dtype == torch.bool,
        "integer": not tensor.is_floating_point() and tensor.dtype != torch.bool,
        "floating point": tensor.is_floating_point(),
    }[kind]
    if not fits:
        raise ShapeError(f"`{name}` is {tensor.dtype} but must be {kind}.")


def _check_ends(mask: Tensor, end: Tensor) -> None:
    if mask.shape[1] and bool(end[:, -1].all()):  # nothing comes after that
        return
    place = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last_decision = (
        (mask * place).amax(1) if mask.shape[1] else mask.new_zeros(mask.shape[0], dtype=torch.long)
    )
    last_end = (end * place).amax(1) if mask.shape[1] else last_decision
    wrong = (last_end < last_decision).nonzero()
    if len(wrong):
        raise TrajectoryError(
            f"row {int(wrong[0])} has decisions after its last `end`. Mark the last decision of "
            "every row as an end: its `discount` says whether the episode terminated there (0) or "
            "was only cut (gamma)."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The detached facts that credits and coefficients may read, row for row of the batch."""

    mask: Bool[Tensor, "n t"]
    reward: Float[Tensor, "n t"]
    discount: Float[Tensor, "n t"]
    end: Bool[Tensor, "n t"]
    weight: Float[Tensor, " n"]
    logp: Float[Tensor, "n t"] | None = None  # under the policy as it is now
    logp_old: Float[Tensor, "n t"] | None = None
    logp_sampler: Float[Tensor, "n t"] | None = None
    logp_ref: Float[Tensor, "n t"] | None = None  # under the frozen reference policy
    value: Float[Tensor, "n t"] | None = None  # V(s_t)
    next_value: Float[Tensor, "n t"] | None = None  # V(s_{t+1}), also where the row was cut
    q: Float[Tensor, "n t"] | None = None  # Q(s_t, a_t)
    credit: Float[Tensor, "n t"] | None = None
    group: Int[Tensor, " n"] | None = None
    scored: Bool[Tensor, "n t"] | None = None
    baseline: Float[Tensor, " n"] | None = None

    @classmethod
    def of(cls, batch: Batch, **known: Tensor | None) -> Signals:
        """The facts of a batch, with what else is `known` about it (logp, logp_ref, value, ...)."""
        facts: dict[str, Any] = {name: getattr(batch, name) for name in _SHARED}
        facts.update(known)
        return cls(**facts)

    def having(self, **known: Tensor | None) -> Signals:
        """The same facts with some added or replaced."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        facts.update(known)
        return Signals(**facts)

    def known(self) -> dict[str, Tensor]:
        """The facts that somebody supplied, by name."""
        facts = {name: getattr(self, name) for name in _NAMES}
        return {name: x for name, x in facts.items() if x is not None}

    def take(self, rows: Int[Tensor, " k"]) -> Signals:
        """The facts of these rows, in this order."""
        facts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: x[rows] for k, x in facts.items() if x is not None})

    def split(self, order: Int[Tensor, " n"], sizes: Sequence[int]) -> list[Signals]:
        """The facts of the rows in this order, in parts of these sizes."""
        facts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        known = {k: x[order].split(sizes) for k, x in facts.items() if x is not None}
        parts = zip(*known.values(), strict=True)
        return [Signals(**dict(zip(known, part, strict=True))) for part in parts]

    def unrolled(self) -> Signals:
        """The facts of each decision as a row of its own: k rows of one decision, in order."""
        facts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        (n, t), whole = self.mask.shape, bool(self.mask.all())

        def decisions(x: Tensor) -> Tensor:
            wide = x if x.dim() == 2 else x[:, None].expand(n, t)
            flat = wide.reshape(-1) if whole else wide[self.mask]
            return flat[:, None] if x.dim() == 2 else flat

        return replace(self, **{k: decisions(x) for k, x in facts.items() if x is not None})

    def need(self, name: str) -> Tensor:
        """The signal called `name`; raises `ConfigError` if nobody supplied it."""
        value = getattr(self, name)
        if value is None:
            raise ConfigError(
                f"this recipe reads `{name}`, which nobody supplied. "
                f"{_SUPPLIERS.get(name, '')}".rstrip()
            )
        return value


_NAMES = tuple(f.name for f in fields(Signals))
_SHARED = {f.name for f in fields(Batch)} & {f.name for f in fields(Signals)}
_SUPPLIERS = {
    "logp_old": "The source records it when it samples; stored demonstrations do not have it.",
    "logp_sampler": "The source records it when top-k, top-p or min-p cut the distribution.",
    "logp_ref": "Give the world a reference policy.",
    "value": "Set the recipe's critic to 'v'.",
    "next_value": "Set the recipe's critic to 'v'.",
    "q": "Set the recipe's critic to 'q'.",
    "group": "Draw several rows per start: group_size of at least 2.",
    "scored": "Give a reward function that returns one number per step.",
    "baseline": "Use a source that adds a greedy rollout (data='on-policy+greedy').",
    "credit": "Compute the recipe's credit first.",
}


@runtime_checkable
class Credit(Protocol):
    """What each decision earned: read once per batch, on the whole batch."""

    def __call__(self, s: Signals, /) -> Float[Tensor, "n t"]:
        """One number per decision."""
        ...


@runtime_checkable
class Coefficient(Protocol):
    """How strongly each log-probability is pushed now.

    Read at every gradient step, and local to a row or a pair.
    """

    def __call__(self, s: Signals, /) -> Float[Tensor, "n t"]:
        """One number per decision."""
        ...


@runtime_checkable
class Aggregate(Protocol):
    """The constant weight of each decision, from mask and row weights of the whole batch."""

    def __call__(
        self, mask: Bool[Tensor, "n t"], weight: Float[Tensor, " n"], /
    ) -> Float[Tensor, "n t"]:
        """One number per decision."""
        ...


@runtime_checkable
class Regulariser(Protocol):
    """A term to ascend, of the full entropy; its gradient flows, so it is no coefficient."""

    def __call__(self, entropy: Float[Tensor, "n t"], /) -> Float[Tensor, "n t"]:
        """One number per decision, with gradient."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a batch on their way through the policy.

    `logp` and `entropy` are live: call backward before asking for the next part.
    """

    rows: Int[Tensor, " k"]
    logp: Float[Tensor, "k t"]
    entropy: Float[Tensor, "k t"] | None = None


@runtime_checkable
class Policy(Protocol):
    """Where the log-probabilities come from."""

    def log_prob(self, inputs: Any) -> Float[Tensor, "n t"]:
        """Log-probabilities of every decision, without gradient; 0 where nothing was decided."""
        ...

    def parts(
        self,
        inputs: Any,
        live: Bool[Tensor, "n t"],
        *,
        unit: Int[Tensor, " n"] | None,
        entropy: bool,
    ) -> Iterator[Part]:
        """The rows that have a live decision, part by part, with gradient.

        Rows with the same `unit` come in the same part. Exhaust the iterator: some gradients arrive
        only at its end. Entries of `logp` where `live` is False are 0 and carry no gradient.
        """
        ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """What the optimizer moves."""
        ...


@runtime_checkable
class StepwisePolicy(Policy, Protocol):
    """A policy whose decisions do not depend on their row: mini-batches may split rows."""

    def unroll(self, inputs: Any, mask: Bool[Tensor, "n t"]) -> Any:
        """Each decision of the mask as a row of its own, in order: k rows of one decision."""
        ...

    def split(self, inputs: Any, order: Int[Tensor, " n"], sizes: Sequence[int]) -> Sequence[Any]:
        """The rows in this order, in parts of these sizes."""
        ...


@runtime_checkable
class TrustPolicy(Policy, Protocol):
    """A policy whose whole distribution is at hand, for a step that is bounded in KL."""

    def snapshot(self, inputs: Any) -> Any:
        """Each decision's distribution as it is now, detached."""
        ...

    def kl_from(self, inputs: Any, before: Any) -> Float[Tensor, "n t"]:
        """KL(before ‖ now) of each decision's distribution, with gradient."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where batches come from.

    All randomness is a function of (seed, iteration), so that resuming is exact.
    """

    def draw(self, policy: Any, iteration: int) -> Batch:
        """The batch of this iteration."""
        ...

    def state(self) -> dict[str, Any]:
        """What must be stored to go on from here: plain JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""
        ...


@runtime_checkable
class KeepingSource(Source, Protocol):
    """A source that keeps rows to give them again: they are part of a checkpoint."""

    def tensors(self) -> dict[str, Tensor]:
        """What is kept, by name."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Keep this instead."""
        ...


@runtime_checkable
class Critic(Protocol):
    """A learned value of each state (or state and action)."""

    def values(self, inputs: Any) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
        """V(s_t) and V(s_{t+1}) of every decision, without gradient.

        A critic of actions gives Q(s_t, a_t), and V(s_{t+1}) = Σ_a π(a|s_{t+1}) Q(s_{t+1}, a).
        """
        ...

    def loss(
        self, inputs: Any, target: Float[Tensor, "n t"], weight: Float[Tensor, "n t"]
    ) -> Float[Tensor, ""]:
        """The weighted squared error; its gradients are added to the critic's parameters."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """What the critic's optimizer moves."""
        ...
