"""Strategies for ragged batches: unequal groups, ties, holes, masked rows, ratios off 1."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from tests.core import cases
from tests.core.cases import Case

from logpi import recipes

SCORES = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])
SIZES = st.integers(2, 4)
AWAY = st.sampled_from([0.0, 0.1, 0.6])


@st.composite
def grouped(draw: st.DrawFn, *, size: st.SearchStrategy[int] = SIZES) -> Case:
    """Rows of one trajectory each, in groups of at least two."""
    sizes = draw(st.lists(size, min_size=1, max_size=3))
    n = sum(sizes)
    lengths = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    cells = [(i, j) for i in range(n) for j in range(lengths[i] - 1)]
    return cases.random_case(
        lengths,
        group=[7 * g for g, k in enumerate(sizes) for _ in range(k)],
        reward=draw(st.lists(SCORES, min_size=n, max_size=n)),
        holes=draw(st.lists(st.sampled_from(cells), max_size=3)) if cells else (),
        masked_rows=draw(st.lists(st.integers(0, n - 1), max_size=1)),
        seed=draw(st.integers(0, 2**16)),
        away=draw(AWAY),
    )


@st.composite
def paired(draw: st.DrawFn) -> Case:
    """Pairs: the same, in twos, one of which is better."""
    case = draw(grouped(size=st.just(2)))
    better = torch.arange(len(case.signals.mask)) % 2
    reward = case.signals.end * (case.signals.reward + 10 * better[:, None])
    return case.with_signals(reward=reward)


def case_of(name: str) -> st.SearchStrategy[Case]:
    """Batches of the kind that this recipe reads."""
    return paired() if recipes.RECIPES[name].data == "pairs" else grouped()
