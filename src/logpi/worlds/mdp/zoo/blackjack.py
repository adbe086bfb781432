"""Blackjack: Sutton & Barto, Example 5.1, with every card drawn from an infinite deck."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse import csr_array

from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.model import FiniteMDP, Layout

__all__ = ["blackjack", "blackjack_state"]

_STICK, _HIT = 0, 1
_LOSE, _DRAW, _WIN = 200, 201, 202


def blackjack(*, discount: float = 1.0) -> FiniteMDP:
    """Return blackjack as in Sutton & Barto, Example 5.1: stick (0) or hit (1) against a dealer.

    A state is the player's sum, 12 to 21 (below, one always hits), the card that the dealer shows,
    1 to 10, and whether the player has an ace that counts 11; see `blackjack_state`. Cards come
    from an infinite deck, a ten four times as often. The dealer sticks on 17 or more. Losing pays
    −1, winning +1, and each has a terminal state, like a draw. A natural counts as any other 21.
    The start is the exact distribution of the deal.

    Sticking on 20 and 21 only is worth −0.27726 with sum 13, an ace and a 2 shown (Example 5.4).

    >>> m = blackjack()
    >>> float(m.reward[blackjack_state(20, dealer=10, usable_ace=False), 0])
    0.435
    """
    transitions = np.zeros((203, 2, 203))
    start = np.zeros(203)
    for total, dealer, ace, state in _states():
        final = _dealer(*_added(0, False, dealer))
        for at, chance in enumerate(final):
            outcome = _WIN if at == 5 or 17 + at < total else _LOSE if 17 + at > total else _DRAW
            transitions[state, _STICK, outcome] += chance
        for card, chance in _CARDS:
            after, usable = _added(total, ace, card)
            next_state = _LOSE if after > 21 else blackjack_state(after, dealer, usable)
            transitions[state, _HIT, next_state] += chance
        start[state] = dict(_CARDS)[dealer] * _deal(0, False)[total - 12, int(ace)]
    matrix, paid = csr_array(transitions.reshape(-1, 203)), np.zeros(203)
    paid[[_LOSE, _WIN]] = -1.0, 1.0
    names = [f"{t}{' with ace' if a else ''}, dealer {d}" for t, d, a, _ in _states()]
    return from_csr(
        matrix,
        None,
        discount,
        outcome_reward=paid[matrix.indices],
        terminal=[_LOSE, _DRAW, _WIN],
        start=start,
        layout=Layout(states=(*names, "lose", "draw", "win"), actions=("stick", "hit")),
        name="blackjack",
    )


def blackjack_state(total: int, dealer: int, usable_ace: bool) -> int:
    """Return the number of a state: ((sum − 12)·10 + dealer − 1)·2 + usable ace.

    >>> blackjack_state(13, dealer=2, usable_ace=True)
    23
    """
    return ((total - 12) * 10 + dealer - 1) * 2 + int(usable_ace)


_CARDS = [(card, (4 if card == 10 else 1) / 13) for card in range(1, 11)]


def _states() -> Iterator[tuple[int, int, bool, int]]:
    for total in range(12, 22):
        for dealer in range(1, 11):
            for ace in (False, True):
                yield total, dealer, ace, blackjack_state(total, dealer, ace)


def _added(total: int, usable: bool, card: int) -> tuple[int, bool]:
    """The sum with one more card, and whether an ace counts 11 in it."""
    if card == 1 and total + 11 <= 21:
        return total + 11, True
    total += card
    return (total - 10, False) if total > 21 and usable else (total, usable)


@cache
def _dealer(total: int, usable: bool) -> Float[ndarray, " 6"]:
    """The probabilities of ending with 17, ..., 21, and of going bust."""
    if total >= 17:
        return np.eye(6)[min(total, 22) - 17]
    return sum((p * _dealer(*_added(total, usable, card)) for card, p in _CARDS), np.zeros(6))


@cache
def _deal(total: int, usable: bool) -> Float[ndarray, "sum ace"]:
    """The probabilities of the player's first sum from 12 to 21, without and with a usable ace."""
    if total >= 12:
        out = np.zeros((10, 2))
        out[total - 12, int(usable)] = 1
        return out
    return sum((p * _deal(*_added(total, usable, card)) for card, p in _CARDS), np.zeros((10, 2)))
