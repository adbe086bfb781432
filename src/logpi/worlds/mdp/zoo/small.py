"""The other small classics: notebooks and lectures, Howard, Puterman, and any chain you give."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.csr import from_csr
from logpi.worlds.mdp.model import FiniteMDP, Layout
from logpi.worlds.mdp.zoo.grids import grid_layout
from logpi.worlds.mdp.zoo.tables import check_probability, from_outcomes

__all__ = [
    "apple",
    "dice_coin",
    "puterman_two_state",
    "reward_process",
    "student",
    "student_process",
    "taxicab",
    "toymaker",
]


def apple(*, discount: float = 0.9) -> FiniteMDP:
    """Return the two cells with an apple in the second: reaching it pays 1, a wall −1, back 0.

    Actions are left and right; leaving the world bounces. chunhuizhang, "modern AI for beginners",
    chapter 2 on MDPs.

    >>> apple().reward
    array([[-1., 1.],
           [ 0., -1.]])
    """
    successor = np.array([[0, 1], [0, 1]])
    moves = {"left": (0, -1), "right": (0, 1)}
    return from_outcomes(
        successor[:, :, None],
        1.0,
        [[-1.0, 1.0], [0.0, -1.0]],
        discount,
        layout=grid_layout(1, 2, moves, {"target": [1]}, names=["L1", "L2"]),
        name="apple",
    )


def dice_coin(
    *, p_even: float = 0.8, p_odd: float = 0.5, faces: int = 6, discount: float = 1.0
) -> FiniteMDP:
    """Return a die and then a coin: heads, more probable where the die is even, pays its number.

    The start is uniform over the faces, so the mean reward of a game is 2.35. chunhuizhang, "modern
    AI for beginners", chapter 3 on the Bellman equation.

    >>> m = dice_coin()
    >>> float(m.start @ m.reward[:, 0])
    2.35
    """
    check_probability(p_even=p_even, p_odd=p_odd)
    face = np.arange(1, faces + 1)
    heads = np.append(np.where(face % 2 == 0, p_even, p_odd), [0, 0])
    successor = np.tile([faces, faces + 1], (faces + 2, 1))[:, None]
    return from_outcomes(
        successor,
        np.stack([heads, 1 - heads], 1)[:, None],
        (np.append(face, [0, 0])[:, None] * [1.0, 0.0])[:, None],
        discount,
        terminal=[faces, faces + 1],
        layout=Layout(states=(*map(str, face), "heads", "tails"), actions=("flip",)),
        name="dice_coin",
    )


def reward_process(
    transitions: ArrayLike = (
        (0.3, 0.1, 0.6, 0.0),
        (0.1, 0.3, 0.0, 0.6),
        (0.1, 0.0, 0.3, 0.6),
        (0.0, 0.1, 0.1, 0.8),
    ),
    rewards: ArrayLike = 0.0,
    *,
    discount: float = 0.9,
) -> FiniteMDP:
    """Return a Markov reward process [S, S] as an MDP of one action; r(s), or r(s, s′), is paid.

    A state whose row holds zeros alone is terminal. The default is the chain of Zhao, Fig 8.5,
    whose stationary distribution is (0.0345, 0.1084, 0.1330, 0.7241).

    >>> reward_process([[0.5, 0.5], [0.0, 0.0]], [1.0, 0.0]).terminal
    array([False, True])
    """
    matrix = np.asarray(transitions, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConfigError(f"`transitions` is {list(matrix.shape)} but must be [states, states].")
    p = csr_array(matrix)
    r = np.asarray(rewards, float)
    arriving = r.ndim == 2
    return from_csr(
        p,
        None if arriving else np.broadcast_to(r, len(matrix))[:, None],
        discount,
        outcome_reward=r[matrix != 0] if arriving else None,
        terminal=np.flatnonzero((matrix == 0).all(1)),
        layout=Layout(actions=("step",)),
        name="reward_process",
    )


_STUDENT = ("class 1", "class 2", "class 3", "pass", "pub", "facebook", "sleep")


def student_process(*, discount: float = 1.0) -> FiniteMDP:
    """Return the student's Markov reward process of Silver's lecture 2 on reinforcement learning.

    Classes 1 to 3, pass, pub, facebook, and sleep, which is terminal; leaving a state pays its
    reward. Undiscounted the values are −13 (printed −12.5), 1.5, 4.3, 10, 0.8, and −23.

    >>> student_process().reward[:6, 0]
    array([-2., -2., -2., 10., 1., -1.])
    """
    chain = np.zeros((7, 7))
    chain[0, [1, 5]] = 0.5
    chain[1, [2, 6]] = 0.8, 0.2
    chain[2, [3, 4]] = 0.6, 0.4
    chain[3, 6] = 1.0
    chain[4, [0, 1, 2]] = 0.2, 0.4, 0.4
    chain[5, [0, 5]] = 0.1, 0.9
    m = reward_process(chain, [-2, -2, -2, 10, 1, -1, 0], discount=discount)
    layout = Layout(states=_STUDENT, actions=("step",))
    return m.having(layout=layout, name="student_process")


def student(*, discount: float = 1.0) -> FiniteMDP:
    """Return the student's decision process of Silver's lecture 2 on reinforcement learning.

    Study pays −2 in the first two classes and +10 in the third, which ends it; facebook pays −1,
    quitting it and sleeping 0, the pub +1 and leads back to a class (0.2, 0.4, 0.4). Undiscounted
    the best values of facebook and the classes are 6, 6, 8, 10; of the uniform policy −2.3, −1.3,
    2.7, 7.4.

    >>> student().allowed[0]
    array([False, True, True, False, False])
    """
    facebook, c1, c2, c3, sleep = range(5)
    actions = ("study", "facebook", "quit", "sleep", "pub")
    table = {
        (facebook, 1): ([(facebook, 1.0)], -1.0),
        (facebook, 2): ([(c1, 1.0)], 0.0),
        (c1, 0): ([(c2, 1.0)], -2.0),
        (c1, 1): ([(facebook, 1.0)], -1.0),
        (c2, 0): ([(c3, 1.0)], -2.0),
        (c2, 3): ([(sleep, 1.0)], 0.0),
        (c3, 0): ([(sleep, 1.0)], 10.0),
        (c3, 4): ([(c1, 0.2), (c2, 0.4), (c3, 0.4)], 1.0),
    }
    probability, reward = np.zeros((5, 5, 5)), np.zeros((5, 5))
    for (state, action), (outcomes, earned) in table.items():
        reward[state, action] = earned
        for successor, p in outcomes:
            probability[state, action, successor] = p
    allowed = probability.any(2)
    return from_csr(
        csr_array(probability.reshape(25, 5)),
        reward,
        discount,
        allowed=allowed,
        start=c1,
        layout=Layout(
            states=("facebook", "class 1", "class 2", "class 3", "sleep"), actions=actions
        ),
        name="student",
    )


def puterman_two_state(*, discount: float = 0.95) -> FiniteMDP:
    """Return the two-state example of Puterman (1994), section 3.1: stay for 5, or leave for 10.

    In s1 the first action pays 5 and stays with probability 1/2, the second pays 10 and leaves; s2
    pays −1 for ever. With discount 0.95, v* = (−8.571, −20): section 6.2.

    >>> puterman_two_state().reward
    array([[ 5., 10.],
           [-1., 0.]])
    """
    return from_outcomes(
        np.array([[[0, 1], [1, 1]], [[1, 1], [1, 1]]]),
        [[0.5, 0.5], [1.0, 0.0]],
        [[5.0, 10.0], [-1.0, 0.0]],
        discount,
        allowed=[[True, True], [True, False]],
        layout=Layout(states=("s1", "s2"), actions=("a1", "a2")),
        name="puterman_two_state",
    )


def toymaker(*, discount: float = 0.9) -> FiniteMDP:
    """Return the toymaker of Howard (1960): a successful toy or not; spend on it or not.

    The second action advertises a toy that sells, or researches for a better one. Saving both times
    gains 1 a week on average, spending both times 2; with discount 0.9, v* = (22.2, 12.3).

    >>> toymaker().reward
    array([[ 6., 4.],
           [-3., -5.]])
    """
    probability = [[[0.5, 0.5], [0.8, 0.2]], [[0.4, 0.6], [0.7, 0.3]]]
    reward = [[[9.0, 3.0], [4.0, 4.0]], [[3.0, -7.0], [1.0, -19.0]]]
    return from_outcomes(
        np.broadcast_to([0, 1], (2, 2, 2)),
        probability,
        reward,
        discount,
        layout=Layout(states=("success", "failure"), actions=("save", "spend")),
        name="toymaker",
    )


def taxicab(*, discount: float = 0.9) -> FiniteMDP:
    """Return the taxicab of Howard (1960): three towns; cruise, drive to the stand, or wait.

    Waiting for a radio call is not possible in town B. The best gain is 13.34 a trip, by driving to
    the stand in every town; cruising everywhere gains 9.2.

    >>> taxicab().reward
    array([[ 8. , 2.75, 4.25],
           [16. , 15. , 0. ],
           [ 7. , 4. , 4.5 ]])
    """
    p = [
        [[1 / 2, 1 / 4, 1 / 4], [1 / 16, 3 / 4, 3 / 16], [1 / 4, 1 / 8, 5 / 8]],
        [[1 / 2, 0, 1 / 2], [1 / 16, 7 / 8, 1 / 16], [0, 0, 0]],
        [[1 / 4, 1 / 4, 1 / 2], [1 / 8, 3 / 4, 1 / 8], [3 / 4, 1 / 16, 3 / 16]],
    ]
    r = [
        [[10, 4, 8], [8, 2, 4], [4, 6, 4]],
        [[14, 0, 18], [8, 16, 8], [0, 0, 0]],
        [[10, 2, 8], [6, 4, 2], [4, 0, 8]],
    ]
    return from_outcomes(
        np.broadcast_to([0, 1, 2], (3, 3, 3)),
        p,
        r,
        discount,
        allowed=[[True] * 3, [True, True, False], [True] * 3],
        layout=Layout(states=("A", "B", "C"), actions=("cruise", "stand", "wait")),
        name="taxicab",
    )
