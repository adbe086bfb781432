"""Where rewards land: at a completion's last token, or at the last token of each of its steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from logpi.core.errors import RewardError
from logpi.worlds.lm.cutting import step_texts
from logpi.worlds.lm.data import Example
from logpi.worlds.lm.decoding import Rollout
from logpi.worlds.lm.rewards import Rewards, Scores

__all__ = ["judge", "place_rewards", "step_ends"]


def judge(rewards: Rewards, examples: Sequence[Example], rollout: Rollout) -> Scores:
    """What the reward says of each completion; `examples` has the one that each row answers.

    The reward may ask for an example's columns, and for `completion_tokens`.
    """
    lengths = rollout.inputs.length.tolist()
    columns = [
        {**e.columns, "completion_tokens": n} for e, n in zip(examples, lengths, strict=True)
    ]
    return rewards([e.prompt for e in examples], list(rollout.text), columns)


def step_ends(
    tokens: list[int], steps: Sequence[str], decode: PreTrainedTokenizerBase
) -> list[int]:
    """The position of the last token of each step; the last step ends with the completion."""
    wanted = [len("".join(steps[: k + 1])) for k in range(len(steps))]
    ends: list[int] = []
    for place in range(len(tokens)):
        written = len(decode.decode(tokens[: place + 1], skip_special_tokens=True))
        while len(ends) < len(wanted) - 1 and written >= wanted[len(ends)]:
            ends.append(place)
    return [*ends, len(tokens) - 1]


def place_rewards(
    rewards: Sequence[float | list[float] | None],
    rollout: Rollout,
    tokenizer: PreTrainedTokenizerBase,
    *,
    separator: str | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rewards [n, t], where a step was scored [n, t] or None, and which rows are missing [n].

    Raises `RewardError` where a list was returned for completions without steps, or a list of
    another length than the completion has steps.
    """
    # In double precision, as rewards come: one too large for the model's is infinite, and seen.
    reward = torch.zeros(rollout.inputs.tokens.shape, dtype=torch.float64)
    scored = torch.zeros(reward.shape, dtype=torch.bool)
    missing = torch.tensor([r is None for r in rewards], dtype=torch.bool)
    lengths = rollout.inputs.length.tolist()
    for row, given in enumerate(rewards):
        if isinstance(given, list):
            ends = _ends_of(row, given, rollout, tokenizer, separator=separator)
            # Two steps may end in one token; then it is given both rewards.
            for place, part in zip(ends, given, strict=True):
                reward[row, place] += part
                scored[row, place] = True
        elif given is not None:
            reward[row, lengths[row] - 1] = given
            scored[row, lengths[row] - 1] = True
    device = rollout.inputs.tokens.device
    steps = scored.to(device) if separator is not None else None
    return reward.to(device, rollout.logp.dtype), steps, missing.to(device)


def _ends_of(
    row: int,
    given: list[float],
    rollout: Rollout,
    tokenizer: PreTrainedTokenizerBase,
    *,
    separator: str | None,
) -> list[int]:
    text = rollout.text[row]
    if separator is None:
        raise RewardError(
            f"the reward returned a list of {len(given)} numbers for the completion {text!r}, but "
            "one number is expected. For a reward of each step, set `step_separator` and take the "
            "recipe `grpo_process`."
        )
    steps = step_texts(text, separator)
    if len(given) != len(steps):
        raise RewardError(
            f"the reward returned {len(given)} numbers for a completion of {len(steps)} steps, "
            f"{text!r} cut after {separator!r}. Return one number for each step."
        )
    tokens = rollout.inputs.tokens[row, : int(rollout.inputs.length[row])].tolist()
    return step_ends(tokens, steps, tokenizer)
