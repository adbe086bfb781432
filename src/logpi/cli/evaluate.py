"""`logpi evaluate RUN`."""

from __future__ import annotations

import json
from argparse import Namespace

from rich.table import Table
from rich.text import Text

from logpi.cli.rewards import python_function
from logpi.core.errors import DataError
from logpi.named import world_of
from logpi.run import Run
from logpi.train.rundir import read_config
from logpi.views.reading import find
from logpi.views.show import console
from logpi.views.text import number

__all__ = ["run"]


def run(given: Namespace) -> int:
    """Exit code 0, after printing the held-out figures."""
    directory = find(given.run)
    world, config = None, read_config(directory)
    if given.reward:
        world = world_of(config, reward=python_function(given.reward))
    figures = Run(directory, world=world, best=given.best).evaluate(
        examples=given.examples, samples=given.sample, episodes=given.episodes, seed=given.seed
    )
    if not figures:
        raise DataError(
            f"the held-out data of {directory} has no examples: "
            "see world.eval_data in its config.yaml."
        )
    if given.json:
        print(json.dumps({"run": str(directory), "samples": given.sample, **figures}))
        return 0
    how = "held-out, greedy" if given.sample == 1 else f"held-out, {given.sample} samples each"
    how = "held-out" if "nll" in figures else how  # nothing was decoded
    how = {"mdp": "exact", "gym": "episodes, greedy"}.get(config.world["kind"], how)
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for name, value in figures.items():
        table.add_row(Text(_LABELS.get(name, name)), Text(number(value, 4)))
    to = console()
    to.print(Text.assemble((str(directory), "bold"), f"  {how}"))
    to.print(table)
    return 0


_LABELS = {
    "reward": "mean reward",
    "correct": "share correct",
    "missing": "rewards missing",
    "preferred": "share of pairs preferred",
    "margin": "margin of the chosen (nats)",
    "nll": "negative log-likelihood (nats a token)",
    "completion_tokens": "tokens a completion",
    "return": "mean return",
    "return_std": "standard deviation of the return",
    "return_least": "least return",
    "return_most": "largest return",
    "episode_length": "decisions an episode",
    "regret": "what the best policy has more",
    "kl": "KL from the reference policy (nats a trajectory)",
    "shortfall": "what the best return − β·KL has more",
}
