"""The page `docs/audit.md`: every recipe against every objective, and the claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logpi.audit.calls import audit
from logpi.audit.claims import CLAIMS
from logpi.audit.models import chain, prompts, texts
from logpi.audit.objectives import BETA
from logpi.audit.report import AuditReport
from logpi.core.errors import ConfigError
from logpi.recipes import RECIPES
from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["classics", "facts", "markdown", "recipes_and_objectives", "written"]

SHORT = {
    "return": "return",
    "return − β·reverse KL": "− reverse KL",
    "return − β·reverse KL of visited states": "– of visited",
    "return − β·forward KL": "− forward KL",
    "return − β·forward KL of visited states": "– of visited",
    "likelihood of the reference": "likelihood",
    "pass@k": "pass@2",
    "log of the mean return": "log E[R]",
    "log of the success probability, to order k": "log p, order 2",
    "success in z-scored groups of k": "z-scored p",
}
"""Objective to its heading in the table of recipes."""


def written() -> FiniteMDP:
    """7 texts of one or two tokens, with graded rewards that are not negative.

    >>> float(written().reward.min())
    0.0
    """
    m = texts(2, 2, seed=3)
    return m.having(reward=np.where(m.reward != 0, m.reward - m.reward.min() + 0.1, 0.0))


def recipes_and_objectives(m: FiniteMDP, names: Sequence[str] = tuple(RECIPES)) -> str:
    """The cosine of every recipe's mean gradient with that of every objective, as Markdown.

    Bold where the mean is that gradient itself, up to rounding, italic where it has its direction;
    the last column is the noise against the nearest objective. Batches are groups, pairs or rows,
    two of them; the reference is the uniform policy.
    """
    uniform = m.allowed / np.maximum(m.allowed.sum(1, keepdims=True), 1)
    lines = [f"| recipe | {' | '.join(SHORT.values())} | noise/signal |"]
    lines += ["|---" + "|--:" * (len(SHORT) + 1) + "|"]
    for name in names:
        try:
            report = audit(name, m, group_size=2, rows=2, reference=uniform)
        except ConfigError as error:
            lines.append(f"| `{name}` | {str(error).partition('. ')[0]} |" + " |" * len(SHORT))
            continue
        lines.append(f"| `{name}` | {' | '.join(_cells(report, tuple(SHORT)))} |")
    return "\n".join(lines) + "\n"


def _cells(report: AuditReport, objectives: Sequence[str]) -> list[str]:
    found = {f.objective: f for f in report.fits}
    if "likelihood of the rows" in found:
        found["likelihood of the reference"] = found["likelihood of the rows"]
    cells: list[str] = []
    for name in objectives:
        fit = found.get(name)
        if fit is None or fit.cosine is None:
            cells.append("–")
        else:
            mark = "**" if fit.is_exact else "*" if fit.is_aligned else ""
            cells.append(f"{mark}{fit.cosine:.4f}{mark}")
    best = report.best
    noise = None if best is None else best.noise_to_signal
    return [*cells, "–" if noise is None else f"{noise:.3g}"]


def classics() -> str:
    """The classic recipes on a random chain with γ = ½: both conventions, and the variance."""
    names = ("reinforce_total", "reinforce", "reinforce_baseline", "qac", "a2c", "trpo", "ppo")
    both = ("discounted return from the start", "discounted return without γ^t")
    lines = [
        "| recipe | cosine with γ^t | without γ^t | total variance |",
        "|---|--:|--:|--:|",
    ]
    for name in names:
        report = audit(name, chain(36, discount=0.5), horizon=3)
        cells = _cells(report, both)[:2]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {report.total_variance:.4g} |")
    return "\n".join(lines) + "\n"


def facts() -> str:
    """Every claim, with the numbers that it computes, as a list."""
    return "".join(f"- {claim.text()} `{name}`\n" for name, claim in CLAIMS.items())


_PAGE = """\
# The audit of gradient estimators

A recipe's gradient is random: it depends on the batch. `logpi audit` says what it is *on average*,
and how it scatters, without sampling: it enumerates every trajectory of a small world, and every
batch that the recipe can see, each with its probability, and evaluates on each of them what
training would. The mean is held against the exact gradient of every named objective, so that an
estimator that is biased is told apart from one that ascends something else.

```python
import logpi

world = logpi.MDP("tokens/capital")  # or its name, or a FiniteMDP
report = logpi.audit("grpo", world=world, group_size=2)
print(report)
report = logpi.audit({{"name": "grpo", "beta": 0.0}}, world=world, group_size=2, steps=3, lr=1.0)
report.against("return").cosine, report.total_variance, report.decisions
logpi.audit(my_recipe, world=world, reference=uniform)  # a Recipe and policies of one's own
logpi.audit.loss(my_loss, world=world, group_size=2)  # anyone's loss
logpi.audit.worst_case("grpo")  # texts, a policy and rewards for which it is worst
logpi.audit.sampled("grpo", world=logpi.MDP("cliff"), horizon=30)  # too large to enumerate
```

    logpi audit grpo --world tokens/capital --group-size 2 --reference uniform

## How to read it

- **bias** is |E[ĝ] − ∇J|, and **relative** that over |∇J|.
- **cosine** compares directions: a recipe that only scales the gradient has cosine 1.
- **norm ratio** is |E[ĝ]| / |∇J|, and **scalar** the c of the best E[ĝ] ≈ c·∇J.
- **noise/signal** is the total variance of one batch's gradient over the squared part of its mean
  along ∇J: so many batches must be averaged before noise and signal are equal.
- A *batch* is one group for recipes that compare rows, a pair for preferences, a row and a greedy
  one for ReMax, two rows where credits are whitened, and one row for the others; `groups=` and
  `rows=` ask for more.
- Rows are drawn by the audited policy. Pairs, filtered and replayed rows are drawn by the
  reference, demonstrations by an optimal policy, or all of these by `behaviour=`; the report says
  by whom.
- Critics are exact, with the number of decisions that are left, unless `critic=` gives a table.
- `steps=2` audits the second step on the same batch, a step of plain gradient ascent away, against
  the exact gradient at the policy that each batch has moved to.
- The recipe's gradient is audited, not what an optimizer makes of it: `trpo`'s natural step and
  Adam's scaling are not in it.

The objectives are those of `logpi.mdp.exact`. Where the return has two values there is a success,
of probability p, and the objectives of p exist.

## Every recipe and every objective

The cosine of the mean gradient with each objective's exact one. **Bold**: it *is* that gradient, up
to rounding. *Italic*: it has its direction. Batches are a group of 2, a pair, or 2 rows; the
reference is the uniform policy, with the recipe's own β or {beta:g}; the likelihood is that of the
reference's rows, for `sft` that of an optimal policy's.

An easy and a hard prompt, answered right (1) or wrong (0), at once or after a thought:

{binary}
7 texts of one or two tokens, with graded rewards:

{graded}
A random chain of 3 states, 2 actions, horizon 3, γ = ½, one row, exact critics:

{classics}
## What has been shown

Each of these is a function of `logpi.audit.claims`, computed when this page is written; what is
"below 1e-12" is rounding.

{facts}"""


def markdown() -> str:
    """The whole page."""
    return _PAGE.format(
        beta=BETA,
        binary=recipes_and_objectives(prompts()),
        graded=recipes_and_objectives(written()),
        classics=classics(),
        facts=facts(),
    )
