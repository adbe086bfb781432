"""Each side's solver, called as its documentation says, from a FiniteMDP to a value.

A side has two steps, so that building its own kind of model is not counted: `prepare(m)` returns
a function of the error that is asked for, which returns the value v [S].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.sparse import csr_matrix

from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["SIDES", "Solve"]

Solve = Callable[[float], np.ndarray]
"""From the error that is asked for to a value."""


def logpi(m: FiniteMDP, method: str = "auto") -> Solve:
    """Ours, which is asked for a relative error: it must find |v*| by itself."""
    from logpi.worlds.mdp.planning import auto, elimination, modified

    solve = {
        "auto": auto.solve_auto,
        "modified": modified.modified_policy_iteration,
        "flow": elimination.flow_policy_iteration,
    }[method]

    def run(error: float) -> np.ndarray:
        found = solve(m, tolerance=1e-6, relative=True)
        print(f"   {found.method}; {found.sweeps} sweeps; bound {found.bound:.2g}", flush=True)
        return found.value

    return run


def pairs(m: FiniteMDP) -> tuple[csr_matrix, np.ndarray, np.ndarray, np.ndarray]:
    """(transitions, reward, state, action) of the allowed pairs; terminal states loop for 0."""
    t, allowed, reward = m.transitions, m.allowed.copy(), m.reward.copy()
    matrix = csr_matrix((t.data, t.indices, t.indptr), shape=t.shape)
    ends = np.flatnonzero(m.terminal)
    allowed[ends, 0] = True
    if len(ends):
        matrix = matrix.tolil() if len(ends) > 1000 else _looping(matrix, ends, m.actions)
        reward[ends] = 0.0
    state, action = np.nonzero(allowed)
    keep = allowed.ravel()
    return (matrix if keep.all() else matrix[keep]), reward.ravel()[keep], state, action


def _looping(matrix: csr_matrix, ends: np.ndarray, actions: int) -> csr_matrix:
    """The same matrix, where the first action of each end leads back to it."""
    data, indices, lengths = [], [], np.diff(matrix.indptr)
    last = 0
    for s in ends:
        row = s * actions
        begin, end = matrix.indptr[last], matrix.indptr[row]
        data += [matrix.data[begin:end], [1.0]]
        indices += [matrix.indices[begin:end], [s]]
        lengths[row : row + actions] = [1] + [0] * (actions - 1)
        last = row + actions
    data.append(matrix.data[matrix.indptr[last] :])
    indices.append(matrix.indices[matrix.indptr[last] :])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(matrix.indptr.dtype)
    indices = np.concatenate(indices).astype(matrix.indices.dtype)
    return csr_matrix((np.concatenate(data), indices, indptr), shape=matrix.shape)


def quantecon(m: FiniteMDP, k: int = 20) -> Solve:
    """Modified policy iteration, whose value is within ε/2."""
    from quantecon.markov import DiscreteDP

    matrix, reward, state, action = pairs(m)
    problem = DiscreteDP(reward, matrix, m.discount, state, action)

    def run(error: float) -> np.ndarray:
        found = problem.solve(method="mpi", epsilon=2 * error, max_iter=10**9, k=k)
        print(f"   modified policy iteration, {found.num_iter} improvements", flush=True)
        return found.v

    return run


def mdpsolver(m: FiniteMDP) -> Solve:
    """Modified policy iteration with its defaults, on one thread."""
    import mdpsolver as package

    matrix, reward, state, _ = pairs(m)
    rewards: list[list[float]] = [[] for _ in range(m.states)]
    chances: list[list[list[float]]] = [[] for _ in range(m.states)]
    columns: list[list[list[int]]] = [[] for _ in range(m.states)]
    for row, s in enumerate(state):
        here = slice(matrix.indptr[row], matrix.indptr[row + 1])
        rewards[s].append(float(reward[row]))
        chances[s].append(matrix.data[here].tolist())
        columns[s].append(matrix.indices[here].tolist())
    model = package.model()
    model.mdp(discount=m.discount, rewards=rewards, tranMatProbs=chances, tranMatColumns=columns)

    def run(error: float) -> np.ndarray:
        model.solve(algorithm="mpi", tolerance=error, parallel=False, postProcessing=True)
        return np.array(model.getValueVector())

    return run


def pymdptoolbox(m: FiniteMDP) -> Solve:
    """Modified policy iteration of pymdptoolbox; a matrix for each action."""
    from mdptoolbox.mdp import PolicyIterationModified

    matrix, reward, _, _ = pairs(m)
    ends = np.flatnonzero(m.terminal)
    if len(ends):  # every action everywhere: the ends loop whatever one does
        t = m.transitions
        matrix = csr_matrix((t.data, t.indices, t.indptr), shape=t.shape).tolil()
        table = m.reward.copy()
        for s in ends:
            for a in range(m.actions):
                matrix[s * m.actions + a] = 0
                matrix[s * m.actions + a, s] = 1
            table[s] = 0
        matrix, reward = matrix.tocsr(), table.ravel()
    by_action = [matrix[a :: m.actions] for a in range(m.actions)]
    rewards = reward.reshape(m.states, m.actions)

    def run(error: float) -> np.ndarray:
        solver = PolicyIterationModified(by_action, rewards, m.discount, epsilon=2 * error)
        solver.run()
        return np.array(solver.V)

    return run


def stormpy(m: FiniteMDP) -> Solve:
    """Value iteration of Storm for its discounted total reward."""
    import stormpy as storm
    from stormpy import datastructures, environments, logic, models

    matrix, reward, state, _ = pairs(m)
    matrix.sum_duplicates()
    builder = datastructures.SparseMatrixBuilder(has_custom_row_grouping=True)
    first = np.searchsorted(state, np.arange(m.states))
    for s in range(m.states):
        builder.new_row_group(int(first[s]))
        for row in range(first[s], first[s + 1] if s + 1 < m.states else len(state)):
            for z in range(matrix.indptr[row], matrix.indptr[row + 1]):
                builder.add_next_value(row, int(matrix.indices[z]), float(matrix.data[z]))
    labels = models.StateLabeling(m.states)
    labels.add_label("init")
    labels.add_label_to_state("init", 0)
    rewards = models.SparseRewardModel(optional_state_action_reward_vector=reward.tolist())
    parts = models.SparseModelComponents(
        transition_matrix=builder.build(), state_labeling=labels, reward_models={"r": rewards}
    )
    model = models.SparseMdp(parts)
    formula = logic.parse_properties(f'R{{"r"}}max=? [Cdiscount={m.discount}]')[0]

    def run(error: float) -> np.ndarray:
        environment = environments.Environment()
        settings = environment.solver().min_max()
        settings.method = environments.MinMaxMethod.VALUE_ITERATION
        settings.precision = storm.numbers.Rational(error)
        settings.relative_termination_criterion = False
        found = storm.model_checking(model, formula, environment=environment)
        return np.array(found.get_finite_value_vector())

    return run


SIDES: dict[str, Callable[[FiniteMDP], Solve]] = {
    "logpi": logpi,
    "logpi modified": partial(logpi, method="modified"),
    "logpi flow": partial(logpi, method="flow"),
    "quantecon": quantecon,
    "quantecon k=5": partial(quantecon, k=5),
    "mdpsolver": mdpsolver,
    "pymdptoolbox": pymdptoolbox,
    "stormpy": stormpy,
}
"""Name to the side's `prepare`."""
