"""`Solution`: a value with a certificate, and the policy that is greedy for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float, Int
from numpy import ndarray

__all__ = ["Iterate", "Solution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterate:
    """One iteration of a solver, kept where `history=True` was asked for.

    q is the backup of `value`. In value iteration `policy` is greedy for it; in policy iteration
    `value` is the value of `policy`.
    """

    value: Float[ndarray, " S"]
    q: Float[ndarray, "S A"] | None = None
    policy: Int[ndarray, " S"] | Float[ndarray, "S A"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What `solve` found, and how.

    `bound` is certified: |value(s) − v*(s)| ≤ bound for every state s, and likewise for q, whatever
    the solver did and in spite of rounding. `facts["policy_loss"]`, where it is there, bounds what
    the policy loses: v*(s) − v_π(s) ≤ policy_loss.

    For the average reward, `value` is the bias, `facts["gain"]` the reward a step, and `bound` the
    error of the gain.
    """

    value: Float[ndarray, " S"]  # 0 in terminal states
    q: Float[ndarray, "S A"]  # −inf where the action is not allowed
    policy: Int[ndarray, " S"] | Float[ndarray, "S A"]  # actions, −1 in terminal states; soft: π
    bound: float
    method: str  # "auto: modified policy iteration, because ..." where auto chose
    sweeps: int  # backups of the whole state space, or work equal to that; not linear solves
    seconds: float  # CPU seconds of this thread
    history: tuple[Iterate, ...] = ()
    facts: dict[str, float] = field(default_factory=dict[str, float])  # gain, span, ...

    def __repr__(self) -> str:
        """The sizes and how it was found, not the arrays."""
        return (
            f"Solution({self.method!r}, states={len(self.value)}, bound={self.bound:.2g}, "
            f"sweeps={self.sweeps}, seconds={self.seconds:.2g})"
        )
