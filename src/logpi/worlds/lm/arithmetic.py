"""Two-digit addition as text: problems split in two, and demonstrations, about half of them right.

A sum is written as one adds by hand, ones first: 37+45=28 stands for 82. A small model that writes
the ones first has seen the carry when it comes to the tens; written the usual way, the same model
learns far more slowly.
"""

from __future__ import annotations

import random

__all__ = ["ALPHABET", "heldout", "noisy", "pairs", "solve", "train"]

ALPHABET = "0123456789+="
"""Every character that a problem or an answer is written in."""

# Unordered pairs, so that 37+45 and 45+37 stay together: about 1,000 prompts to test on.
HELDOUT = 500
# Of the demonstrations of a problem with a carry. Above one half: greedy decoding of a model that
# imitates them is wrong there, and only a reward can tell it.
FORGETS_CARRY = 0.6
# Of all demonstrations: one digit is off by one. Greedy decoding averages this out.
SLIPS = 0.3


def solve(prompt: str) -> str:
    """Return the right completion of a prompt: the sum, ones first.

    >>> solve("37+45=")
    '28'
    """
    return str(sum(_terms(prompt)))[::-1]


def train(seed: int = 0) -> list[dict[str, str]]:
    """Return the problems to train on, each with its answer, in random order.

    >>> len(train()) + len(heldout())
    8100
    """
    return [{"prompt": prompt, "answer": solve(prompt)} for prompt in _split(seed)[0]]


def heldout(seed: int = 0) -> list[dict[str, str]]:
    """Return the problems that neither `train` nor `noisy` shows, in either order of their terms.

    >>> seen = {row["prompt"] for row in train()}
    >>> any(row["prompt"] in seen for row in heldout())
    False
    """
    return [{"prompt": prompt, "answer": solve(prompt)} for prompt in _split(seed)[1]]


def noisy(seed: int = 0, copies: int = 4) -> list[dict[str, str]]:
    """Return demonstrations of the training problems, `copies` of each, about half of them right.

    Two mistakes are made: a forgotten carry, and a digit that is off by one.

    >>> right = [row["completion"] == solve(row["prompt"]) for row in noisy()]
    >>> 0.45 < sum(right) / len(right) < 0.55
    True
    """
    rng = random.Random(f"arithmetic demonstrations {seed}")
    prompts = _split(seed)[0] * copies
    rng.shuffle(prompts)
    return [{"prompt": prompt, "completion": _attempt(prompt, rng)} for prompt in prompts]


def pairs(seed: int = 0) -> list[dict[str, str]]:
    """Return a pair for each training problem: the sum, and a mistake as in `noisy`.

    >>> row = pairs()[0]
    >>> row["chosen"] == solve(row["prompt"]), row["chosen"] == row["rejected"]
    (True, False)
    """
    rng = random.Random(f"arithmetic pairs {seed}")
    found: list[dict[str, str]] = []
    for prompt in _split(seed)[0]:
        right = wrong = solve(prompt)
        while wrong == right:
            wrong = _attempt(prompt, rng)
        found.append({"prompt": prompt, "chosen": right, "rejected": wrong})
    return found


def _terms(prompt: str) -> tuple[int, int]:
    left, _, right = prompt.rstrip("=").partition("+")
    return int(left), int(right)


def _split(seed: int) -> tuple[list[str], list[str]]:
    rng = random.Random(f"arithmetic problems {seed}")
    terms = [(low, high) for low in range(10, 100) for high in range(low, 100)]
    rng.shuffle(terms)
    return _written(terms[HELDOUT:], rng), _written(terms[:HELDOUT], rng)


def _written(terms: list[tuple[int, int]], rng: random.Random) -> list[str]:
    prompts = [f"{low}+{high}=" for low, high in terms] + [
        f"{high}+{low}=" for low, high in terms if low != high
    ]
    rng.shuffle(prompts)
    return prompts


def _attempt(prompt: str, rng: random.Random) -> str:
    left, right = _terms(prompt)
    forgotten = left % 10 + right % 10 >= 10 and rng.random() < FORGETS_CARRY
    digits = str(left + right - 10 * forgotten)[::-1]
    if rng.random() < SLIPS:
        place = rng.randrange(len(digits))
        digit = (int(digits[place]) + rng.choice((-1, 1))) % 10
        digits = f"{digits[:place]}{digit}{digits[place + 1 :]}"
    return digits
