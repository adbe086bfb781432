"""A world of one decision: small enough that every step of the loop is worked out by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from logpi.core import Batch, Part
from logpi.core.seeds import mix


class Bandit:
    """Three arms under a softmax policy; arm k pays `rewards[k]`. World, policy, source in one."""

    critic = None

    def __init__(self, rewards=(1.0, 0.0, -1.0), *, rows: int = 6, parts: int = 2) -> None:
        self.logits = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.rewards = torch.tensor(rewards, dtype=torch.float64)
        self.rows, self.pieces, self.drawn = rows, parts, 0
        self.policy = self.source = self

    def named_parameters(self):
        return iter([("logits", self.logits)])

    def log_prob(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.logits.log_softmax(0)[inputs][:, None]

    def parts(self, inputs: Tensor, live: Tensor, *, unit=None, entropy=False):
        rows = live.any(1).nonzero()[:, 0]
        for piece in torch.tensor_split(rows, self.pieces):
            if not len(piece):
                continue
            logp = self.logits.log_softmax(0)
            spread = -(logp.exp() * logp).sum()
            yield Part(
                piece,
                torch.where(live[piece], logp[inputs[piece]][:, None], 0.0),
                spread.expand(len(piece), 1) if entropy else None,
            )

    def draw(self, policy: Any, iteration: int) -> Batch:
        self.drawn += 1
        generator = torch.Generator().manual_seed(mix(0, iteration))
        with torch.no_grad():
            chances = self.logits.softmax(0).expand(self.rows, 3)
        arms = torch.multinomial(chances, 1, generator=generator)[:, 0]
        return batch_of(self, arms)

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]

    def reference_log_prob(self, inputs: Tensor) -> Tensor:
        return torch.full((len(inputs), 1), 1 / 3, dtype=torch.float64).log()

    def describe(self, batch: Batch, row: int) -> dict[str, Any]:
        return {"prompt": "pull", "completion": str(int(batch.inputs[row])), "actions": ["arm"]}

    def evaluate(self, *, examples=None, samples=1) -> dict[str, float]:
        return {"reward": float((self.logits.softmax(0) * self.rewards).sum())}

    def export(self, folder):
        return folder

    def close(self) -> None:
        return None


def batch_of(world: Bandit, arms: Tensor) -> Batch:
    """One row for each pull; pulls 0–1, 2–3, ... are the rows of a group."""
    rows = len(arms)
    one = torch.ones(rows, 1, dtype=torch.float64)
    return Batch(
        inputs=arms,
        mask=one.bool(),
        reward=world.rewards[arms][:, None],
        discount=0 * one,
        end=one.bool(),
        weight=torch.full((rows,), 1 / max(rows, 1), dtype=torch.float64),
        logp_old=world.log_prob(arms),
        group=torch.arange(rows) // 2,
    )
