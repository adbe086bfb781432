"""Sources: what is drawn follows from seed, iteration and place; rows leave for a reason."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import judges
import tasks
from logpi.core.errors import DataError
from logpi.worlds.lm.batches import batch_of_completions, completions_of, joined
from logpi.worlds.lm.data import encode, read
from logpi.worlds.lm.decoding import Sampling
from logpi.worlds.lm.given import DemonstrationSource, PairSource, batch_of_pairs
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import load
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.rewards import Rewards
from logpi.worlds.lm.shuffle import Shuffle
from logpi.worlds.lm.source import SampledSource


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return LMPolicy(load(tasks.model(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def rewards():
    with Rewards(judges.sevens) as rewards:
        yield rewards


def sampled(policy, rewards, **settings):
    examples = read(tasks.PROMPTS, kind="prompts")
    ids = [encode(policy.lm.tokenizer, e, kind="prompts")[0] for e in examples]
    told = {"prompts_per_batch": 4, "group_size": 4, "seed": 3}
    told["sampling"] = Sampling(max_new_tokens=3)
    return SampledSource(examples, ids, rewards, **{**told, **settings})


@given(st.integers(1, 9), st.lists(st.integers(1, 7), max_size=6))
def test_each_epoch_shows_every_example_once(count, takes):
    shuffle = Shuffle(count, seed=1)
    seen = [i for k in takes for i in shuffle.take(k)]
    for epoch in range(len(seen) // count):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))
    later = Shuffle(count, seed=1)
    later.position = 1
    assert later.take(len(seen))[: max(len(seen) - 1, 0)] == seen[1:]


def test_no_examples_are_refused():
    with pytest.raises(DataError, match="no rows"):
        Shuffle(0, seed=0)


def test_the_last_token_ends_the_episode_and_is_not_bootstrapped():
    inputs = Completions(
        prompts=(torch.tensor([1]),),
        prompt_of=torch.zeros(2, dtype=torch.long),
        tokens=torch.zeros(2, 3, dtype=torch.long),
        length=torch.tensor([3, 1]),
    )
    batch = batch_of_completions(inputs, torch.zeros(2, 3))
    assert batch.end.tolist() == [[False, False, True], [True, False, False]]
    assert batch.discount.tolist() == [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert batch.weight.tolist() == [0.5, 0.5]


def test_a_restored_source_draws_what_would_have_come(policy, rewards):
    source = sampled(policy, rewards)
    source.draw(policy, 0)
    state = source.state()
    expected = source.draw(policy, 1)
    other = sampled(policy, rewards)
    other.restore(state)
    found = other.draw(policy, 1)
    assert torch.equal(found.inputs.tokens, expected.inputs.tokens)
    assert torch.equal(found.logp_old, expected.logp_old)


def test_only_groups_that_differ_stay_and_more_are_drawn(policy, rewards):
    plain = sampled(policy, rewards, compare="groups").draw(policy, 0)
    mixed = sampled(policy, rewards, compare="mixed-groups", max_draws=6).draw(policy, 0)
    assert plain.facts["rows_in_mixed_groups"] < 1
    total = mixed.reward.sum(1)
    for group in mixed.group.unique():
        assert len(total[mixed.group == group].unique()) > 1
    assert mixed.facts["draws"] > 1
    assert len(mixed.group.unique()) <= 4
    assert float(mixed.weight.sum()) == pytest.approx(1)


def test_a_greedy_rollout_is_the_baseline(policy, rewards):
    batch = sampled(policy, rewards, compare="greedy").draw(policy, 0)
    assert batch.baseline.shape == (16,)
    for group in batch.group.unique():
        assert len(batch.baseline[batch.group == group].unique()) == 1


def test_a_group_that_lost_its_rows_leaves_whole(policy):
    many = {"prompts_per_batch": 32, "group_size": 2, "seed": 0}
    with Rewards(judges.sometimes, max_missing=1.0) as rewards:
        batch = sampled(policy, rewards, compare="groups", **many).draw(policy, 0)
    assert batch.facts["missing"] == 8
    assert batch.facts["judged"] == 64
    assert batch.facts["rows_dropped"] == 8
    assert batch.rows == 56
    assert float(batch.weight.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("compare", "judged"), [("greedy", 96), ("mixed-groups", 64 * 3)])
def test_every_reward_that_was_asked_for_counts(policy, compare, judged):
    many = {"prompts_per_batch": 32, "group_size": 2, "seed": 0}
    many |= {"sampling": Sampling(max_new_tokens=1), "max_draws": 3}
    with Rewards(judges.sometimes, max_missing=1.0) as rewards:
        facts = sampled(policy, rewards, compare=compare, **many).draw(policy, 0).facts
    ones = sum(row["prompt"].startswith("1") for row in tasks.PROMPTS)
    assert (facts["judged"], facts["missing"]) == (judged, judged * ones / 32)


def test_demonstrations_and_pairs(policy):
    tokenizer = policy.lm.tokenizer
    examples = read(tasks.DEMONSTRATIONS, kind="demonstrations")
    tokens = [encode(tokenizer, e, kind="demonstrations") for e in examples]
    batch = DemonstrationSource(tokens, rows=4, seed=0).draw(policy, 0)
    assert batch.mask.shape == (4, 4)  # 777 and the end of the sequence
    assert batch.logp_old is None
    examples = read(tasks.PAIRS, kind="pairs")
    tokens = [encode(tokenizer, e, kind="pairs") for e in examples]
    batch = PairSource(tokens, pairs=3, seed=0).draw(policy, 0)
    assert batch.group.tolist() == [0, 0, 1, 1, 2, 2]
    first = batch_of_pairs(tokens[:2], policy)
    assert first.reward.sum(1).tolist() == [1, 0, 1, 0]  # the chosen one first
    assert first.inputs.tokens[1][: len(tokens[0][2])].tolist() == tokens[0][2].tolist()
    assert batch.reward.sum(1).tolist() == [1.0, 0.0] * 3


def test_draws_are_joined_group_by_group(policy, rewards):
    """Two draws of one source are one batch of both, cut to as many groups as are wanted."""
    source = sampled(policy, rewards, compare="groups")
    draws = [source.draw(policy, 0), source.draw(policy, 1)]
    both = joined(draws)
    assert both.rows == draws[0].rows + draws[1].rows
    assert torch.equal(both.reward.sum(1), torch.cat([d.reward.sum(1) for d in draws]))
    assert len(both.group.unique()) == 8
    assert len(joined(draws, 5).group.unique()) == 5
    last = both.inputs.take(torch.tensor([both.rows - 1]))
    prompt = last.prompts[int(last.prompt_of[0])]
    assert torch.equal(prompt, draws[1].inputs.prompts[int(draws[1].inputs.prompt_of[-1])])


def test_completions_are_padded_where_the_model_is(policy):
    one = torch.tensor([3])
    inputs = completions_of([one], [torch.tensor([4, 5]), one], policy.lm, copies=2)
    assert inputs.tokens.tolist() == [[4, 5], [3, policy.lm.pad]]
    assert inputs.length.tolist() == [2, 1]
    assert inputs.prompt_of.tolist() == [0, 0]
