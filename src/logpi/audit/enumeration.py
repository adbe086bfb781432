"""The audit by enumeration: every trajectory, every batch, no sampling noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from logpi.audit.critics import Values, exact_values
from logpi.audit.moments import Moments, moments_of
from logpi.audit.objectives import Targets, moved, targets_of
from logpi.audit.problem import Problem, greedy_law, values_of
from logpi.audit.report import AuditReport, Decision, Interval, Step, fit
from logpi.audit.rows import Rows, log_probs, rows_of
from logpi.audit.setup import Setup
from logpi.core.errors import ConfigError
from logpi.worlds.mdp.exact.sums import visits
from logpi.worlds.mdp.exact.trajectories import count_trajectories, trajectories
from logpi.worlds.mdp.exact.units import Draws, every_batch
from logpi.worlds.mdp.naming import action_name, state_name

__all__ = ["enumerated", "measured", "reported", "rows_and_batches"]


def enumerated(setup: Setup) -> AuditReport:
    """The report of every batch, each weighed by its probability.

    Raises `ConfigError`, with the count, where there are too many trajectories or batches.
    """
    rows, draws = rows_and_batches(setup)
    length = rows.mask.shape[1]
    return reported(
        setup,
        measured(setup, rows, draws, length),
        length,
        targets=targets_of(setup.problem, setup.law, beta=setup.beta, k=setup.k),
        counts=(draws.count, rows.count),
    )


def measured(
    setup: Setup, rows: Rows, draws: Draws, length: int, *, keep: bool = False
) -> list[Moments]:
    """The moments of the setup's estimator over these batches, for each of its steps."""
    return moments_of(
        setup.estimator,
        rows,
        draws,
        setup.problem.policy,
        logp_old=log_probs(rows, setup.law.table) if setup.law.recorded else None,
        exact=moved(setup.problem.m, length),
        steps=setup.steps,
        lr=setup.lr,
        keep=keep,
    )


def rows_and_batches(setup: Setup) -> tuple[Rows, Draws]:
    """Every trajectory of the model, and every batch of the recipe's law.

    Raises `ConfigError`, with the count, where there are too many, or where they never end.
    """
    problem, m = setup.problem, setup.problem.m
    if not m.start[~m.terminal].any():
        raise ConfigError(f"{m.name!r} starts in terminal states alone: nobody decides anything.")
    count = count_trajectories(m, horizon=problem.horizon)
    if count > setup.limit:
        raise ConfigError(
            f"{m.name!r} has {count:,} trajectories, more than the limit of {setup.limit:,}. Lower "
            "the horizon, take a smaller model, or audit a sample: audit.sampled(recipe, "
            "world=..., batches=10_000), or --sampled 10000, gives the same figures with "
            "confidence intervals."
        )
    walks = trajectories(m, problem.policy, horizon=problem.horizon, limit=setup.limit)
    length = walks.mask.shape[1]
    rows = rows_of(
        m,
        walks,
        horizon=problem.horizon,
        values=values_of(problem, setup.critic, horizon=length),
        reference=problem.reference_table,
    )

    def law(table: Tensor) -> Tensor:
        return walks.environment * log_probs(rows, table).sum(1).exp()

    greedy = law(greedy_law(problem).table) if setup.plan.compare == "greedy" else None
    draws = every_batch(rows, law(setup.law.table), setup.plan, greedy=greedy, limit=setup.limit)
    return rows, draws


def reported(
    setup: Setup,
    moments: list[Moments],
    length: int | None,
    *,
    targets: Targets,
    counts: tuple[int, int],
    intervals: Mapping[str, Mapping[str, Interval]] | None = None,
    confidence: float | None = None,
) -> AuditReport:
    """The report of moments; `length` is the number of decisions after which all is over."""
    first, problem = moments[0], setup.problem
    exact = exact_values(problem.m, problem.probabilities, horizon=length)
    total = float(first.variance.sum())
    return AuditReport(
        recipe=setup.name,
        world=problem.m.name,
        batch=setup.plan.sentence,
        law=setup.law.name,
        critic=_critic(setup, exact) if setup.has_critic else None,
        batches=counts[0],
        trajectories=counts[1],
        sampled=confidence is not None,
        confidence=confidence,
        mean=first.mean,
        variance=first.variance,
        clipped=first.clipped,
        fits=tuple(
            fit(name, g, first.mean, total, (intervals or {}).get(name))
            for name, g in targets.gradients.items()
        ),
        skipped=targets.skipped,
        decisions=_decisions(problem, first, exact),
        steps=tuple(_later(number, x) for number, x in enumerate(moments[1:], 2)),
        settings=setup.figures | ({} if length else {"time_limit": problem.time_limit}),
    )


def _critic(setup: Setup, exact: Values) -> str:
    return exact.name if isinstance(setup.critic, str) else "a given table"


def _later(number: int, x: Moments) -> Step:
    total = float(x.variance.sum())
    fits = tuple(fit(name, g, x.mean, total) for name, g in x.exact.items())
    return Step(number=number, fits=fits, variance=total, clipped=x.clipped)


def _decisions(problem: Problem, x: Moments, exact: Values) -> tuple[Decision, ...]:
    m, sums = problem.m, {name: total.numpy() for name, total in x.decisions.items()}
    seen = np.flatnonzero(sums["visits"] > 0)
    n = sums["visits"][seen]
    mean, push = sums["coefficient"][seen] / n, sums["effective"][seen] / n
    spread = np.sqrt(np.maximum(sums["coefficient²"][seen] / n - mean**2, 0))
    worth = _true_advantage(problem, exact).ravel()[seen]
    found: list[Decision] = []
    for i, pair in enumerate(seen.tolist()):
        state, action = divmod(pair, m.actions)
        found.append(
            Decision(
                state=state,
                action=action,
                name=f"{state_name(m, state)} {action_name(m, action)}",
                visits=float(n[i]),
                advantage=float(worth[i]),
                coefficient=float(mean[i]),
                spread=float(spread[i]),
                push=float(push[i]),
            )
        )
    return tuple(found)


def _true_advantage(problem: Problem, exact: Values) -> Float[ndarray, "S A"]:
    """Q_t(s, a) − V_t(s), averaged over the times at which the policy is in s."""
    steps = len(exact.q)
    worth = (exact.q - exact.v[:steps, :, None]).numpy()
    if steps == 1:
        return worth[0]
    d = visits(problem.m, problem.probabilities, discount=1.0, horizon=steps)
    return (d[:, :, None] * worth).sum(0) / np.maximum(d.sum(0), 1e-300)[:, None]
