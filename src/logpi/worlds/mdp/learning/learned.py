"""What learning leaves behind: values, a policy, and the curves, which draw themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Bool, Float, Int
from numpy import ndarray

from logpi.worlds.mdp.learning import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Learned"]

Curve = Literal["errors", "returns", "lengths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What `learn` found, over R runs of E episodes.

    `value` and `q` are estimates for `policy`, averaged over the runs: the policy that was given,
    the ε-greedy one that was followed, with its last ε, or the greedy one. A run that was counted
    in steps has as many episodes as it finished; the others' entries are NaN, or 0 for lengths.
    """

    value: Float[ndarray, " S"]  # 0 in terminal states
    q: Float[ndarray, "S A"] | None  # −inf where the action is not allowed; None where V is learned
    policy: Float[ndarray, "S A"] | Int[ndarray, " S"]  # actions of a greedy one, −1 in terminals
    weights: Float[ndarray, "..."] | None  # [d] or [A, d], where there are features
    returns: Float[ndarray, "R E"]  # of an episode: its rewards, summed without discount
    lengths: Int[ndarray, "R E"]
    truncated: Bool[ndarray, "R E"]  # cut after `max_steps`, or by the environment's time limit
    recorded: Int[ndarray, " K"]  # the episodes, or steps, at which it was looked
    values: (
        Float[ndarray, "R K S"] | None
    )  # V then; None unless `record_every` or `truth` was given
    errors: Float[ndarray, "R K"] | None  # the root mean square of V, or Q, less `truth`
    counted: Literal["episode", "step", "iteration"]  # in what `recorded` is counted
    method: str
    settings: Mapping[str, Any]
    steps: int  # taken in the environment, in all runs
    seconds: float  # CPU seconds of this thread; the first time, they include compiling

    def plot(
        self,
        where: Axes | str | Path | None = None,
        *,
        curve: Curve | None = None,
        label: str | None = None,
        smooth: int = 1,
    ) -> Axes:
        """The axes with a learning curve: its mean over the runs, one standard deviation shaded.

        `where` is axes to draw into, a file to write, or None for a new figure. `curve` is the
        error against the truth where there is one, else the return of episodes; `smooth` averages
        so many neighbours. Raises `ConfigError` for an error that was not recorded.
        """
        return plotting.plot(self, where, curve=curve, label=label, smooth=smooth)

    def __repr__(self) -> str:
        """The sizes, not the arrays."""
        runs, episodes = self.returns.shape
        return (
            f"Learned({self.method!r}, runs={runs}, episodes={episodes}, steps={self.steps}, "
            f"seconds={self.seconds:.3g})"
        )
