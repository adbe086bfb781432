"""Truncation against Hugging Face's warpers; drawing against probabilities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from logpi.core.errors import ConfigError
from logpi.worlds.lm.sampling import Sampling, Uniforms, draw, draw_pieces, truncate

seeds = st.integers(0, 2**20)
sizes = st.integers(2, 40)


def scores_of(seed, vocabulary, *, rows=6, ties=False):
    scores = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2
    return scores.round() if ties else scores


@given(seeds, sizes, st.integers(0, 45), st.floats(0.01, 1), st.floats(0, 0.99), st.booleans())
def test_truncation_is_hugging_face_s(seed, vocabulary, top_k, top_p, min_p, ties):
    scores = scores_of(seed, vocabulary, ties=ties)
    expected = scores
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    if min_p:
        expected = MinPLogitsWarper(min_p)(None, expected)
    got = truncate(scores, Sampling(top_k=top_k, top_p=top_p, min_p=min_p))
    if (
        ties
    ):  # which of several equal most probable tokens min-p keeps at least is a matter of order
        assert torch.equal(got.isfinite() | expected.isfinite(), got.isfinite())
    else:
        assert torch.equal(got, expected)


@given(seeds, sizes, st.integers(1, 45))
def test_top_k_keeps_the_k_largest(seed, vocabulary, k):
    scores = scores_of(seed, vocabulary)
    kept = truncate(scores, Sampling(top_k=k)).isfinite()
    assert (kept.sum(-1) == min(k, vocabulary)).all()
    if k < vocabulary:
        assert (scores[kept].view(6, -1).amin(-1) > scores[~kept].view(6, -1).amax(-1)).all()


@given(seeds, sizes, st.floats(0.05, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(seed, vocabulary, p):
    scores = scores_of(seed, vocabulary).double()
    kept = truncate(scores, Sampling(top_p=p)).isfinite()
    probability = scores.softmax(-1)
    mass = (probability * kept).sum(-1)
    least = probability.masked_fill(~kept, math.inf).amin(-1)
    assert (mass >= p - 1e-9).all()
    assert (mass - least < p + 1e-9).all()


@given(seeds, sizes, st.floats(0.01, 1))
def test_min_p_keeps_what_is_p_times_as_probable_as_the_most_probable(seed, vocabulary, p):
    scores = scores_of(seed, vocabulary).double()
    kept = truncate(scores, Sampling(min_p=p)).isfinite()
    relative = (scores - scores.amax(-1, keepdim=True)).exp()
    assert (relative[kept] >= p * (1 - 1e-12)).all()
    assert (relative[~kept] <= p * (1 + 1e-12)).all()


@given(seeds, sizes, st.integers(0, 45), st.floats(0.01, 1), st.floats(0, 1))
def test_the_most_probable_token_stays_and_order_does_not_matter(seed, size, top_k, top_p, min_p):
    scores, cut = scores_of(seed, size), Sampling(top_k=top_k, top_p=top_p, min_p=min_p)
    got = truncate(scores, cut)
    assert torch.equal(got.argmax(-1), scores.argmax(-1))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(truncate(scores[:, order], cut), got[:, order])


@given(seeds, sizes, st.sampled_from([{}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}]))
def test_sampler_probabilities_sum_to_one_over_what_can_be_drawn(seed, vocabulary, cut):
    scores = scores_of(seed, vocabulary, rows=1)
    numbers = torch.linspace(0, 1, 20001, dtype=torch.float64)[:-1]
    branch = torch.zeros(len(numbers), dtype=torch.long)
    drawn = draw(scores, branch, numbers, Sampling(temperature=0.8, **cut))
    logp = drawn.logp if drawn.logp_sampler is None else drawn.logp_sampler
    probability = torch.zeros(vocabulary).scatter(0, drawn.token, logp.exp())
    count = drawn.token.bincount(minlength=vocabulary) / len(numbers)
    torch.testing.assert_close(count, probability, atol=2e-4, rtol=0)
    assert float(probability.sum()) == pytest.approx(1, abs=1e-2)
    if drawn.logp_sampler is not None:
        kept = truncate(scores / 0.8, Sampling(**cut)).isfinite()
        assert (drawn.token.unique() == kept[0].nonzero()[:, 0]).all() or vocabulary > 10
        mass = ((scores / 0.8).softmax(-1) * kept).sum()
        ratio = (drawn.logp - drawn.logp_sampler).exp()
        torch.testing.assert_close(ratio, mass.expand_as(ratio), atol=1e-5, rtol=0)


def test_drawing_takes_the_first_token_whose_cumulative_probability_exceeds_the_number():
    logits = torch.tensor([[-math.inf, math.log(0.25), -math.inf, math.log(0.75), -math.inf]])
    almost = torch.nextafter(torch.tensor(1.0).double(), torch.tensor(0.0).double())
    numbers = torch.tensor([0.0, 0.2499, 0.2501, 0.9, almost], dtype=torch.float64)
    drawn = draw(logits, torch.zeros(5, dtype=torch.long), numbers, Sampling())
    assert drawn.token.tolist() == [1, 1, 3, 3, 3]


@given(seeds, st.integers(2, 9))
def test_impossible_tokens_are_never_drawn_and_branches_never_mixed(seed, vocabulary):
    logits = scores_of(seed, vocabulary)
    logits[:, 1:][torch.rand(6, vocabulary - 1) < 0.5] = -math.inf
    branch = torch.arange(6).repeat(50)
    numbers = torch.cat([torch.rand(150).double(), torch.full((75,), 1 - 2**-53), torch.zeros(75)])
    drawn = draw(logits, branch, numbers.double(), Sampling())
    assert ((drawn.token >= 0) & (drawn.token < vocabulary)).all()
    assert drawn.logp.isfinite().all()


@given(seeds, st.integers(1, 6))
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=3), Sampling(temperature=0)])
def test_pieces_give_what_the_whole_gives(sampling, seed, size):
    logits, branch = scores_of(seed, 11), torch.tensor([5, 0, 3, 3, 1, 5, 4])
    numbers = Uniforms(seed)(7, 0)
    whole = draw(logits, branch, numbers, sampling)
    pieces = draw_pieces(iter(logits.split(size)), branch, numbers, sampling)
    assert torch.equal(whole.token, pieces.token)
    torch.testing.assert_close(whole.logp, pieces.logp)
    assert (whole.logp_sampler is None) == (pieces.logp_sampler is None)


def test_greedy_takes_the_first_of_equal_tokens_and_records_temperature_one():
    logits = torch.tensor([[0.0, 2.0, 2.0]])
    drawn = draw(logits, torch.zeros(1).long(), torch.rand(1).double(), Sampling(temperature=0))
    assert drawn.token.tolist() == [1]
    torch.testing.assert_close(drawn.logp, logits.log_softmax(-1)[:, 1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_said(bad, temperature):
    logits = torch.tensor([[0.0, 1.0], [bad, 1.0]])
    numbers = torch.full((2,), 0.5, dtype=torch.float64)
    drawn = draw(logits, torch.tensor([0, 1]), numbers, Sampling(temperature=temperature))
    assert int(drawn.token[1]) == -1


@given(seeds, st.integers(1, 70), st.integers(0, 5))
def test_numbers_depend_on_seed_row_and_step_alone(seed, rows, step):
    more, fewer = Uniforms(seed), Uniforms(seed)
    assert torch.equal(more(rows + 13, step)[:rows], fewer(rows, step))
    assert not torch.equal(more(rows, step), more(rows, step + 1))
    assert not torch.equal(more(rows, step), Uniforms(seed + 1)(rows, step))
    assert ((more(rows, step) >= 0) & (more(rows, step) < 1)).all()


def test_numbers_are_uniform_and_independent():
    numbers = torch.stack([Uniforms(0)(400, step) for step in range(100)])
    count = torch.histc(numbers.float(), 20, 0, 1)
    assert (count - 2000).square().sum() / 2000 < 19 + 4 * 38**0.5
    assert (
        abs(torch.corrcoef(torch.stack([numbers[:-1].flatten(), numbers[1:].flatten()]))[0, 1])
        < 0.02
    )
    assert (
        abs(
            torch.corrcoef(torch.stack([numbers[:, :-1].flatten(), numbers[:, 1:].flatten()]))[0, 1]
        )
        < 0.02
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"temperature": math.nan},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"stop": "abc"},
        {"stop": ("",)},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Sampling(**wrong)
