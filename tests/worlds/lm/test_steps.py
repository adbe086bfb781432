"""Where rewards land."""

from __future__ import annotations

import pytest
import torch

from logpi.core.errors import RewardError
from logpi.worlds.lm.cutting import step_texts
from logpi.worlds.lm.data import Example
from logpi.worlds.lm.decoding import Rollout
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.rewards import Rewards
from logpi.worlds.lm.steps import judge, place_rewards, step_ends
from logpi.worlds.lm.tiny import character_tokenizer

TOKENIZER = character_tokenizer("12;")
ONE, TWO, END, EOS = 2, 3, 4, 1


def rollout(*rows):
    tokens = [torch.tensor(r) for r in rows]
    inputs = Completions(
        prompts=(torch.tensor([ONE]),),
        prompt_of=torch.zeros(len(rows), dtype=torch.long),
        tokens=torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True),
        length=torch.tensor([len(r) for r in rows]),
    )
    return Rollout(
        inputs=inputs,
        logp=torch.zeros(inputs.tokens.shape),
        logp_sampler=None,
        finished=torch.ones(len(rows), dtype=torch.bool),
        text=tuple(TOKENIZER.decode(r, skip_special_tokens=True) for r in rows),
    )


def test_one_number_lands_on_the_last_token():
    reward, scored, missing = place_rewards(
        [0.5, None], rollout([ONE, EOS], [TWO, TWO, EOS]), TOKENIZER
    )
    assert reward.tolist() == [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert scored is None
    assert missing.tolist() == [False, True]


def test_a_reward_too_large_for_single_precision_is_infinite():
    reward, _, missing = place_rewards([1e39], rollout([ONE, EOS]), TOKENIZER)
    assert reward.tolist() == [[0.0, float("inf")]]
    assert not missing.any()


def test_a_number_per_step_lands_on_each_steps_last_token():
    rows = rollout([ONE, END, TWO, TWO, EOS], [ONE, END, EOS])
    reward, scored, _ = place_rewards([[1.0, 0.0], [2.0]], rows, TOKENIZER, separator=";")
    assert reward.tolist() == [[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0, 0.0]]
    # The second step of row 0 was given 0, which is not the same as having been given nothing.
    assert scored.nonzero().tolist() == [[0, 1], [0, 4], [1, 2]]


def test_step_ends_are_token_positions():
    tokens = [ONE, END, TWO, END, EOS]
    assert step_ends(tokens, step_texts("1;2;", ";"), TOKENIZER) == [1, 4]


def test_without_a_separator_every_character_is_a_step():
    assert step_ends([ONE, TWO, EOS], step_texts("12", ""), TOKENIZER) == [0, 2]
    rows = rollout([ONE, TWO, EOS], [ONE, EOS], [EOS])
    reward, scored, _ = place_rewards([[0.5, 0.25], [1.0], [2.0]], rows, TOKENIZER, separator="")
    assert reward.tolist() == [[0.5, 0.0, 0.25], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]
    assert scored.nonzero().tolist() == [[0, 0], [0, 2], [1, 1], [2, 0]]


@pytest.mark.parametrize(
    ("given", "separator", "says"),
    [
        ([1.0, 2.0, 3.0], ";", "3 numbers for a completion of 2 steps"),
        ([1.0], None, "step_separator"),
    ],
)
def test_a_list_of_the_wrong_length_is_refused(given, separator, says):
    with pytest.raises(RewardError, match=says):
        place_rewards([given], rollout([ONE, END, TWO, EOS]), TOKENIZER, separator=separator)


def test_a_reward_sees_the_columns_of_the_rows_example():
    examples = [Example("1", columns={"answer": answer}) for answer in ("1", "2")]
    with Rewards("exact_match") as rewards:
        scores = judge(rewards, examples, rollout([ONE, EOS], [ONE, EOS]))
    assert scores.reward == [1.0, 0.0]
