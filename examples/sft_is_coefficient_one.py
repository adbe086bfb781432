"""SFT is the policy gradient with coefficient 1: one step each, and the weights are the same.

Two copies of a small Llama take a step of plain SGD on the same sentences, in float64. One descends
the cross-entropy of a padded batch, as every library does. The other ascends
E[coefficient * grad log pi], where the coefficient is what the recipe `sft` says: 1 for every token
of a demonstration.

    python examples/sft_is_coefficient_one.py
"""

import argparse
import copy
import tempfile

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

import logpi
from logpi.core import Signals, surrogate
from logpi.worlds.lm.data import encode_all, read
from logpi.worlds.lm.demos import demo_data, demo_model
from logpi.worlds.lm.model import load

LEARNING_RATE = 0.1


def cross_entropy_step(model, prompts, completions):
    """Descend the mean cross-entropy of the completions' tokens, the usual way."""
    pairs = list(zip(prompts, completions, strict=True))
    ids = pad_sequence([torch.cat(pair) for pair in pairs], batch_first=True)
    labels = torch.full_like(ids, -100)
    for row, (prompt, completion) in enumerate(pairs):
        labels[row, len(prompt) : len(prompt) + len(completion)] = completion
    logits = model(ids).logits[:, :-1]
    cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100).backward()
    descend(model)


def policy_gradient_step(model, prompts, completions):
    """Ascend the recipe's coefficient times grad log pi, weighted as the recipe says."""
    recipe = logpi.RECIPES["sft"]
    logp = pad_sequence(
        [log_prob(model, p, c) for p, c in zip(prompts, completions, strict=True)], batch_first=True
    )
    length = torch.tensor([len(completion) for completion in completions])
    mask = torch.arange(logp.shape[1]) < length[:, None]
    nothing = torch.zeros_like(logp.detach())
    last = torch.arange(logp.shape[1]) == (length - 1)[:, None]
    row = torch.full((len(length),), 1 / len(length), dtype=logp.dtype)
    facts = Signals(
        mask=mask, reward=nothing, discount=(~last).to(logp.dtype), end=last, weight=row
    )
    facts = facts.having(credit=recipe.credit(facts))
    coefficient = recipe.coefficient(facts)  # 1 everywhere
    assert (coefficient[mask] == 1).all()
    surrogate(logp, coefficient, recipe.aggregate(mask, row)).backward()
    descend(model)


def log_prob(model, prompt, completion):
    """Return log pi of each token of the completion."""
    logits = model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, completion[:, None])[:, 0]


def descend(model):
    """Take one step of stochastic gradient descent."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= LEARNING_RATE * parameter.grad


def main() -> None:
    """Take both steps and compare all weights."""
    parser = argparse.ArgumentParser(description="SFT is the policy gradient with coefficient 1.")
    parser.add_argument("--smoke", action="store_true", help="four sentences instead of 64")
    rows = demo_data("demo:arithmetic/noisy")[: 4 if parser.parse_args().smoke else 64]
    with tempfile.TemporaryDirectory() as folder:
        lm = load(demo_model("demo:arithmetic", folder), dtype="float64", device="cpu")
    examples = read(rows, kind="demonstrations")
    encoded = encode_all(lm.tokenizer, examples, kind="demonstrations", eos=lm.eos)
    prompts, completions = zip(*encoded, strict=True)

    start, usual, ours = lm.model, copy.deepcopy(lm.model), copy.deepcopy(lm.model)
    cross_entropy_step(usual, prompts, completions)
    policy_gradient_step(ours, prompts, completions)

    def difference(a, b):
        return max(
            (x - y).abs().max().item() for x, y in zip(a.parameters(), b.parameters(), strict=True)
        )

    print(f"{len(rows)} demonstrations, {sum(map(len, completions))} tokens, float64")
    print(f"largest change of a weight in one step            {difference(start, usual):.3e}")
    print(f"largest difference between the two ways to do it  {difference(usual, ours):.3e}")
    assert difference(usual, ours) < 1e-12


if __name__ == "__main__":
    main()
