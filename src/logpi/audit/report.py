"""`AuditReport`: an estimator's mean against each named objective, and how it scatters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from rich.table import Table
from torch import Tensor

from logpi.audit import drawing
from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean

__all__ = ["AuditReport", "Decision", "Fit", "Step", "fit"]

Interval = tuple[float, float]

_EXACT = 1e-9  # a relative bias below this is rounding
_SAME = 1e-12  # so is what a cosine lacks of 1, below this


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """An estimator against one objective; what has no meaning (a gradient of 0) is None."""

    objective: str
    gradient: Float[Tensor, " p"] = field(repr=False)  # ∇J, exact
    bias: Float[Tensor, " p"] = field(repr=False)  # E[ĝ] − ∇J
    bias_norm: float
    relative_bias: float | None  # |bias| / |∇J|
    cosine: float | None  # between E[ĝ] and ∇J
    norm_ratio: float | None  # |E[ĝ]| / |∇J|
    scalar: float | None  # c of the best E[ĝ] ≈ c ∇J
    # variance over the squared component of E[ĝ] along ∇J: batches until noise and signal are equal
    noise_to_signal: float | None
    intervals: Mapping[str, Interval] = field(default_factory=dict[str, Interval])

    @property
    def is_exact(self) -> bool:
        """Whether E[ĝ] is ∇J, up to rounding."""
        return self.relative_bias is not None and self.relative_bias <= _EXACT

    @property
    def is_aligned(self) -> bool:
        """Whether E[ĝ] points where ∇J does, up to rounding."""
        return self.cosine is not None and self.cosine >= 1 - _SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One action in one state: what it is worth, and what the estimator gives it."""

    state: int
    action: int
    name: str
    visits: float  # how often a row decides so
    advantage: float  # the true one, over the times at which the policy is there
    coefficient: float  # its mean
    spread: float  # its standard deviation
    push: float  # the mean of coefficient · weight, in units of a row's sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A later step on the same batch, against the exact gradient where each batch has moved to."""

    number: int
    fits: tuple[Fit, ...]
    variance: float
    clipped: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class AuditReport:
    """An estimator's mean, bias and noise: enumerated, without sampling noise, unless `sampled`.

    Print it, or `table()` and `decisions_table()`, or read the fields: `against("return").cosine`,
    `best`, `verdict`, `decisions`, `steps`.
    """

    recipe: str
    world: str
    batch: str  # how a batch is drawn, in words
    law: str  # who draws its rows
    critic: str | None
    batches: int  # enumerated, or drawn
    trajectories: int
    sampled: bool
    confidence: float | None
    mean: Float[Tensor, " p"]  # E[ĝ]
    variance: Float[Tensor, " p"]  # of each parameter of ĝ, for one batch
    clipped: float  # the share of decisions that earned something and were not pushed
    fits: tuple[Fit, ...]
    skipped: Mapping[str, str]  # objectives that do not exist here, and why
    decisions: tuple[Decision, ...]
    steps: tuple[Step, ...]
    settings: Mapping[str, float | int | None]

    def __repr__(self) -> str:
        """Recipe, world and verdict."""
        return f"<audit of {self.recipe} in {self.world}: {self.verdict}>"

    def __str__(self) -> str:
        """The table of objectives as plain text."""
        return drawing.text(self.table())

    def __rich__(self) -> Table:
        """The table of objectives, where rich prints."""
        return self.table()

    @property
    def total_variance(self) -> float:
        """E|ĝ − E[ĝ]|² of one batch."""
        return float(self.variance.sum())

    @property
    def best(self) -> Fit | None:
        """The objective that E[ĝ] is nearest to: its own gradient, or the largest cosine.

        Of a sample, the first objective that its intervals do not rule out.
        """
        exact = [f for f in self.fits if f.is_exact]
        if exact and not self.sampled:
            return exact[0]
        ranges = {
            f.objective: f.intervals.get("cosine", (f.cosine - _EXACT, f.cosine + _EXACT))
            for f in self.fits
            if f.cosine is not None
        }
        most = max((low for low, _ in ranges.values()), default=0.0)
        return next((f for f in self.fits if ranges.get(f.objective, (0, -2))[1] >= most), None)

    @property
    def verdict(self) -> str:
        """What the estimator ascends, in a sentence."""
        best = self.best
        if best is None or best.cosine is None:
            return "Its mean is 0: it ascends nothing here."
        if self.sampled:
            low, high = best.intervals.get("cosine", (best.cosine, best.cosine))
            return f"Nearest is the {best.objective}: cosine between {low:.4f} and {high:.4f}."
        if best.is_exact:
            return f"Unbiased: its mean is the gradient of the {best.objective}."
        if best.is_aligned:
            return (
                f"The right direction for the {best.objective}: its mean is {best.scalar:.4g} "
                "times that gradient."
            )
        if best.cosine <= 0:
            return (
                f"Biased: its mean points away from every objective here. Nearest is the "
                f"{best.objective}, cosine {best.cosine:.4f}."
            )
        return (
            f"Biased: no objective here has its mean as a gradient. Nearest is the "
            f"{best.objective}, cosine {best.cosine:.4f}."
        )

    def against(self, objective: str) -> Fit:
        """The figures against one objective.

        Raises `ConfigError` where there is none of that name, or it does not exist here.
        """
        for found in self.fits:
            if found.objective == objective:
                return found
        if objective in self.skipped:
            raise ConfigError(f"no {objective!r} here: {self.skipped[objective]}")
        names = [f.objective for f in self.fits]
        raise ConfigError(
            f"no objective {objective!r}.{did_you_mean(objective, names)} "
            f"There are: {', '.join(names)}."
        )

    def table(self) -> Table:
        """The figures against every objective, for `rich.print`."""
        return drawing.table(self)

    def decisions_table(self) -> Table:
        """What every decision is worth, and what the estimator gives it, for `rich.print`."""
        return drawing.decisions(self)

    def markdown(self) -> str:
        """Both tables as Markdown."""
        return drawing.markdown(self)

    def plot(self, path: str | Path) -> Path:
        """The path of a picture: what each decision is worth, against what it is given."""
        return drawing.plot(self, path)

    def to_json(self) -> str:
        """Everything as JSON; what has no meaning is null."""
        return json.dumps(as_data(self), ensure_ascii=False, allow_nan=False, indent=1)


