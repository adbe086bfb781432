"""The small examples of Sutton & Barto (2018) that are no grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import comb

from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.tables import (
    check_at_least,
    check_probability,
    from_outcomes,
    normal_points,
    uniform_over,
)

__all__ = [
    "access_control",
    "baird",
    "gambler",
    "infinite_variance",
    "maximisation_bias",
    "recycling_robot",
    "short_corridor",
]


def gambler(
    goal: int = 100,
    *,
    p_heads: float = 0.4,
    r_goal: float = 1.0,
    zero_stake: bool = False,
    start: int | None = None,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the gambler's problem of Sutton & Barto, Example 4.3: stake capital on a coin.

    The state is the capital; 0 and `goal` are terminal. Action a stakes a ≤ min(s, goal − s), which
    is won with probability `p_heads`; reaching the goal pays 1, so v is the probability of winning.
    Staking nothing, which could go on for ever, is left out unless `zero_stake`.

    >>> gambler(4, p_heads=0.4).row(2, 2)
    (array([0, 4], dtype=int32), array([0.6, 0.4]))
    """
    check_at_least(goal=(goal, 2))
    check_probability(p_heads=p_heads)
    capital, stake = np.arange(goal + 1)[:, None], np.arange(goal // 2 + 1)
    allowed = (stake <= np.minimum(capital, goal - capital)) & (zero_stake | (stake > 0))
    successor = np.stack([capital + stake, capital - stake], 2).clip(0, goal)
    return from_outcomes(
        successor,
        [p_heads, 1 - p_heads],
        np.where(successor == goal, r_goal, 0.0),
        discount,
        allowed=allowed,
        terminal=[0, goal],
        start=start,
        layout=Layout(
            states=tuple(f"{c}" for c in range(goal + 1)),
            actions=tuple(f"stake {a}" for a in stake),
            marks={"target": (goal,)},
        ),
        name="gambler",
    )


def short_corridor(*, r_step: float = -1.0, discount: float = 1.0) -> FiniteMDP:
    """Return the short corridor of Sutton & Barto, Example 13.1: left and right, reversed in s1.

    Three states and the goal in a row; −1 a step. To features that do not tell the states apart, a
    policy is one number p = π(right), and J(p) = (2p − 4)/(p(1 − p)), at best −11.66 at 0.586.

    >>> short_corridor().row(1, 1)[0]  # right, in s1, leads left
    array([0], dtype=int32)
    """
    successor = np.array([[0, 1], [2, 0], [1, 3], [3, 3]])
    return from_outcomes(
        successor[:, :, None],
        1.0,
        r_step,
        discount,
        terminal=[3],
        start=0,
        layout=Layout(
            states=("s0", "s1", "s2", "goal"),
            actions=("left", "right"),
            rows=1,
            columns=4,
            moves=((0, -1), (0, 1)),
            marks={"start": (0,), "target": (3,)},
        ),
        name="short_corridor",
    )


def infinite_variance(*, p_loop: float = 0.9, discount: float = 1.0) -> FiniteMDP:
    """Return Sutton & Barto, Example 5.5: importance sampling of infinite variance.

    Left stays with probability 0.9 and pays 0, or ends with 0.1 and pays 1; right ends and pays 0.
    The target policy takes left, so v = 1; `policy` is the behaviour, which takes each with 1/2.
    The ordinary estimator's second moment is 0.1 Σ 0.9ᵏ 2ᵏ⁺¹ = ∞.

    >>> infinite_variance().reward[0]
    array([0.1, 0. ])
    """
    check_probability(p_loop=p_loop)
    successor = np.array([[[0, 1], [1, 1]], [[1, 1], [1, 1]]])
    return from_outcomes(
        successor,
        [[p_loop, 1 - p_loop], [1.0, 0.0]],
        [[[0.0, 1.0], [0.0, 0.0]]],
        discount,
        terminal=[1],
        policy=[[0.5, 0.5], [0.0, 0.0]],
        layout=Layout(states=("s", "end"), actions=("left", "right")),
        name="infinite_variance",
    )


def maximisation_bias(
    actions: int = 10,
    *,
    mean: float = -0.1,
    deviation: float = 1.0,
    points: int = 11,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return Sutton & Barto, Example 6.7 (Fig 6.5), where the maximum of noisy values misleads.

    In A, left leads to B and right to the end, both paying 0. In B each of `actions` actions ends
    and pays a reward of mean −0.1 and variance 1. The book's is normal; here it takes one of
    `points` values that have the same moments up to 2·points − 1 (`normal_points`), and every value
    has a terminal state. Going left, which Q-learning prefers at first, is worth −0.1.

    >>> m = maximisation_bias()
    >>> m.states, float(m.reward[1, 0])
    (14, -0.1)
    """
    check_at_least(actions=(actions, 2))
    noise, weight = normal_points(deviation, points)
    ends = 3 + np.arange(len(noise))
    states = 3 + len(noise)
    successor = np.full((states, actions, len(noise)), 2)
    successor[0, 0], successor[1] = 1, ends
    reward = np.zeros((states, actions, len(noise)))
    reward[1] = mean + noise
    allowed = np.zeros((states, actions), bool)
    allowed[0, :2] = allowed[1] = True
    names = ("A", "B", "end", *(f"paid {mean + x:.3g}" for x in noise))
    layout = Layout(states=names, actions=("left", "right", *(f"b{a}" for a in range(2, actions))))
    return from_outcomes(
        successor, weight, reward, discount, allowed=allowed, start=0, layout=layout,
        name="maximisation_bias",
    )  # fmt: skip


def recycling_robot(
    *,
    alpha: float = 0.9,
    beta: float = 0.4,
    r_search: float = 2.0,
    r_wait: float = 1.0,
    r_depleted: float = -3.0,
    discount: float = 0.9,
) -> FiniteMDP:
    """Return the recycling robot of Sutton & Barto, Example 3.3: search, wait, or recharge.

    With a high battery searching keeps it high with probability `alpha`; with a low one it stays
    low with probability `beta`, and otherwise the robot is rescued at `r_depleted` and recharged.
    Recharging, when low only, pays 0. The book leaves the numbers open; r_search > r_wait.

    >>> m = recycling_robot()
    >>> m.row(1, 0), m.reward[1]
    ((array([0, 1], dtype=int32), array([0.6, 0.4])), array([-1., 1., 0.]))
    """
    check_probability(alpha=alpha, beta=beta)
    high, low = 0, 1
    successor = np.array(
        [[[high, low], [high, low], [high, low]], [[low, high], [low, high], [high, low]]]
    )
    search = [[alpha, 1 - alpha], [beta, 1 - beta]]
    probability = [[p, [1.0, 0.0], [1.0, 0.0]] for p in search]
    wait, free = [r_wait, 0.0], [0.0, 0.0]
    reward = [[[r_search] * 2, wait, free], [[r_search, r_depleted], wait, free]]
    return from_outcomes(
        successor,
        probability,
        reward,
        discount,
        allowed=[[True, True, False], [True, True, True]],
        layout=Layout(states=("high", "low"), actions=("search", "wait", "recharge")),
        name="recycling_robot",
    )


def baird(*, discount: float = 0.99) -> FiniteMDP:
    """Return Baird's counterexample as in Sutton & Barto, section 11.2: seven states, no reward.

    Dashed leads to one of the first six states, uniformly, solid to the seventh. The target policy
    takes solid; `policy`, the behaviour, takes dashed with probability 6/7. Every value is 0, and
    off-policy semi-gradient TD(0) on eight features (2w₁ + w₈, ..., 2w₆ + w₈, w₇ + 2w₈) diverges.

    >>> baird().policy[0]
    array([0.857, 0.143])
    """
    successor = np.stack([np.tile(np.arange(6), (7, 1)), np.full((7, 6), 6)], 1)
    return from_outcomes(
        successor,
        1 / 6,
        0.0,
        discount,
        policy=np.tile([6 / 7, 1 / 7], (7, 1)),
        layout=Layout(states=tuple(f"s{i + 1}" for i in range(7)), actions=("dashed", "solid")),
        name="baird",
    )


def access_control(
    servers: int = 10,
    *,
    rewards: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
    p_free: float = 0.06,
    discount: float = 0.99,
) -> FiniteMDP:
    """Return the access-control queue of Sutton & Barto, Example 10.2: reject or accept a customer.

    State k·free + i: so many servers are free and the customer in front has priority i of k, which
    pays `rewards[i]` when accepted. Then every busy server becomes free with probability `p_free`,
    and the next customer's priority is uniform. It goes on for ever: the book's is the average
    reward.

    >>> access_control().allowed[:5, 1]  # with no free server nobody is accepted
    array([False, False, False, False, True])
    """
    check_at_least(servers=(servers, 1))
    check_probability(p_free=p_free)
    kinds = len(rewards)
    free, kind = np.divmod(np.arange((servers + 1) * kinds), kinds)
    left = np.maximum(free[:, None] - [0, 1], 0)  # [S, A], when the decision is made
    n, k = np.arange(servers + 1)[:, None], np.arange(servers + 1)
    freed = comb(n, k) * p_free**k * (1 - p_free) ** np.maximum(n - k, 0)  # [busy, freed]
    after = np.minimum(left[:, :, None] + k, servers)
    successor = (after[..., None] * kinds + np.arange(kinds)).reshape(len(free), 2, -1)
    probability = np.repeat(freed[servers - left] / kinds, kinds, axis=2)
    names = tuple(f"{f} free, pays {rewards[i]:g}" for f, i in zip(free, kind, strict=True))
    return from_outcomes(
        successor,
        probability,
        np.asarray(rewards, float)[kind][:, None] * [0.0, 1.0],
        discount,
        allowed=np.stack([free >= 0, free > 0], 1),
        start=uniform_over(len(free), servers * kinds + np.arange(kinds)),
        layout=Layout(states=names, actions=("reject", "accept"), rows=servers + 1, columns=kinds),
        name="access_control",
    )
