"""Search spaces from words: what is a range, what is not, and what is refused."""

from __future__ import annotations

import pytest

from logpi.core.errors import ConfigError
from logpi.train.space import Dimension, rounded, split_space


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("a.b=log:1e-5..1e-2", Dimension("a.b", "float", 1e-5, 1e-2, True)),
        ("a=0.9..0.9999", Dimension("a", "float", 0.9, 0.9999)),
        ("a=.5..1.", Dimension("a", "float", 0.5, 1.0)),
        ("a=1..8", Dimension("a", "int", 1, 8)),
        ("a=log:8..256", Dimension("a", "int", 8, 256, True)),
        ("a=-3..3", Dimension("a", "int", -3, 3)),
        ("a=-1e-3..1.0", Dimension("a", "float", -1e-3, 1)),
        ("a=choice:tanh,relu", Dimension("a", "choice", choices=("tanh", "relu"))),
        ("a=choice:4,8,true", Dimension("a", "choice", choices=(4, 8, True))),
    ],
)
def test_ranges(word, found):
    assert split_space([word]) == ([], [found])


@pytest.mark.parametrize("word", ["a=1", "a=../data.jsonl", "a=log", "a=x..y", "a=1..2..3", "a"])
def test_what_is_no_range_is_an_override(word):
    assert split_space([word]) == ([word], [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a=2..1"], "is empty"),
        (["a=1..1"], "is empty"),
        (["a=log:0..1"], "must be above 0"),
        (["a=choice:x"], "leaves nothing to choose"),
        (["a=1..2", "a=2..3"], "searched twice"),
    ],
)
def test_what_cannot_be_searched(words, told):
    with pytest.raises(ConfigError, match=told):
        split_space(words)


def test_rounding_stays_inside():
    d = Dimension("a", "float", 0.12345, 0.98766)
    assert (rounded(0.12346, d), rounded(0.987659, d)) == (0.1235, 0.98766)
    assert d.plain()["choices"] == []
