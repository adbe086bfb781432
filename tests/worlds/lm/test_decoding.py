"""Decoding against `model.generate`, against full forward passes, and against enumeration."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from tests.worlds.lm.decoding_models import model, prompts

from logpi.core.errors import ConfigError, DataError, NonFiniteError
from logpi.worlds.lm.decoding import Sampling, decode
from logpi.worlds.lm.tree import shares_prompts

TIED = [(name, tie) for name in ("llama", "qwen2", "qwen3", "gpt2", "gemma") for tie in (0, 1)]
EVERY = [*TIED, *((n, 0) for n in ("qwen2-window", "gemma2", "mistral", "bloom", "gpt_oss"))]
CARRY_PROMPTS = {"bloom", "gpt_oss"}  # ALiBi, and attention sinks
LENGTHS = (5, 9, 5, 20, 1, 33)


def endless(lm):
    """The same model, whose completions never end by themselves."""
    return dataclasses.replace(lm, eos=())


def full_logp(lm, prompt, tokens, temperature):
    with torch.no_grad():
        logits = lm.causal(torch.cat([prompt, tokens])[None]).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1).gather(1, tokens[:, None])[:, 0]


@pytest.mark.parametrize(("name", "tie"), EVERY)
def test_greedy_is_what_generate_gives(name, tie):
    lm = endless(model(name, tie=bool(tie)))
    assert shares_prompts(lm) == (name not in CARRY_PROMPTS)
    given = prompts(*LENGTHS)
    rollout = decode(lm, given, copies=2, sampling=Sampling(42, temperature=0), seed=0)
    for i, prompt in enumerate(given):
        expected = lm.causal.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt)[None],
            do_sample=False,
            max_new_tokens=42,
            eos_token_id=None,
            pad_token_id=lm.pad,
        )[0, len(prompt) :]
        assert rollout.inputs.tokens[2 * i].tolist() == expected.tolist()
        assert rollout.inputs.tokens[2 * i + 1].tolist() == expected.tolist()
    assert rollout.inputs.temperature == 1
    torch.testing.assert_close(
        rollout.logp[0], full_logp(lm, given[0], rollout.inputs.tokens[0], 1.0), atol=1e-5, rtol=0
    )


def test_greedy_stops_where_generate_stops():
    lm = model("llama", tie=True)
    given = prompts(*range(3, 15))
    rollout = decode(lm, given, sampling=Sampling(30, temperature=0), seed=0)
    assert rollout.finished.any()
    for i, prompt in enumerate(given):
        expected = lm.causal.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt)[None],
            do_sample=False,
            max_new_tokens=30,
        )[0, len(prompt) :]
        length = int(rollout.inputs.length[i])
        assert rollout.inputs.tokens[i, :length].tolist() == expected.tolist()
        assert bool(rollout.finished[i]) == (int(expected[-1]) in lm.eos)
        assert (rollout.inputs.tokens[i, length:] == lm.pad).all()
        assert (rollout.logp[i, length:] == 0).all()


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mistral", "bloom"])
@pytest.mark.parametrize("sampling", [Sampling(40, 0.8), Sampling(40, 1.3, top_k=6, top_p=0.9)])
def test_lazy_branches_draw_the_same_tokens(name, sampling):
    lm, given = model(name), prompts(*LENGTHS)
    lazy = decode(lm, given, copies=5, sampling=sampling, seed=4)
    eager = decode(lm, given, copies=5, sampling=sampling, seed=4, lazy=False)
    assert torch.equal(lazy.inputs.tokens, eager.inputs.tokens)
    assert torch.equal(lazy.inputs.length, eager.inputs.length)
    assert torch.equal(lazy.finished, eager.finished)
    assert lazy.text == eager.text
    torch.testing.assert_close(lazy.logp, eager.logp, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "qwen2-window", "qwen3", "gpt2", "gemma", "gemma2"])
def test_logp_is_that_of_a_full_forward_pass(name):
    lm, given = model(name), prompts(*LENGTHS)
    rollout = decode(lm, given, copies=3, sampling=Sampling(40, 0.9), seed=1)
    for i, length in enumerate(rollout.inputs.length.tolist()):
        expected = full_logp(lm, given[i // 3], rollout.inputs.tokens[i, :length], 0.9)
        torch.testing.assert_close(rollout.logp[i, :length], expected, atol=1e-5, rtol=0)


def test_a_row_draws_what_it_draws_alone():
    lm, given = model("llama"), prompts(4, 7, 30, 7, 90)
    whole = decode(lm, given, copies=3, sampling=Sampling(20), seed=9)
    first = decode(lm, given[:2], copies=3, sampling=Sampling(20), seed=9)
    short = decode(lm, given, copies=3, sampling=Sampling(8), seed=9)
    for i in range(6):
        length = int(first.inputs.length[i])
        assert torch.equal(first.inputs.tokens[i, :length], whole.inputs.tokens[i, :length])
    assert torch.equal(short.inputs.tokens[:, :8], whole.inputs.tokens[:, :8])


def test_equal_prompts_are_run_once_and_answered_each():
    lm, (a, b) = model("llama"), prompts(6, 6)
    rollout = decode(lm, [a, b, a.clone()], copies=2, sampling=Sampling(10), seed=2)
    assert rollout.inputs.prompt_of.tolist() == [0, 0, 1, 1, 2, 2]
    for i, length in enumerate(rollout.inputs.length.tolist()):
        tokens = rollout.inputs.tokens[i, :length]
        expected = full_logp(lm, [a, b, a][i // 2], tokens, 1.0)
        torch.testing.assert_close(rollout.logp[i, :length], expected, atol=1e-5, rtol=0)


def test_results_take_part_in_training():
    lm = model("llama")
    rollout = decode(lm, prompts(5), copies=2, sampling=Sampling(6), seed=0)
    weight = torch.ones_like(rollout.logp, requires_grad=True)
    (weight * rollout.logp * rollout.inputs.mask).sum().backward()
    hidden = lm.hidden(rollout.inputs.tokens)
    lm.logits(hidden).sum().backward()
    lm.model.zero_grad()


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("cut", [{}, {"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.3}])
def test_completions_follow_the_exact_distribution(lazy, cut):
    lm = model("llama", alphabet="ab", initializer_range=0.3)
    prompt, steps = torch.tensor([2, 3, 3, 2]), 3
    sampling = Sampling(steps, 1.2, **cut)
    copies = 6000 if lazy else 1500
    rollout = decode(lm, [prompt], copies=copies, sampling=sampling, seed=5, lazy=lazy)
    exact = enumerate_completions(lm, prompt, sampling, steps)
    assert sum(exact.values()) == pytest.approx(1, abs=1e-5)
    drawn: dict[tuple[int, ...], int] = {}
    for row, length in zip(rollout.inputs.tokens, rollout.inputs.length.tolist(), strict=True):
        key = tuple(row[:length].tolist())
        drawn[key] = drawn.get(key, 0) + 1
    assert set(drawn) <= {key for key, p in exact.items() if p > 0}
    common = [key for key, p in exact.items() if p * copies > 5]
    square = sum((drawn.get(k, 0) - exact[k] * copies) ** 2 / (exact[k] * copies) for k in common)
    free = len(common) - 1
    assert free >= 3
    assert square < free + 4 * (2 * free) ** 0.5


def enumerate_completions(lm, prompt, sampling, steps):
    """The probability of every completion, from full forward passes and written-out truncation."""
    exact: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(steps):
        grown: dict[tuple[int, ...], float] = {}
        for key, p in exact.items():
            if key and key[-1] in lm.eos:
                grown[key] = p
                continue
            with torch.no_grad():
                ids = torch.cat([prompt, torch.tensor(key, dtype=torch.long)])
                logits = lm.causal(ids[None]).logits[0, -1].double() / sampling.temperature
            for token, q in enumerate(kept(logits.softmax(-1), sampling)):
                grown[(*key, token)] = p * q
        exact = grown
    return exact


def kept(p, sampling):
    order = p.argsort(descending=True).tolist()
    if sampling.top_k:
        order = order[: sampling.top_k]
    if sampling.top_p < 1:
        mass = list(itertools.accumulate(float(p[i]) for i in order))
        order = order[: 1 + sum(m < sampling.top_p * mass[-1] for m in mass[:-1])]
    order = [i for i in order if p[i] >= sampling.min_p * p[order[0]]]
    total = sum(float(p[i]) for i in order)
    return [float(p[i]) / total if i in order else 0.0 for i in range(len(p))]


def test_the_sampler_and_the_policy_differ_by_the_kept_mass():
    lm = model("llama")
    rollout = decode(lm, prompts(5, 8), copies=4, sampling=Sampling(12, top_k=3), seed=0)
    assert rollout.logp_sampler is not None
    for i, length in enumerate(rollout.inputs.length.tolist()):
        ids = torch.cat([rollout.inputs.prompts[i // 4], rollout.inputs.tokens[i, :length]])
        with torch.no_grad():
            probability = lm.causal(ids[None]).logits[0, -length - 1 : -1].softmax(-1)
        mass = probability.topk(3).values.sum(-1)
        ratio = (rollout.logp - rollout.logp_sampler)[i, :length].exp()
        torch.testing.assert_close(ratio, mass, atol=1e-5, rtol=0)


def test_no_second_record_where_nothing_is_cut():
    for sampling in (Sampling(3), Sampling(3, temperature=0, top_k=2)):
        assert decode(model("llama"), prompts(4), sampling=sampling, seed=0).logp_sampler is None


def test_stop_strings_end_completions():
    lm = endless(model("llama"))
    sampling = Sampling(40, stop=("1", "+ "))
    rollout = decode(lm, prompts(4, 9), copies=8, sampling=sampling, seed=0)
    assert rollout.finished.any()
    for i, length in enumerate(rollout.inputs.length.tolist()):
        whole = lm.tokenizer.decode(rollout.inputs.tokens[i, :length], skip_special_tokens=True)
        assert not any(s in whole[:-1] for s in sampling.stop)
        ends = [s for s in sampling.stop if whole.endswith(s)]
        assert bool(rollout.finished[i]) == bool(ends)
        assert rollout.text[i] == (whole[: -len(ends[0])] if ends else whole)


def test_text_has_no_end_of_sequence_token():
    lm = model("llama")
    rollout = decode(lm, prompts(4, 9), copies=8, sampling=Sampling(60, 1.5), seed=0)
    assert rollout.finished.any()
    for i, length in enumerate(rollout.inputs.length.tolist()):
        tokens = rollout.inputs.tokens[i, : length - int(rollout.finished[i])]
        assert rollout.text[i] == lm.tokenizer.decode(tokens, skip_special_tokens=True)


def test_completions_end_with_the_context():
    lm = endless(dataclasses.replace(model("gpt2"), context=12))
    rollout = decode(lm, prompts(4, 11), copies=2, sampling=Sampling(20), seed=0)
    assert rollout.inputs.length.tolist() == [8, 8, 1, 1]
    assert not rollout.finished.any()


def test_a_prompt_that_fills_the_context_is_named():
    lm = dataclasses.replace(model("gpt2"), context=12)
    with pytest.raises(DataError, match=r"prompt 1 has 12 tokens.*context is 12"):
        decode(lm, prompts(3, 12), sampling=Sampling(4), seed=0)


def test_bad_requests_are_refused():
    lm = model("gpt2")
    with pytest.raises(DataError, match="prompt 1 has no tokens"):
        decode(lm, [*prompts(3), torch.zeros(0, dtype=torch.long)], sampling=Sampling(4), seed=0)
    with pytest.raises(DataError, match="no prompts"):
        decode(lm, [], sampling=Sampling(4), seed=0)
    with pytest.raises(ConfigError, match="copies is 0"):
        decode(lm, prompts(3), copies=0, sampling=Sampling(4), seed=0)


def test_diverged_weights_are_named():
    lm = model("llama", seed=11)
    with torch.no_grad():
        next(lm.model.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="row 0 at its token 0"):
        decode(lm, prompts(3), sampling=Sampling(4), seed=0)


def test_the_model_keeps_its_own_attention():
    lm = model("llama")
    before = lm.causal.config._attn_implementation
    decode(lm, prompts(3), sampling=Sampling(4), seed=0)
    assert lm.causal.config._attn_implementation == before != "logpi_branches"


def test_bfloat16():
    lm = model("llama", seed=12)
    lm.model.to(torch.bfloat16)
    rollout = decode(lm, prompts(3, 8), copies=4, sampling=Sampling(20), seed=0)
    assert rollout.logp.dtype == torch.float32
    for i, length in enumerate(rollout.inputs.length.tolist()):
        tokens = rollout.inputs.tokens[i, :length]
        expected = full_logp(lm, rollout.inputs.prompts[i // 4], tokens, 1.0).float()
        torch.testing.assert_close(rollout.logp[i, :length], expected, atol=0.2, rtol=0)
