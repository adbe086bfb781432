"""Orders are permutations, and go against the flow."""

import numpy as np
from hypothesis import given, settings

from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.kernels import greedy_sweep, rows_of
from logpi.worlds.mdp.planning.ordering import backward_order, flow_order

from .fast_cases import random_model, seeds


def a_policy(m, seed):
    v = np.random.default_rng(seed).normal(size=m.states)
    policy = np.full(m.states, -1, dtype=np.int32)
    greedy_sweep(rows_of(m), v, np.empty(m.states), policy)
    return policy


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_orders_are_permutations(seed):
    m = random_model(seed)
    sources = np.random.default_rng(seed).integers(0, m.states, 2)
    order = backward_order(rows_of(m), sources)
    assert np.array_equal(np.sort(order), np.arange(m.states))
    assert set(order[: len(set(sources))]) == set(sources)
    assert np.array_equal(np.sort(flow_order(rows_of(m), a_policy(m, seed))), np.arange(m.states))


def test_backward_order_is_by_distance():
    m = zoo.slip_grid(7, 9, goal=(3, 4))
    order = backward_order(rows_of(m), np.array([3 * 9 + 4]))
    row, column = np.divmod(order.astype(int), 9)
    assert (np.diff(abs(row - 3) + abs(column - 4)) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_flow_order_meets_the_likeliest_successor_first(seed):
    m = random_model(seed)
    policy = a_policy(m, seed)
    order = flow_order(rows_of(m), policy).astype(int)
    place, target = np.argsort(order), np.arange(m.states)
    for s in np.flatnonzero(policy >= 0):
        successors, chance = m.row(s, policy[s])
        others = successors != s
        if others.any():
            target[s] = successors[others][chance[others].argmax()]
    on_circle = {s for s in range(m.states) if s in walk(target, target[s], m.states)}
    for s in range(m.states):
        if s not in on_circle:
            assert place[target[s]] < place[s]
    # of each circle, all but one state come after the one that they lead to
    late = [s for s in on_circle if place[target[s]] > place[s]]
    circles = {min(walk(target, s, m.states)) for s in on_circle if target[s] != s}
    assert len(late) == len(circles)


def walk(target, s, steps):
    return {s := target[s] for _ in range(steps)} | {s}
