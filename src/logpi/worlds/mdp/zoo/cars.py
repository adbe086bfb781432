"""Jack's car rental: Sutton & Barto, Example 4.2 and Exercise 4.7, with exact Poisson tails."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.special import gammaln, pdtrc, xlogy

from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.tables import check_at_least

__all__ = ["jacks_cars"]


def jacks_cars(
    capacity: int = 20,
    *,
    requests: tuple[float, float] = (3.0, 4.0),
    returns: tuple[float, float] = (3.0, 2.0),
    most_moved: int = 5,
    rent: float = 10.0,
    move_cost: float = 2.0,
    free_moves: int = 0,
    parking: tuple[int, float] | None = None,
    constant_returns: bool = False,
    discount: float = 0.9,
) -> FiniteMDP:
    """Return Jack's car rental of Sutton & Barto, Example 4.2: how many cars to move overnight.

    State i·(capacity + 1) + j: cars at the two places in the evening. Action a moves
    a − `most_moved` to the second (below 0: back) at 2 each. By day Poisson 3 and 4 customers pay
    10 for each car there is, and Poisson 3 and 2 cars come back (the means, by `constant_returns`),
    as far as there is room. No tail is cut. Exercise 4.7: `free_moves=1` to the second place, and
    `parking=(10, 4.0)`, 4 where more than 10 cars stay overnight.

    >>> jacks_cars(capacity=2, most_moved=1).layout.actions
    ('-1', '0', '+1')
    """
    check_at_least(capacity=(capacity, 1), most_moved=(most_moved, 0), free_moves=(free_moves, 0))
    n, moving = capacity + 1, np.arange(-most_moved, most_moved + 1)
    i, j = np.divmod(np.arange(n * n)[:, None], n)
    allowed = (moving <= i) & (-moving <= j)
    morning = np.clip([i - moving, j + moving], 0, capacity)  # [place, S, A]
    paid = move_cost * np.maximum(np.abs(moving) - free_moves * (moving > 0), 0)
    if parking:
        paid = paid + parking[1] * (morning > parking[0]).sum(0)
    rates = zip(requests, returns, strict=True)
    day, day_2 = (_day(capacity, *rate, constant_returns) for rate in rates)
    joint = np.einsum("sai,saj,sa->saij", day[0][morning[0]], day_2[0][morning[1]], allowed)
    earned = rent * (day[1][morning[0]] + day_2[1][morning[1]]) - paid
    return from_csr(
        csr_array(joint.reshape(-1, n * n)), np.where(allowed, earned, 0.0), discount,
        allowed=allowed, layout=_layout(n, moving), name="jacks_cars",
    )  # fmt: skip


def _layout(n: int, moving: ndarray) -> Layout:
    names = tuple(f"({i}, {j})" for i in range(n) for j in range(n))
    return Layout(
        states=names, actions=tuple(f"{a:+d}" if a else "0" for a in moving), rows=n, columns=n
    )


def _day(
    capacity: int, request: float, back: float, constant: bool
) -> tuple[Float[ndarray, "n n"], Float[ndarray, " n"]]:
    """Return p(cars in the evening | cars in the morning) of one place, and its mean rentals."""
    morning = np.arange(capacity + 1)
    asked = _capped(request, capacity)  # [n, rented]
    kept = morning[:, None] - morning  # cars left when so many are rented
    if constant:
        evening = np.eye(capacity + 1)[np.minimum(morning + round(back), capacity)]
    else:
        evening = _filled(back, capacity)  # [left, evening]
    chain = np.einsum("mr,mre->me", asked, evening[np.maximum(kept, 0)])
    return chain, asked @ morning


def _capped(rate: float, capacity: int) -> Float[ndarray, "n n"]:
    """[n, k]: the probability that min(Poisson, n) is k."""
    n, k = np.arange(capacity + 1)[:, None], np.arange(capacity + 1)
    return np.where(k < n, _exactly(k, rate), np.where(k == n, _at_least(k, rate), 0.0))


def _filled(rate: float, capacity: int) -> Float[ndarray, "n n"]:
    """[n, k]: the probability that min(n + Poisson, capacity) is k."""
    n, k = np.arange(capacity + 1)[:, None], np.arange(capacity + 1)
    return np.where(k < capacity, _exactly(k - n, rate), _at_least(k - n, rate))


def _exactly(k: ndarray, rate: float) -> ndarray:
    count = np.maximum(k, 0)
    return np.where(k < 0, 0.0, np.exp(xlogy(count, rate) - rate - gammaln(count + 1)))


def _at_least(k: ndarray, rate: float) -> ndarray:
    return np.where(k <= 0, 1.0, pdtrc(np.maximum(k - 1, 0), rate))