def as_data(value: object) -> Any:
    """A report, or a part of it, as plain data."""
    if isinstance(value, Tensor):
        return as_data(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): as_data(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [as_data(v) for v in value]
    if hasattr(value, "__dataclass_fields__"):
        names = list(value.__dataclass_fields__)  # pyright: ignore # just looked
        data = {name: as_data(getattr(value, name)) for name in names}
        if isinstance(value, AuditReport):
            data |= {"total_variance": as_data(value.total_variance), "verdict": value.verdict}
        return data
    return value


def fit(
    objective: str,
    gradient: Float[Tensor, " p"],
    mean: Float[Tensor, " p"],
    variance: float,
    intervals: Mapping[str, Interval] | None = None,
) -> Fit:
    """The figures of a mean gradient against the exact gradient of one objective.

    >>> import torch
    >>> f = fit("return", torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]), 3.0)
    >>> f.cosine, f.scalar, f.noise_to_signal
    (1.0, 0.5, 3.0)
    """
    bias = mean - gradient
    size, length = float(gradient.norm()), float(mean.norm())
    # A mean of 1e-17 has a direction, but it is rounding's.
    zero = 1e-13 * max(size, length, math.sqrt(variance))
    cosine = scalar = noise = None
    if size > zero and length > zero:
        along = float(mean @ gradient) / size
        cosine, scalar = max(-1.0, min(1.0, along / length)), along / size
        noise = variance / along**2 if abs(along) > zero else None
    return Fit(
        objective=objective,
        gradient=gradient,
        bias=bias,
        bias_norm=float(bias.norm()),
        relative_bias=float(bias.norm()) / size if size > zero else None,
        cosine=cosine,
        norm_ratio=length / size if size > zero else None,
        scalar=scalar,
        noise_to_signal=noise,
        intervals=intervals or {},
    )
