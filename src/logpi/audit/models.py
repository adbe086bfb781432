"""Small models, some of them random, that claims, documentation and searches are made on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo import bandit, tokens

__all__ = ["chain", "ends", "prompts", "questions", "texts"]


def chain(seed: int, *, states: int = 3, actions: int = 2, discount: float = 1.0) -> FiniteMDP:
    """A random model without an end, for a horizon: every successor possible, normal rewards.

    Its policy is random too. The numbers follow from the seed.

    >>> chain(0).transitions.shape
    (6, 3)
    """
    draw = np.random.Generator(np.random.Philox(seed))

    def softmax(*shape: int) -> Float[ndarray, "..."]:
        x = np.exp(draw.normal(size=shape))
        return x / x.sum(-1, keepdims=True)

    start, move, policy = (
        softmax(states),
        softmax(states, actions, states),
        softmax(states, actions),
    )
    return from_dense(
        move,
        draw.normal(size=(states, actions)),
        discount,
        order="sas",
        start=start,
        policy=policy,
        name=f"chain {seed}",
    )


def questions(p: Sequence[float]) -> FiniteMDP:
    """A start state for each question, equally likely, whose right answer pays 1 and has policy p.

    >>> questions([0.2, 0.7]).policy[:2].tolist()
    [[0.2, 0.8], [0.7, 0.3]]
    """
    policy = [[x, 1 - x] for x in p]
    return bandit([[1.0, 0.0]] * len(p), policy=policy).having(name="questions")


def prompts() -> FiniteMDP:
    """An easy and a hard prompt, answered right (1) or wrong (0), at once or after a thought.

    A thought makes a right answer likelier, so that reward and length correlate.

    >>> m = prompts()
    >>> m.layout.states[:2], int(m.reward.sum())
    (('easy', 'easy think'), 4)
    """
    right = {("easy",): 0.7, ("hard",): 0.1, ("easy", "think"): 0.9, ("hard", "think"): 0.5}

    def follows(context: tuple[str, ...]) -> dict[str, float]:
        answer = {"right": right[context], "wrong": 1 - right[context]}
        if len(context) > 1:
            return answer
        return {"think": 0.4, **{word: 0.6 * p for word, p in answer.items()}}

    m = tokens(
        ("think", "right", "wrong", "<eos>"),
        next_token=lambda c: {"<eos>": 1.0} if c[-1] in ("right", "wrong") else follows(c),
        reward=lambda _, written: float("right" in written),
        length=3,
        prompts=("easy", "hard"),
    )
    return m.having(name="prompts")


def texts(words: int, length: int, *, seed: int | None = None) -> FiniteMDP:
    """All texts of at most `length` tokens out of `words` words and an end.

    3 words and length 3 make 1 + 3 + 9 + 27 = 40 texts, in 13 states. With a seed, policy and
    rewards of whole texts are random, from standard normal logits and rewards; without one the
    policy is uniform and nothing is paid.

    >>> from logpi.worlds.mdp.exact import count_trajectories
    >>> count_trajectories(texts(3, 3))
    40
    """
    vocabulary = (*"abcdefghijklmnopqrstuvwxyz"[:words], "<eos>")
    m = tokens(vocabulary, reward={}, length=length, prompts=("Q:",))
    m = m.having(name=f"texts of {words} words")
    if seed is None:
        return m
    draw = np.random.Generator(np.random.Philox(seed))
    pi = np.where(m.allowed, np.exp(draw.normal(size=m.allowed.shape)), 0.0)
    reward = np.where(ends(m), draw.normal(size=m.allowed.shape), 0.0)
    return m.having(policy=pi / np.maximum(pi.sum(1, keepdims=True), 1e-300), reward=reward)


def ends(m: FiniteMDP) -> ndarray:
    """[S, A] whether an action surely ends the episode.

    >>> ends(texts(1, 2)).tolist()
    [[False, True], [True, True], [False, False]]
    """
    over = (m.transitions @ m.terminal.astype(np.float64)).reshape(m.allowed.shape)
    return m.allowed & (over > 1 - 1e-9)
