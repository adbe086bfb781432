"""Where the gradient comes from: "The capital of France is ..." told by seven methods.

A model says Paris, Lyon or Marseille with probability .9, .08 and .02; Paris earns 10, the others
-10. The words before the city are decisions too, but none of them changes what comes of it: their
true advantage is 0. What a method gives them all the same is luck, pushed into the weights. The
numbers are exact: every batch is enumerated with its probability.

    python examples/capital.py
"""

import argparse
import tempfile

import torch

from logpi.core.credit import gae, group_relative, leave_one_out, reward_to_go, td_error, whitened
from logpi.worlds.lm.capital import CITIES, PROMPT, SENTENCE
from logpi.worlds.lm.demos import demo_model
from logpi.worlds.lm.luck import TRUE_ADVANTAGE, city_credit, prefix_moments
from logpi.worlds.lm.model import load

METHODS = [  # name, credit, completions in a batch
    ("reinforce", reward_to_go(), 1),
    ("reinforce, baseline 8", reward_to_go(baseline=8.0), 1),
    ("rloo, 8 a group", leave_one_out, 8),
    ("grpo, 8 a group", group_relative(), 8),
    ("reinforce++, 8 a batch", whitened(reward_to_go()), 8),
    ("ppo, exact critic, lam .95", gae(lam=0.95), 1),
    ("ppo, exact critic, lam 0", td_error, 1),
]


def probabilities() -> None:
    """Print what the model itself says, step by step."""
    with tempfile.TemporaryDirectory() as folder:
        path = demo_model("demo:capital", folder)
        lm = load(path, device="cpu")
    tokenizer = lm.tokenizer
    tokens = tokenizer(" ".join([PROMPT, *SENTENCE]), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        following = lm.model(tokens).logits[0].double().softmax(-1)
    for word, after in zip(SENTENCE, following, strict=False):
        print(f"  {word:<10}{after[tokenizer.convert_tokens_to_ids(word)].item():.7f}")
    for city, wanted in CITIES.items():
        given = following[-1, tokenizer.convert_tokens_to_ids(city)].item()
        print(f"    {city:<10}{given:.7f}   ({wanted} was asked for)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Where the gradient comes from.")
    parser.add_argument("--smoke", action="store_true", help="the table alone, without the model")
    if not parser.parse_args().smoke:
        print("what the model says after", repr(PROMPT))
        probabilities()
    print("\nthe credit of the words before the city, and of the city")
    print(f"{'':<28}{'first word':^20}{'last word':^20}{'city, on average':^28}")
    print(f"{'':<28}{'mean':>10}{'variance':>10}{'mean':>10}{'variance':>10}", end="  ")
    print("".join(f"{city:>10}" for city in CITIES))
    truth = "".join(f"{advantage:>10.2f}" for advantage in TRUE_ADVANTAGE.values())
    print(f"{'the truth':<28}" + f"{0:>10.2f}{0:>10.2f}" * 2 + f"  {truth}")
    for name, credit, rows in METHODS:
        mean, variance = prefix_moments(credit, rows)
        # + 0.0 turns a rounded -0.00 into 0.00
        words = "".join(
            f"{round(x[k].item(), 2) + 0.0:>10.2f}" for k in (0, -1) for x in (mean, variance)
        )
        cities = "".join(f"{x:>10.2f}" for x in city_credit(credit, rows).values())
        print(f"{name:<28}{words}  {cities}")
    print(
        "\nA baseline, a group and a whitened batch take the mean of the luck to 0 and leave its"
        "\nvariance (that of grpo and reinforce++ counts in standard deviations). Only a credit"
        "\nthat asks, token by token, what changed, gives 0 to words that changed nothing."
    )


if __name__ == "__main__":
    main()
