"""Random small models and policies, and the few whose answers are known by hand."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import torch
from scipy.sparse import csr_array

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.policy import LinearSoftmax, TabularSoftmax


def random_model(
    seed, *, states=3, actions=2, discount=0.9, ends=True, by_outcome=False, horizon=None
):
    """A model with sparse rows, disallowed actions and, with `ends`, a terminal last state.

    With `ends` every action may end the episode; with `horizon` states are levels in time.
    """
    g = np.random.default_rng(seed)
    allowed = g.random((states, actions)) < 0.7
    allowed[np.arange(states), g.integers(actions, size=states)] = True
    p = g.dirichlet(np.ones(states), size=(states, actions))
    p *= g.random(p.shape) < 0.7
    p[:, :, -1] += 0.2  # no row is empty, and the last state is never far
    if ends:
        allowed[-1] = False
    if horizon is not None:  # only upwards
        p *= np.arange(states)[:, None, None] < np.arange(states)
        p[-1, :, -1] = 1
    p /= p.sum(2, keepdims=True)
    move = csr_array(p.reshape(states * actions, states))
    start = g.dirichlet(np.ones(states))
    reward, outcome = g.normal(size=(states, actions)), None
    if by_outcome:
        outcome = g.normal(size=move.nnz)
        paid = csr_array((outcome * move.data, move.indices, move.indptr), shape=move.shape)
        reward = np.asarray(paid.sum(axis=1)).reshape(states, actions)
    return FiniteMDP(
        transitions=move,
        reward=reward,
        discount=discount,
        start=start,
        allowed=allowed,
        outcome_reward=outcome,
    )


def random_policy(m, seed, *, linear=False):
    """A tabular softmax, or one that is linear in fewer features than there are pairs."""
    g = np.random.default_rng([seed, 1])
    if linear:
        features = g.normal(size=(m.states, m.actions, 3))
        return LinearSoftmax(m, features, weights=g.normal(size=3))
    return TabularSoftmax(m, logits=g.normal(size=(m.states, m.actions)))


def corridor():
    """The short corridor: three states that look alike, and in the second one left is right."""
    p = np.zeros((4, 2, 4))
    p[0, 0, 0] = p[0, 1, 1] = p[1, 0, 2] = p[1, 1, 0] = p[2, 0, 1] = p[2, 1, 3] = 1
    p[3, :, 3] = 1
    return FiniteMDP(
        transitions=csr_array(p.reshape(8, 4)),
        reward=np.array([[-1.0, -1.0]] * 3 + [[0.0, 0.0]]),
        discount=1.0,
        start=np.array([1.0, 0.0, 0.0, 0.0]),
        allowed=np.array([[True, True]] * 3 + [[False, False]]),
        name="corridor",
    )


def corridor_policy(p):
    """Right with probability p in every state: one feature, of the right action alone."""
    m = corridor()
    features = np.zeros((4, 2, 1))
    features[:, 1] = 1
    return m, LinearSoftmax(m, features, weights=np.array([np.log(p / (1 - p))]))


def bandit(reward, p, *, states=1):
    """`states` bandits, one after the first draw, and a policy that pulls arm a with p[a]."""
    arms, size = len(p), states + 1
    move = np.zeros((size, arms, size))
    move[:, :, -1] = 1
    m = FiniteMDP(
        transitions=csr_array(move.reshape(size * arms, size)),
        reward=np.vstack([np.broadcast_to(reward, (states, arms)), np.zeros(arms)]),
        discount=1.0,
        start=np.append(np.full(states, 1 / states), 0.0),
        allowed=np.append(np.ones((states, arms), bool), np.zeros((1, arms), bool), axis=0),
        name="bandit",
    )
    return m, TabularSoftmax(m, logits=np.log(np.broadcast_to(p, (size, arms))))


def capital():
    """Five tokens that follow of themselves, then Paris, Lyon or Marseille: one state a prefix."""
    states, arms = 7, 3
    move, allowed = np.zeros((states, arms, states)), np.zeros((states, arms), bool)
    for s in range(5):
        move[s, 0, s + 1], allowed[s, 0] = 1, True
    move[5, :, 6], allowed[5] = 1, True
    move[move.sum(2) == 0, 6] = 1
    reward = np.zeros((states, arms))
    reward[5] = 10, -10, -10
    policy = np.zeros((states, arms))
    policy[:5, 0], policy[5] = 1, (0.9, 0.08, 0.02)
    return FiniteMDP(
        transitions=csr_array(move.reshape(states * arms, states)),
        reward=reward,
        discount=1.0,
        start=np.eye(states)[0],
        allowed=allowed,
        policy=policy,
        name="capital",
    )


def cases(*, discounts=(0.0, 0.5, 0.9, 1.0), **fixed):
    """Seeds with the options of a model, for hypothesis: (model, policy)."""

    def built(seed, discount, linear, by_outcome):
        m = random_model(seed, discount=discount, by_outcome=by_outcome, **fixed)
        return m, random_policy(m, seed, linear=linear)

    return st.builds(
        built, st.integers(0, 10_000), st.sampled_from(discounts), st.booleans(), st.booleans()
    )


def gap(x, y):
    """The largest difference, relative to the larger of 1 and y."""
    x, y = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (x, y))
    return float((x - y).abs().max() / y.abs().max().clamp(min=1))
